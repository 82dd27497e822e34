"""Tiny AGGAN networks, and the recorded official numbers."""

import json
from pathlib import Path

import numpy as np
import torch
from helpers import reference
from mmengine import MessageHub
from torch import Tensor, nn

from ugatit_mm.converters.aggan import from_variables
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import AGGAN
from ugatit_mm.models.base import Step

# The official names of the networks of each of our updates, in their order.
UPDATES = {
    'generator_B': 'G_A',
    'discriminator_B': 'D_B',
    'generator_A': 'G_B',
    'discriminator_A': 'D_A',
}


def fixtures() -> Path:
    """The folder of the recorded numbers."""
    return reference('drit-aggan', 'torch and closed forms')


def recorded(name: str) -> dict:
    """A file of :func:`fixtures`: arrays by name, or what JSON holds."""
    path = fixtures() / name
    if path.suffix == '.json':
        return json.loads(path.read_text())
    with np.load(path) as numbers:
        return dict(numbers)


def pictures(array: np.ndarray) -> Tensor:
    """Recorded images or masks, (N, H, W, C), as ours are."""
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def given(numbers: dict, index: int) -> dict[str, Tensor]:
    """Recorded images of both domains."""
    return {x: pictures(numbers[f'{x.lower()}{index}']) for x in 'AB'}


def tiny_aggan(num_blocks: int = 2, width: int = 4, **fields) -> AGGAN:
    """A model of some thousand parameters."""
    torch.manual_seed(0)
    networks = {
        'generator': {'base_channels': width, 'num_blocks': num_blocks},
        'attention': {'base_channels': width},
        'discriminator': {'base_channels': width},
    }
    for field, more in networks.items():
        kind = AGGAN.NETWORKS[field].__name__
        networks[field] = {'type': kind, **more, **fields.pop(field, {})}
    model = AGGAN(**networks, **fields)
    model.init_weights()
    return model.train()


def official_aggan(**fields) -> AGGAN:
    """The recorded networks."""
    model = tiny_aggan(num_blocks=9, **fields)
    model.load_state_dict(from_variables(recorded('aggan_init.npz'))[0])
    return model


def wrappers(model: nn.Module, **fields):
    """Wrappers of the official optimiser."""
    names = AGGAN.OPTIMIZED
    cfg = {
        name: {
            'optimizer': {
                'type': 'TFAdam',
                'lr': 1e-4,
                'betas': (0.5, 0.999),
                'of': len(names),
                'place': place,
            },
            **fields,
        }
        for place, name in enumerate(names, 1)
    }
    return UGATITOptimWrapperConstructor(cfg)(model)


def iterate(model: AGGAN, optims, real: dict[str, Tensor], iteration: int) -> Step:
    """One iteration on images in [-1, 1]."""
    MessageHub.get_current_instance().update_info('iter', iteration)
    step = Step(model, optims, model.draw(real))
    model.iterate(step, real)
    return step


def dead(name: str, phase: int) -> bool:
    """Whether a parameter is a bias right before an instance norm, which takes it off again."""
    convs = ('conv.bias', 'conv1.bias', 'conv2.bias')
    return name.endswith(convs) or (phase == 1 and '.convs.' in name and name.endswith('.bias'))
