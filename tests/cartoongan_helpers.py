"""Tiny CartoonGAN models, the recorded weights under our names, VGG19 with narrow weights."""

import hashlib
from pathlib import Path

import torch
from cyclegan_helpers import recorded
from helpers import batch
from torch import Tensor, nn
from torchvision.models import vgg

from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import CartoonGAN, VGG19Features

NARROW = (4, 6, 8, 12, 12)
PLAN = ['a', 'a', 'M', 'b', 'b', 'M', *'cccc', 'M', *'dddd', 'M', *'eeee', 'M']


def torchs(widths: tuple[int, ...] = NARROW, seed: int = 0) -> torch.nn.Module:
    """torchvision's VGG19 of other widths, without its classifier, with random weights."""
    torch.manual_seed(seed)
    by_letter = dict(zip('abcde', widths, strict=True))
    layers = vgg.make_layers([by_letter.get(letter, letter) for letter in PLAN])
    return torch.nn.ModuleDict({'features': layers})


def written(folder: Path, state: dict[str, Tensor], **options) -> Path:
    """A file of weights whose name ends with the first digits of its SHA-256."""
    first = folder / 'weights.pth'
    torch.save(state, first, **options)
    digits = hashlib.sha256(first.read_bytes()).hexdigest()[:8]
    return first.rename(folder / f'vgg19-{digits}.pth')


def stand_in(folder: Path, **fields) -> VGG19Features:
    """The narrow VGG19 that the program's numbers were recorded with."""
    file = written(folder, recorded('cartoongan_vgg_standin.pt'))
    return VGG19Features(weights=file, widths=NARROW, **fields)


PLACES = {  # of the official generator's convolutions, with one block: ours
    'down_convs.0': 'encoder.0.conv',
    'down_convs.3': 'encoder.1',
    'down_convs.4': 'encoder.2.conv',
    'down_convs.7': 'encoder.3',
    'down_convs.8': 'encoder.4.conv',
    'resnet_blocks.0.conv1': 'blocks.0.conv1',
    'resnet_blocks.0.conv2': 'blocks.0.conv2',
    'up_convs.0': 'decoder.0',
    'up_convs.1': 'decoder.1.conv',
    'up_convs.4': 'decoder.2',
    'up_convs.5': 'decoder.3.conv',
    'up_convs.8': 'decoder.4',
}
# Biases that are not directly before a norm.
ACTING = {
    *(f'down_convs.{i}.bias' for i in (3, 7)),
    *(f'up_convs.{i}.bias' for i in (0, 4, 8)),
    *(f'convs.{i}.bias' for i in (0, 2, 7, 15)),
}


def ours(key: str) -> str:
    """Our name of an official weight of the recorded networks."""
    place, _, end = key.rpartition('.')
    if place in PLACES:
        return f'generators.B.{PLACES[place]}.{end}'
    return f'discriminators.B.{key}'


def official_state(name: str) -> dict[str, Tensor]:
    """Recorded weights under our names."""
    return {ours(k): v for net in recorded(name).values() for k, v in net.items()}


def tiny_cartoongan(**fields) -> CartoonGAN:
    """A model of a few thousand parameters; arguments go over the defaults."""
    torch.manual_seed(0)
    generator = {'type': 'CartoonGANGenerator', 'base_channels': 4, 'num_blocks': 1}
    discriminator = {'type': 'CartoonGANDiscriminator', 'base_channels': 4}
    vgg = fields.pop('vgg', {'weights': 'random', 'widths': NARROW})
    model = CartoonGAN(
        generator | fields.pop('generator', {}),
        discriminator | fields.pop('discriminator', {}),
        vgg,
        **fields,
    )
    model.init_weights()
    return model.train()


def wrappers(model: torch.nn.Module, optimizer: dict | None = None, **fields):
    """Wrappers of the official optimisers, or of another one."""
    optimizer = optimizer or {'type': 'Adam', 'lr': 2e-4, 'betas': (0.5, 0.999)}
    cfg = {name: {'optimizer': optimizer, **fields} for name in CartoonGAN.OPTIMIZED}
    return UGATITOptimWrapperConstructor(cfg)(model)


def three(size: int = 32, count: int = 2, seed: int = 0) -> dict:
    """A batch as the data loader gives it, with cartoons without clear edges."""
    return batch(size, count, seed, CartoonGAN.PICTURES)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def plain_generator(n: int, blocks: int, reflect: bool, affine: bool) -> nn.Sequential:
    """Of torch's own layers."""

    def conv(width: int, out: int, side: int, stride: int = 1, outer: bool = False):
        mode = 'reflect' if reflect and outer else 'zeros'
        return nn.Conv2d(width, out, side, stride, side // 2, padding_mode=mode)

    def norm(width: int):
        return nn.InstanceNorm2d(width, affine=affine), nn.ReLU()

    layers = [conv(3, n, 7, outer=True), *norm(n)]
    for width in (n, 2 * n):
        layers += [conv(width, 2 * width, 3, 2), conv(2 * width, 2 * width, 3), *norm(2 * width)]
    for _ in range(blocks):
        first, last = (conv(4 * n, 4 * n, 3, outer=True) for _ in range(2))
        layers.append(Residual(first, *norm(4 * n), last, norm(4 * n)[0]))
    for width in (2 * n, n):
        up = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1)
        layers += [up, conv(width, width, 3), *norm(width)]
    return nn.Sequential(*layers, conv(n, 3, 7, outer=True), nn.Tanh())


def plain_discriminator(m: int, affine: bool) -> nn.Sequential:
    """Of torch's own layers."""
    layers = []
    for width, out, stride, normed in (
        (3, m, 1, False),
        (m, 2 * m, 2, False),
        (2 * m, 4 * m, 1, True),
        (4 * m, 4 * m, 2, False),
        (4 * m, 8 * m, 1, True),
        (8 * m, 8 * m, 1, True),
    ):
        layers.append(nn.Conv2d(width, out, 3, stride, 1))
        layers += [nn.InstanceNorm2d(out, affine=affine)] if normed else []
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Conv2d(8 * m, 1, 3, 1, 1))
