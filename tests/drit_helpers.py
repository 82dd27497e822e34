"""Tiny DRIT networks, and the recorded official numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import reference
from torch import Tensor, nn

from ugatit_mm.converters.drit import from_official
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import DRIT

NETWORKS = {
    'encoder': 'DRITContentEncoder',
    'attribute_encoder': 'DRITAttributeEncoder',
    'generator': 'DRITGenerator',
    'discriminator': 'DRITDiscriminator',
    'content_discriminator': 'DRITContentDiscriminator',
}


def fixtures() -> Path:
    """The folder of the recorded numbers."""
    return reference('drit-aggan', 'torch and closed forms')


def recorded(name: str) -> dict[str, Any]:
    """A file of :func:`fixtures`, tensors or arrays by name."""
    path = fixtures() / f'drit_{name}'
    if path.suffix == '.pt':
        return torch.load(path, weights_only=True)
    with np.load(path) as numbers:
        return {key: torch.from_numpy(numbers[key]) for key in numbers}


def tiny_drit(concat: bool = True, width: int = 2, **fields: Any) -> DRIT:
    """A model of a few thousand parameters for 48 px; arguments go over the defaults."""
    torch.manual_seed(0)
    own: dict[str, dict] = {field: {'base_channels': width} for field in NETWORKS}
    own['attribute_encoder']['concat'] = own['generator']['concat'] = concat
    own['discriminator']['num_layers'] = 3
    own['content_discriminator']['num_layers'] = 2
    for field, kind in NETWORKS.items():
        own[field] |= {'type': kind, **fields.pop(field, {})}
    model = DRIT(**own, **fields)
    model.init_weights()
    return model.train()


def official(name: str, **fields: Any) -> DRIT:
    """A model of the recorded initial weights, ``'concat'`` or ``'feat'``."""
    layers = {'discriminator': {'num_layers': 4}, 'content_discriminator': {'num_layers': 4}}
    model = tiny_drit(name == 'concat', **layers, **fields)
    model.load_state_dict(from_official(recorded(f'init_{name}.pt'))[0])
    return model


def wrappers(model: nn.Module, optimizer: dict | None = None, **fields: Any):
    """Wrappers of the official optimisers, or of another one."""
    adam = {'type': 'Adam', 'betas': (0.5, 0.999), 'weight_decay': 1e-4}
    cfg = {
        name: {'optimizer': optimizer or {**adam, 'lr': rate}, **fields}
        for name, rate in DRIT.RATES.items()
    }
    return UGATITOptimWrapperConstructor(cfg)(model)


def images(size: int = 48, count: int = 2, seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {x: torch.rand(count, 3, size, size, generator=rng) * 2 - 1 for x in 'AB'}
