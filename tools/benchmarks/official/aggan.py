"""The official AGGAN program's networks and training step, restated plainly: the baseline.

Source of the facts: AlamiMejjati/Unsupervised-Attention-guided-Image-to-Image-Translation
(TensorFlow); nothing is copied. It does not use ``ugatit_mm``, on purpose: plain torch.nn parts,
four updates, each of which runs all its passes again, as the program's sessions do. Modules carry
the names of the official scopes. Images are RGB in [-1, 1], NCHW, batch 1.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CYCLE, SLOPE, POOL = 10, 0.2, 50
RATE, BETAS = 1e-4, (0.5, 0.999)
NETWORKS = ('g_A', 'g_B', 'g_A_ae', 'g_B_ae', 'd_A', 'd_B')


class Layer(nn.Module):
    """Convolution and instance norm with scale and offset, no activation.

    Args:
        channels: Of the input.
        out_channels: Of the result.
        kernel: Side of the kernel.
        stride: 1 or 2.
        pad: Zero padding on each side; ``None`` is TensorFlow's SAME.
        up: Use a transposed convolution.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        pad: int | None = 0,
        up: bool = False,
    ) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if up else nn.Conv2d
        self.conv = kind(channels, out_channels, kernel, stride)
        self.norm = nn.InstanceNorm2d(out_channels, affine=True)
        self.pad, self.up = pad, up

    def forward(self, x: Tensor, normed: bool = True) -> Tensor:
        """Map (N, C, H, W)."""
        if self.pad:
            x = F.pad(x, (self.pad,) * 4)
        elif self.pad is None and not self.up:
            around = self.conv.kernel_size[0] - self.conv.stride[0]  # of even sides
            x = F.pad(x, (around // 2, around - around // 2) * 2)
        x = self.conv(x)
        if self.up:
            x = x[..., :-1, :-1]
        return self.norm(x) if normed else x


class Block(nn.Module):
    """Two convolutions, the input added, then a ReLU."""

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.c1, self.c2 = Layer(channels, channels, 3), Layer(channels, channels, 3)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W)."""
        y = F.relu(self.c1(F.pad(x, (1,) * 4, mode=self.mode)))
        return F.relu(self.c2(F.pad(y, (1,) * 4, mode=self.mode)) + x)


class Generator(nn.Module):
    """The whole image in the style of a domain."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.c1 = Layer(3, width, 7, pad=3)
        self.c2 = Layer(width, 2 * width, 3, 2, pad=None)
        self.c3 = Layer(2 * width, 4 * width, 3, 2, pad=None)
        self.blocks = [f'r{i + 1}' for i in range(blocks)]
        for name in self.blocks:
            self.add_module(name, Block(4 * width, 'constant'))
        self.c4 = Layer(4 * width, 2 * width, 3, 2, up=True)
        self.c5 = Layer(2 * width, width, 3, 2, up=True)
        self.c6 = Layer(width, 3, 7, pad=3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W)."""
        for name in ('c1', 'c2', 'c3'):
            x = F.relu(self.get_submodule(name)(x))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return self.c6(F.relu(self.c5(F.relu(self.c4(x)))), normed=False).tanh()


class Attention(nn.Module):
    """A mask, at full size from its first up-sampling on, copied to three channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c1 = Layer(3, width, 7, 2)
        self.c2 = Layer(width, 2 * width, 3, 2, pad=None)
        self.r1 = Block(2 * width, 'reflect')
        self.c4 = Layer(2 * width, 2 * width, 1)
        self.c5 = Layer(2 * width, width, 1)
        self.c6 = Layer(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W)."""
        x = F.relu(self.c1(F.pad(x, (3,) * 4, mode='reflect')))
        x = self.r1(F.relu(self.c2(x)))
        x = F.relu(self.c4(F.interpolate(x, scale_factor=2)))
        x = F.relu(self.c5(F.interpolate(x, scale_factor=2)))
        return self.c6(x, normed=False).sigmoid().repeat(1, 3, 1, 1)


class Discriminator(nn.Module):
    """Patch logits of a masked image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = 3
        for i, stride in enumerate((2, 2, 2, 1)):
            self.add_module(f'c{i + 1}', Layer(channels, width * 2**i, 4, stride, pad=2))
            channels = width * 2**i
        self.c5 = Layer(channels, 1, 4, pad=2)

    def forward(self, x: Tensor, mask: Tensor, threshold: float, normed: bool) -> Tensor:
        """Map (N, 3, H, W)."""
        x = x * (mask >= threshold).to(x.dtype)
        for i in range(4):
            x = F.leaky_relu(self.get_submodule(f'c{i + 1}')(x, normed), SLOPE)
        return self.c5(x, normed=False)


class OfficialOrder:
    """The official program's six networks, its optimiser, pools and training step.

    The learning rate stays at 1e-4, as in the first half of the official training.

    Args:
        img_size: Side of the images in pixels, a multiple of 4.
        base_channels: Channels of the first convolution of generators and attention networks.
        device: Where the networks live.
        judge_channels: Of the discriminators; twice ``base_channels`` if not given.
        blocks: Residual blocks of a generator.
        pool_size: Pairs of fake and mask kept for each discriminator.

    Attributes:
        second: The second phase: threshold, no norms in the discriminators, frozen attention.
    """

    OPTIONS = {'model.switch_iters': 1_000_000_000}  # ours in the first phase, too

    def __init__(
        self,
        img_size: int = 256,
        base_channels: int = 32,
        device: torch.device | str = 'cpu',
        *,
        judge_channels: int | None = None,
        blocks: int = 9,
        pool_size: int = POOL,
    ) -> None:
        if img_size % 4:
            raise ValueError(f'img_size must be a multiple of 4, not {img_size}')
        made: dict[str, Callable[[], nn.Module]] = {
            'g': lambda: Generator(base_channels, blocks),
            'ae': lambda: Attention(base_channels),
            'd': lambda: Discriminator(judge_channels or 2 * base_channels),
        }
        self.networks = nn.ModuleDict(
            {name: made['ae' if name.endswith('ae') else name[0]]() for name in NETWORKS}
        ).to(device)
        for name, parameter in self.networks.named_parameters():
            mean = 1.0 if name.endswith('norm.weight') else 0.0
            if name.endswith('weight'):
                nn.init.trunc_normal_(parameter, mean, 0.02, mean - 0.04, mean + 0.04)
            else:
                nn.init.zeros_(parameter)
        self.second = False
        self.pool_size = pool_size
        self.pools: dict[str, list[tuple[Tensor, Tensor]]] = {'A': [], 'B': []}
        self.count = self.iterations = 0  # updates of any network: powers of the betas
        self.optimizers = {
            kind: torch.optim.Adam(
                [p for name in names for p in self.networks[name].parameters()], RATE, BETAS
            )
            for kind, names in {
                'g_A': ('g_A', 'g_A_ae'),
                'g_B': ('g_B', 'g_B_ae'),
                'd_A': ('d_A',),
                'd_B': ('d_B',),
            }.items()
        }

    def load_variables(self, variables: Mapping[str, np.ndarray]) -> None:
        """Load all official variables strictly; those of unused norms may be absent."""
        own = dict(self._variables())
        unused = {
            name for name in own if '/c6/instance' in name or ('/d_' in name and '/c5/in' in name)
        }
        if (own.keys() ^ variables.keys()) - unused:
            raise ValueError(f'other variables: {sorted(own.keys() ^ variables.keys())[:3]}')
        with torch.no_grad():
            for name, array in variables.items():
                value = torch.from_numpy(np.array(array))
                own[name].copy_(value.permute(3, 2, 0, 1) if value.dim() == 4 else value)

    def _variables(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.networks.named_parameters():
            *scope, layer, kind = name.split('.')
            up = scope[0] in ('g_A', 'g_B') and scope[1] in ('c4', 'c5')
            last = {
                'convweight': 'Conv2d_transpose/weights' if up else 'Conv/weights',
                'convbias': 'Conv2d_transpose/biases' if up else 'Conv/biases',
                'normweight': 'instance_norm/scale',
                'normbias': 'instance_norm/offset',
            }[layer + kind]
            yield '/'.join(['Model', *scope, last]), parameter

    def step(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """One training step in the official order: g_A, d_B, g_B, d_A.

        Args:
            real_A: Images of domain A, (1, 3, H, W).
            real_B: Images of domain B, of the same shape.

        Returns:
            dict: The terms of each update, ``g_A_cycle_A`` and so on, and the totals ``g_A``,
            ``d_B``, ``g_B``, ``d_A``; detached.
        """
        terms: dict[str, Tensor] = {}
        for x, y in (('A', 'B'), ('B', 'A')):  # g_x makes y
            made = self._forward(real_A, real_B)
            terms |= self._update(f'g_{x}', self._generator_loss(x, y, made, real_A, real_B))
            pair = self._pooled(y, made[f'fake_{y}'].detach(), made[f'mask_{x}'].detach())
            # The program runs the whole graph of the loss again: the mask of the real image, too.
            terms |= self._update(f'd_{y}', self._judge_loss(y, real_A, real_B, pair))
        self.iterations += 1
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def translate(self, real_A: Tensor) -> Tensor:
        """Images of domain A, (N, 3, H, W), to domain B."""
        return self._compose('A', real_A)[0]

    def _compose(self, x: str, image: Tensor) -> tuple[Tensor, Tensor]:
        mask = self.networks[f'g_{x}_ae'](image)
        return self.networks[f'g_{x}'](image) * mask + image * (1 - mask), mask

    def _forward(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        fake_B, mask_A = self._compose('A', real_A)
        fake_A, mask_B = self._compose('B', real_B)
        cycle_A, cycle_B = self._compose('B', fake_B)[0], self._compose('A', fake_A)[0]
        return {
            'fake_A': fake_A,
            'fake_B': fake_B,
            'mask_A': mask_A,
            'mask_B': mask_B,
            'cycle_A': cycle_A,
            'cycle_B': cycle_B,
        }

    def _judge(self, x: str, image: Tensor, mask: Tensor) -> Tensor:
        threshold = 0.1 if self.second else 0.0
        return self.networks[f'd_{x}'](image, mask, threshold, not self.second)

    def _generator_loss(
        self, x: str, y: str, made: dict[str, Tensor], real_A: Tensor, real_B: Tensor
    ) -> dict[str, Tensor]:
        terms = {
            'cycle_A': CYCLE * (real_A - made['cycle_A']).abs().mean(),
            'cycle_B': CYCLE * (real_B - made['cycle_B']).abs().mean(),
            'gan': (self._judge(y, made[f'fake_{y}'], made[f'mask_{x}']) - 1).square().mean(),
        }
        return {**terms, '': terms['cycle_A'] + terms['cycle_B'] + terms['gan']}

    def _judge_loss(
        self, y: str, real_A: Tensor, real_B: Tensor, pair: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        real = {'A': real_A, 'B': real_B}[y]
        mask = self.networks[f'g_{y}_ae'](real)
        true = (self._judge(y, real, mask) - 1).square().mean()
        return {'': 0.5 * (true + self._judge(y, *pair).square().mean())}

    def _update(self, kind: str, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        optimizer = self.optimizers[kind]
        parameters = optimizer.param_groups[0]['params']
        if self.second and kind.startswith('g'):
            parameters = list(self.networks[kind].parameters())  # attention is frozen
        gradients = torch.autograd.grad(
            terms[''], parameters, allow_unused=True, materialize_grads=True
        )
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        # torch's Adam corrects by its own updates; the program's counts those of all networks.
        self.count += 1
        own = self.iterations + 1
        optimizer.param_groups[0]['lr'] = RATE * _correction(self.count) / _correction(own)
        optimizer.step()
        optimizer.zero_grad()
        return {'_'.join(filter(None, (kind, name))): term for name, term in terms.items()}

    def _pooled(self, y: str, fake: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        pool = self.pools[y]
        if self.iterations < self.pool_size:
            pool.append((fake, mask))
        elif random.random() > 0.5:
            index = random.randint(0, self.pool_size - 1)
            (fake, mask), pool[index] = pool[index], (fake, mask)
        return fake, mask


def _correction(count: int) -> float:
    return math.sqrt(1 - BETAS[1] ** count) / (1 - BETAS[0] ** count)
