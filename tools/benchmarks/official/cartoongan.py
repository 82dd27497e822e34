"""CartoonGAN's networks and adversarial step, restated plainly: the baseline.

Source of the facts: ``networks.py`` and ``CartoonGAN.py`` of znxlwm/pytorch-CartoonGAN; nothing is
copied. It does not use ``ugatit_mm``, on purpose: plain torch.nn parts, and redundant work is done
where the program does it: one pass of the discriminator for each of its three batches, a second
translation for the generator's loss. The weights carry the official names. Images are RGB in
[-1, 1], NCHW.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Order, adam

CONTENT = 10
BLOCKS = 8
# VGG19 up to conv4_4, before its ReLU; a letter is a pooling.
FEATURES = (64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512)


def norm(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]


def conv(channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, stride, padding=1)


class Block(nn.Module):
    """x + two convolutions with plain instance norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(channels, channels), nn.InstanceNorm2d(channels)
        self.conv2, self.norm2 = conv(channels, channels), nn.InstanceNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))


class Generator(nn.Module):
    """A photograph to a cartoon, (N, 3, H, W) to the same shape.

    Args:
        n: Channels of the first convolution.
        num_blocks: Residual blocks.
    """

    def __init__(self, n: int, num_blocks: int) -> None:
        super().__init__()
        self.down_convs = nn.Sequential(
            *(nn.Conv2d(3, n, 7, padding=3), *norm(n)),
            *(conv(n, 2 * n, 2), conv(2 * n, 2 * n), *norm(2 * n)),
            *(conv(2 * n, 4 * n, 2), conv(4 * n, 4 * n), *norm(4 * n)),
        )
        self.resnet_blocks = nn.Sequential(*(Block(4 * n) for _ in range(num_blocks)))
        up = [
            nn.ConvTranspose2d(2 * width, width, 3, 2, padding=1, output_padding=1)
            for width in (2 * n, n)
        ]
        self.up_convs = nn.Sequential(
            *(up[0], conv(2 * n, 2 * n), *norm(2 * n)),
            *(up[1], conv(n, n), *norm(n)),
            *(nn.Conv2d(n, 3, 7, padding=3), nn.Tanh()),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.up_convs(self.resnet_blocks(self.down_convs(image)))


class Discriminator(nn.Module):
    """The probability of a cartoon for each patch, (N, 3, H, W) to (N, 1, H / 4, W / 4).

    Args:
        m: Channels of the first convolution.
    """

    def __init__(self, m: int) -> None:
        super().__init__()

        def leaky() -> nn.Module:
            return nn.LeakyReLU(0.2, inplace=True)

        def normed(channels: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(channels), leaky()]

        self.convs = nn.Sequential(
            *(conv(3, m), leaky(), conv(m, 2 * m, 2), leaky()),
            *(conv(2 * m, 4 * m), *normed(4 * m), conv(4 * m, 4 * m, 2), leaky()),
            *(conv(4 * m, 8 * m), *normed(8 * m), conv(8 * m, 8 * m), *normed(8 * m)),
            *(conv(8 * m, 1), nn.Sigmoid()),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.convs(image)


def vgg(plan: tuple[int | str, ...]) -> nn.Sequential:
    """The first layers of VGG19, with random weights: speed does not depend on them."""
    layers: list[nn.Module] = []
    channels = 3
    for width in plan:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [conv(channels, width), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers[:-1])


class OfficialOrder(Order):
    """The program's networks, and a step of its adversarial phase.

    Args:
        img_size: Side of the images; the networks take any.
        base_channels: Channels of the generator; the discriminator has half of them.
        device: Where the networks live.
        num_blocks: Residual blocks.
        features: VGG19's layers; tests give narrow ones.
    """

    # Ours with the same mathematics: random weights, VGG19's widths up to conv4_4.
    OPTIONS = {
        'model.vgg.weights': 'random',
        'model.vgg.widths': (64, 128, 256, 512, 8),
    }

    def __init__(
        self,
        img_size: int,
        base_channels: int = 64,
        device: str | torch.device = 'cpu',
        num_blocks: int = BLOCKS,
        features: tuple[int | str, ...] = FEATURES,
    ) -> None:
        self.networks = nn.ModuleDict(
            {'G': Generator(base_channels, num_blocks), 'D': Discriminator(base_channels // 2)}
        ).to(device)
        self.vgg = vgg(features).to(device).eval()
        self.optims = {name: adam([network], 2e-4) for name, network in self.networks.items()}

    def step(self, a: Tensor, b: Tensor, edge: Tensor | None = None) -> dict[str, Tensor]:
        """An adversarial step.

        Args:
            a: Photographs, RGB in [-1, 1], (N, 3, H, W).
            b: Cartoons.
            edge: Cartoons without clear edges; ``b`` if only speed matters.

        Returns:
            Loss terms without gradient, by the names of the program's formula.
        """
        g, d = self.networks['G'], self.networks['D']
        self.optims['D'].zero_grad()
        judged = [d(b), d(g(a)), d(b if edge is None else edge)]
        targets = [torch.ones_like(judged[0]), *[torch.zeros_like(judged[0])] * 2]
        real, fake, smooth = (
            F.binary_cross_entropy(*pair) for pair in zip(judged, targets, strict=True)
        )
        loss_d = real + fake + smooth
        loss_d.backward()
        self.optims['D'].step()

        self.optims['G'].zero_grad()
        image = g(a)
        judgement = d(image)
        gan = F.binary_cross_entropy(judgement, torch.ones_like(judgement))
        content = CONTENT * F.l1_loss(self.vgg((image + 1) / 2), self.vgg((a + 1) / 2).detach())
        loss_g = gan + content
        loss_g.backward()
        self.optims['G'].step()
        terms = {'D_real': real, 'D_fake': fake, 'D_edge': smooth, 'D': loss_d}
        terms |= {'G_gan': gan, 'content': content, 'G': loss_g}
        return {name: term.detach() for name, term in terms.items()}
