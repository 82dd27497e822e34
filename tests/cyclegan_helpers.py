"""Tiny CycleGAN networks, MMagic's of the same weights, and the recorded official numbers."""

from pathlib import Path

import numpy as np
import torch
from helpers import reference
from mmagic.models.archs import PatchDiscriminator
from mmagic.models.editors.cyclegan.cyclegan_generator import ResnetGenerator
from torch import Tensor, nn

from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import CycleGANDiscriminator, CycleGANGenerator, UnpairedCycleGAN

GEN = {'base_channels': 4, 'num_blocks': 2}
DIS = {'base_channels': 4}


def fixtures() -> Path:
    """The folder of the recorded numbers."""
    return reference('cyclegan-cartoongan', 'MMagic and closed forms')


def recorded(name: str) -> dict:
    """A file of :func:`fixtures`, tensors or arrays by name."""
    path = fixtures() / name
    if path.suffix == '.pt':
        return torch.load(path, weights_only=True)
    with np.load(path) as numbers:
        return dict(numbers)


def pixels(array: np.ndarray) -> Tensor:
    """Recorded uint8 images as the networks saw them."""
    return (torch.from_numpy(array).float() - 127.5) / 127.5


def with_weights(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Give a network weights of other names in the same order: official, MMagic's or ours."""
    names = list(network.state_dict())
    network.load_state_dict(dict(zip(names, state.values(), strict=True)))
    return network


def tiny_cyclegan(
    generator: dict | None = None, discriminator: dict | None = None, **fields
) -> UnpairedCycleGAN:
    """A model of a few thousand parameters; arguments go over the defaults."""
    torch.manual_seed(0)
    generator = {'type': 'CycleGANGenerator', **GEN, **(generator or {})}
    discriminator = {'type': 'CycleGANDiscriminator', **DIS, **(discriminator or {})}
    model = UnpairedCycleGAN(generator, discriminator, **fields)
    model.init_weights()
    return model.train()


def official_networks(model: UnpairedCycleGAN) -> dict[str, nn.Module]:
    """The model's networks under the official names."""
    pairs = (('G', model.generators), ('D', model.discriminators))
    return {f'{kind}_{x}': pair[y] for kind, pair in pairs for x, y in (('A', 'B'), ('B', 'A'))}


def wrappers(model: nn.Module, optimizer: dict | None = None, **fields):
    """Wrappers of the official optimisers, or of another one."""
    optimizer = optimizer or {'type': 'Adam', 'lr': 2e-4, 'betas': (0.5, 0.999)}
    names = ('generators', 'discriminators')
    cfg = {name: {'optimizer': optimizer, **fields} for name in names}
    return UGATITOptimWrapperConstructor(cfg)(model)


def pair_of_generators(**fields) -> tuple[CycleGANGenerator, ResnetGenerator]:
    """Ours, drawn at random with biases that show, and MMagic's with the same weights."""
    ours = CycleGANGenerator(**GEN | fields)
    return ours, with_weights(ResnetGenerator(3, 3, 4, num_blocks=2), drawn(ours))


def pair_of_discriminators(
    num_layers: int = 3,
) -> tuple[CycleGANDiscriminator, PatchDiscriminator]:
    """As :func:`pair_of_generators`."""
    ours = CycleGANDiscriminator(**DIS, num_layers=num_layers)
    theirs = PatchDiscriminator(3, 4, num_conv=num_layers, norm_cfg={'type': 'IN'})
    return ours, with_weights(theirs, drawn(ours))


def drawn(network: nn.Module) -> dict[str, Tensor]:
    network.init_weights()
    for name, parameter in network.named_parameters():
        if name.endswith('bias'):
            nn.init.normal_(parameter, 0, 0.05)
    return network.state_dict()


def dead(name: str) -> bool:
    """Whether a parameter is a bias right before an instance norm, which takes it off again.

    Its true gradient is 0; what is computed is rounding, which Adam turns into steps.
    """
    return name.endswith('.bias') and not name.endswith(
        ('decoder.2.bias', 'model.0.bias', 'model.11.bias')
    )
