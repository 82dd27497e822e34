"""The official CycleGAN program's networks and training step, restated plainly: the baseline.

Source of the facts: ``networks.py`` and ``cycle_gan_model.py`` of
junyanz/pytorch-CycleGAN-and-pix2pix in 2019; nothing is copied. One call for each pass, with plain
torch.nn parts. Networks and weights carry the official names: ``G_A`` translates A to B, and
``D_A`` judges B. Images are RGB in [-1, 1], NCHW.
"""

import random
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Order, adam

CYCLE, IDENTITY = 10, 0.5  # IDENTITY is relative to CYCLE
NETWORKS = ('G_A', 'G_B', 'D_A', 'D_B')


def norm(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]


class Block(nn.Module):
    """x + two convolutions with plain instance norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            *norm(channels),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Generator(nn.Module):
    """An image to the other domain, (N, 3, H, W) to the same shape.

    Args:
        base_channels: Channels of the first convolution.
        num_blocks: Residual blocks.
    """

    def __init__(self, base_channels: int, num_blocks: int) -> None:
        super().__init__()
        width = base_channels
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, width, 7),
            *norm(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            *norm(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            *norm(4 * width),
            *(Block(4 * width) for _ in range(num_blocks)),
            nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1),
            *norm(2 * width),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),
            *norm(width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


class Discriminator(nn.Module):
    """Real or fake for each patch, (N, 3, H, W) to (N, 1, h, w).

    Args:
        base_channels: Channels of the first convolution.
        num_layers: Convolutions of stride 2.
    """

    def __init__(self, base_channels: int, num_layers: int) -> None:
        super().__init__()
        leaky = nn.LeakyReLU(0.2, inplace=True)
        layers: list[nn.Module] = [nn.Conv2d(3, base_channels, 4, stride=2, padding=1), leaky]
        channels = base_channels
        for number in range(1, num_layers + 1):
            wider = base_channels * min(2**number, 8)
            stride = 2 if number < num_layers else 1
            conv = nn.Conv2d(channels, wider, 4, stride=stride, padding=1)
            layers += [conv, nn.InstanceNorm2d(wider), leaky]
            channels = wider
        layers.append(nn.Conv2d(channels, 1, 4, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)


class ImagePool:
    """Fakes of earlier steps; half of the time one of them replaces a new fake."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        """As many images as there are fakes, (N, 3, H, W), without gradient."""
        given = []
        for fake in fakes.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(fake)
            elif random.uniform(0, 1) > 0.5:
                place = random.randint(0, self.size - 1)
                self.images[place], fake = fake, self.images[place]
            given.append(fake)
        return torch.cat(given)


class OfficialOrder(Order):
    """The official program's four networks, two optimisers, two pools and training step.

    The learning rate stays at 2e-4, as in the first half of the official training.

    Args:
        img_size: Side of the images in pixels, a multiple of 4; the networks take any.
        base_channels: Channels of each network's first convolution.
        device: Where the networks live.
        num_blocks: Residual blocks of a generator.
        num_layers: Convolutions of stride 2 of a discriminator.
        pool_size: Number of images in a pool.
    """

    def __init__(
        self,
        img_size: int = 256,
        base_channels: int = 64,
        device: torch.device | str = 'cpu',
        num_blocks: int = 9,
        num_layers: int = 3,
        pool_size: int = 50,
    ) -> None:
        if img_size % 4:
            raise ValueError(f'img_size must be a multiple of 4, not {img_size}')
        networks: dict[str, nn.Module] = {
            name: Generator(base_channels, num_blocks)
            if name.startswith('G')
            else Discriminator(base_channels, num_layers)
            for name in NETWORKS
        }
        for module in chain.from_iterable(network.modules() for network in networks.values()):
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(module.weight, 0, 0.02)
                nn.init.zeros_(module.bias)
        self.networks = nn.ModuleDict(networks).to(device).train()
        self.optimizer_G, self.optimizer_D = (
            adam((self.networks[name] for name in names), 2e-4)
            for names in (NETWORKS[:2], NETWORKS[2:])
        )
        self.fake_B_pool, self.fake_A_pool = ImagePool(pool_size), ImagePool(pool_size)

    def step(self, real_A: Tensor, real_B: Tensor) -> dict[str, Tensor]:
        """One training step in the official order: G's update, then D's.

        Args:
            real_A: Images of domain A, (N, 3, H, W).
            real_B: Images of domain B, of the same shape.

        Returns:
            dict: Every loss term as the program weighs it, and the total ``G``; detached.
        """
        gen_A, gen_B, dis_A, dis_B = (self.networks[name] for name in NETWORKS)
        fake_B = gen_A(real_A)
        rec_A = gen_B(fake_B)
        fake_A = gen_B(real_B)
        rec_B = gen_A(fake_A)

        for network in (dis_A, dis_B):
            network.requires_grad_(False)
        self.optimizer_G.zero_grad()
        terms = {
            'idt_A': CYCLE * IDENTITY * F.l1_loss(gen_A(real_B), real_B),
            'idt_B': CYCLE * IDENTITY * F.l1_loss(gen_B(real_A), real_A),
            'G_A': _squared(dis_A(fake_B), 1),
            'G_B': _squared(dis_B(fake_A), 1),
            'cycle_A': CYCLE * F.l1_loss(rec_A, real_A),
            'cycle_B': CYCLE * F.l1_loss(rec_B, real_B),
        }
        terms['G'] = sum(terms.values())
        terms['G'].backward()
        self.optimizer_G.step()

        for network in (dis_A, dis_B):
            network.requires_grad_(True)
        self.optimizer_D.zero_grad()
        for name, judge, real, fake, pool in (
            ('D_A', dis_A, real_B, fake_B, self.fake_B_pool),
            ('D_B', dis_B, real_A, fake_A, self.fake_A_pool),
        ):
            pooled = pool.query(fake)
            terms[name] = 0.5 * (_squared(judge(real), 1) + _squared(judge(pooled), 0))
            terms[name].backward()
        self.optimizer_D.step()
        return {name: term.detach() for name, term in terms.items()}


def _squared(logits: Tensor, target: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, target))
