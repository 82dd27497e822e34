"""The recorded numbers of CartoonGAN's program, and VGG19 with narrow weights."""

import hashlib
from pathlib import Path

import torch
from cyclegan_helpers import fixtures, pixels, recorded
from torch import Tensor
from torchvision.models import vgg

from ugatit_mm.models import VGG19Features

__all__ = ['NARROW', 'fixtures', 'pixels', 'recorded', 'stand_in', 'torchs', 'written']

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
