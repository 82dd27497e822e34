"""Tiny CartoonGAN models, the recorded weights under our names, VGG19 with narrow weights."""

import hashlib
from pathlib import Path

import torch
from cyclegan_helpers import recorded
from helpers import batch
from torch import Tensor
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
