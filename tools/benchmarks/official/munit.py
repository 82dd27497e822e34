"""The official MUNIT program's networks and training step, restated plainly: the baseline.

Source of the facts: ``networks.py`` and ``trainer.py`` of NVlabs/MUNIT; nothing is copied. One call
for each pass, with plain torch.nn parts. Networks and weights carry the official names. Images are
RGB in [-1, 1], NCHW.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Order, adam

RECON_X, RECON_S, RECON_C = 10, 1, 1
NETWORKS = ('gen_a', 'gen_b', 'dis_a', 'dis_b')


class AdaIN(nn.Module):
    """Instance norm as a batch norm over samples and channels; scale and shift are set before."""

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        mean, var = self.running_mean.repeat(count), self.running_var.repeat(count)
        flat = x.reshape(1, -1, *x.shape[2:])
        return F.batch_norm(flat, mean, var, self.weight, self.bias, True, 0.1, 1e-5).view_as(x)


class LayerNorm(nn.Module):
    """Over channels and positions; eps is added to the unbiased standard deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        mean, std = flat.mean(1).view(-1, 1, 1, 1), flat.std(1).view(-1, 1, 1, 1)
        x = (x - mean) / (std + 1e-5)
        return x * self.gamma.view(1, -1, 1, 1) + self.beta.view(1, -1, 1, 1)


NORMS = {'in': nn.InstanceNorm2d, 'ln': LayerNorm, 'adain': AdaIN}


class Block(nn.Module):
    """Reflection padding, a convolution with bias, norm, activation."""

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: int,
        stride: int,
        padding: int,
        norm: str | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(padding)
        self.conv = nn.Conv2d(width_in, width, kernel, stride)
        self.norm = NORMS[norm](width) if norm else None
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pad(x))
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


class ResBlock(nn.Module):
    """x + two convolutions with norms."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.model = nn.Sequential(
            Block(width, width, 3, 1, 1, norm, relu()), Block(width, width, 3, 1, 1, norm)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + x


class Layers(nn.Module):
    """A sequence of layers, which the program calls ``model``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def content_encoder(width: int, num_blocks: int) -> Layers:
    """(N, 3, H, W) to (N, 4 * width, H / 4, W / 4)."""
    return Layers(
        Block(3, width, 7, 1, 3, 'in', relu()),
        Block(width, 2 * width, 4, 2, 1, 'in', relu()),
        Block(2 * width, 4 * width, 4, 2, 1, 'in', relu()),
        Layers(*(ResBlock(4 * width, 'in') for _ in range(num_blocks))),
    )


def style_encoder(width: int, style_dim: int) -> Layers:
    """(N, 3, H, W) to (N, style_dim, 1, 1)."""
    return Layers(
        Block(3, width, 7, 1, 3, None, relu()),
        Block(width, 2 * width, 4, 2, 1, None, relu()),
        Block(2 * width, 4 * width, 4, 2, 1, None, relu()),
        Block(4 * width, 4 * width, 4, 2, 1, None, relu()),
        Block(4 * width, 4 * width, 4, 2, 1, None, relu()),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4 * width, style_dim, 1),
    )


def decoder(width: int, num_blocks: int, norm: str) -> Layers:
    """(N, 4 * width, H / 4, W / 4) to (N, 3, H, W)."""
    return Layers(
        Layers(*(ResBlock(4 * width, norm) for _ in range(num_blocks))),
        nn.Upsample(scale_factor=2),
        Block(4 * width, 2 * width, 5, 1, 2, 'ln', relu()),
        nn.Upsample(scale_factor=2),
        Block(2 * width, width, 5, 1, 2, 'ln', relu()),
        Block(width, 3, 7, 1, 3, None, nn.Tanh()),
    )


class Linear(nn.Module):
    """A linear layer and its activation."""

    def __init__(self, width_in: int, width: int, activation: nn.Module | None) -> None:
        super().__init__()
        self.fc = nn.Linear(width_in, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return x if self.activation is None else self.activation(x)


class Generator(nn.Module):
    """Encoders and decoder of a domain.

    Args:
        width: Channels of the first convolution.
        num_blocks: Residual blocks of the content encoder, and of the decoder.
        style_dim: Size of a style.
        mlp_dim: Width of the perceptron's hidden layers.
    """

    def __init__(self, width: int, num_blocks: int, style_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.enc_style = style_encoder(width, style_dim)
        self.enc_content = content_encoder(width, num_blocks)
        self.dec = decoder(width, num_blocks, 'adain')
        self.norms = [module for module in self.dec.modules() if isinstance(module, AdaIN)]
        self.mlp = Layers(
            Linear(style_dim, mlp_dim, relu()),
            Linear(mlp_dim, mlp_dim, relu()),
            Linear(mlp_dim, 2 * sum(norm.channels for norm in self.norms), None),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Content and style of (N, 3, H, W)."""
        style = self.enc_style(images)
        return self.enc_content(images), style

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        """An image of a content and a style."""
        params = self.mlp(style.flatten(1))
        for norm in self.norms:
            norm.bias = params[:, : norm.channels].reshape(-1)
            norm.weight = params[:, norm.channels : 2 * norm.channels].reshape(-1)
            params = params[:, 2 * norm.channels :]
        return self.dec(content)


class Discriminator(nn.Module):
    """Real or fake for each patch of (N, 3, H, W), at each scale.

    Args:
        width: Channels of the first convolution.
        num_layers: Convolutions of stride 2.
        num_scales: Scales.
    """

    def __init__(self, width: int, num_layers: int, num_scales: int) -> None:
        super().__init__()
        widths = [3, *(width * 2**i for i in range(num_layers))]
        self.downsample = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.cnns = nn.ModuleList(
            nn.Sequential(
                *(
                    Block(a, b, 4, 2, 1, None, nn.LeakyReLU(0.2, inplace=True))
                    for a, b in pairwise(widths)
                ),
                nn.Conv2d(widths[-1], 1, 1),
            )
            for _ in range(num_scales)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        outputs = []
        for scale in self.cnns:
            outputs.append(scale(image))
            image = self.downsample(image)
        return outputs

    def dis_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """The sum over scales."""
        pairs = zip(self(fake), self(real), strict=True)
        return sum((f**2).mean() + ((r - 1) ** 2).mean() for f, r in pairs)

    def gen_loss(self, fake: Tensor) -> Tensor:
        return sum(((output - 1) ** 2).mean() for output in self(fake))


class TwoUpdates(Order, ABC):
    """Networks, optimisers and the loop of both programs; a subclass has their two updates.

    The learning rate stays at 1e-4, as in the first 100,000 iterations of the official training.

    Args:
        generators: Generators of A and B.
        base_channels: Channels of each discriminator's first convolution.
        device: Where the networks live.
        num_layers: Convolutions of stride 2 of a discriminator.
        num_scales: Scales of a discriminator.
    """

    def __init__(
        self,
        generators: tuple[nn.Module, nn.Module],
        base_channels: int,
        device: torch.device | str,
        num_layers: int,
        num_scales: int,
    ) -> None:
        judges = [Discriminator(base_channels, num_layers, num_scales) for _ in 'ab']
        for network in (*generators, *judges):
            for module in network.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    if isinstance(network, Discriminator):
                        nn.init.normal_(module.weight, 0, 0.02)
                    else:
                        nn.init.kaiming_normal_(module.weight)
                    nn.init.zeros_(module.bias)
        names = zip(NETWORKS, (*generators, *judges), strict=True)
        self.networks = nn.ModuleDict(dict(names)).to(device).train()
        self.device = device
        self.gen_opt, self.dis_opt = (
            adam((self.networks[name] for name in of_both), 1e-4, weight_decay=1e-4)
            for of_both in (NETWORKS[:2], NETWORKS[2:])
        )

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draw from N(0, 1), on the CPU first, as the program does."""
        return torch.randn(shape).to(self.device)

    def step(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """One training step in the official order: D's update, then G's.

        Args:
            real_A: Images of domain A, (N, 3, H, W).
            real_B: Images of domain B, of the same shape.

        Returns:
            dict: Every loss term before weighting by its official name, and the weighted totals
            ``dis_total``, ``gen_total``; detached.
        """
        self.dis_opt.zero_grad()
        fakes = self.translate(real_A, real_B)
        terms = {
            f'dis_{x}': self.networks[f'dis_{x}'].dis_loss(fake.detach(), real)
            for x, fake, real in zip('ab', fakes, (real_A, real_B), strict=True)
        }
        terms['dis_total'] = terms['dis_a'] + terms['dis_b']
        terms['dis_total'].backward()
        self.dis_opt.step()
        self.gen_opt.zero_grad()
        of_gen = self.gen_terms(real_A, real_B)
        weighted = [weight * term for weight, term in of_gen.values()]
        terms |= {name: term for name, (_, term) in of_gen.items()}
        terms['gen_total'] = sum(weighted)
        terms['gen_total'].backward()
        self.gen_opt.step()
        return {name: term.detach() for name, term in terms.items()}

    @abstractmethod
    def translate(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """Translations into A and into B for the discriminators."""

    @abstractmethod
    def gen_terms(self, x_a: Tensor, x_b: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each of the generators' terms."""


class OfficialOrder(TwoUpdates):
    """The official program's four networks, two optimisers and training step.

    Args:
        img_size: Side of the images in pixels, a multiple of 4; the networks take any.
        base_channels: Channels of each network's first convolution.
        device: Where the networks live.
        num_blocks: Residual blocks of an encoder, and of a decoder.
        style_dim: Size of a style.
        mlp_dim: Width of the perceptron's hidden layers.
        num_layers: Convolutions of stride 2 of a discriminator.
        num_scales: Scales of a discriminator.
        cycle: Weight of the explicit cycle; at 0 its passes are skipped.
    """

    def __init__(
        self,
        img_size: int = 256,
        base_channels: int = 64,
        device: torch.device | str = 'cpu',
        num_blocks: int = 4,
        style_dim: int = 8,
        mlp_dim: int = 256,
        num_layers: int = 4,
        num_scales: int = 3,
        cycle: float = 0.0,
    ) -> None:
        if img_size % 4:
            raise ValueError(f'img_size must be a multiple of 4, not {img_size}')
        one, two = (Generator(base_channels, num_blocks, style_dim, mlp_dim) for _ in 'ab')
        super().__init__((one, two), base_channels, device, num_layers, num_scales)
        self.style_dim, self.cycle = style_dim, cycle

    def styles(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw styles for A and for B."""
        s_a = self.draw((count, self.style_dim, 1, 1))
        return s_a, self.draw((count, self.style_dim, 1, 1))

    def translate(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`TwoUpdates.translate`; the program encodes the styles, too."""
        gen_a, gen_b = (self.networks[name] for name in NETWORKS[:2])
        s_a, s_b = self.styles(len(x_a))
        c_a, _ = gen_a.encode(x_a)
        c_b, _ = gen_b.encode(x_b)
        return gen_a.decode(c_b, s_a), gen_b.decode(c_a, s_b)

    def gen_terms(self, x_a: Tensor, x_b: Tensor) -> dict[str, tuple[float, Tensor]]:
        """See :meth:`TwoUpdates.gen_terms`."""
        gen_a, gen_b, dis_a, dis_b = (self.networks[name] for name in NETWORKS)
        s_a, s_b = self.styles(len(x_a))
        c_a, own_a = gen_a.encode(x_a)
        c_b, own_b = gen_b.encode(x_b)
        x_aa, x_bb = gen_a.decode(c_a, own_a), gen_b.decode(c_b, own_b)
        x_ba, x_ab = gen_a.decode(c_b, s_a), gen_b.decode(c_a, s_b)
        c_b_again, s_a_again = gen_a.encode(x_ba)
        c_a_again, s_b_again = gen_b.encode(x_ab)
        terms = {
            'gen_recon_x_a': (RECON_X, F.l1_loss(x_aa, x_a)),
            'gen_recon_x_b': (RECON_X, F.l1_loss(x_bb, x_b)),
            'gen_recon_s_a': (RECON_S, F.l1_loss(s_a_again, s_a)),
            'gen_recon_s_b': (RECON_S, F.l1_loss(s_b_again, s_b)),
            'gen_recon_c_a': (RECON_C, F.l1_loss(c_a_again, c_a)),
            'gen_recon_c_b': (RECON_C, F.l1_loss(c_b_again, c_b)),
        }
        if self.cycle:
            x_aba, x_bab = gen_a.decode(c_a_again, own_a), gen_b.decode(c_b_again, own_b)
            terms['gen_cycrecon_x_a'] = (self.cycle, F.l1_loss(x_aba, x_a))
            terms['gen_cycrecon_x_b'] = (self.cycle, F.l1_loss(x_bab, x_b))
        terms['gen_adv_a'] = (1, dis_a.gen_loss(x_ba))
        terms['gen_adv_b'] = (1, dis_b.gen_loss(x_ab))
        return terms
