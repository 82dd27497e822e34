"""Tiny UNIT and MUNIT models, the recorded official numbers, and official names."""

from pathlib import Path

import numpy as np
import torch
from helpers import reference
from torch import Tensor, nn

from ugatit_mm.converters.munit import PROGRAMS
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.models import MUNIT, UNIT
from ugatit_mm.models.munit.codes import CodeTranslation

# Of the recorded networks.
ENC = {'base_channels': 4, 'num_blocks': 2}
DIS = {'type': 'MUNITDiscriminator', 'base_channels': 4, 'num_layers': 3}
NETWORKS: dict[type, dict[str, dict]] = {
    MUNIT: {
        'encoder': {'type': 'MUNITEncoder', **ENC},
        'style_encoder': {'type': 'MUNITStyleEncoder', 'base_channels': 4, 'style_dim': 4},
        'generator': {'type': 'MUNITDecoder', **ENC, 'style_dim': 4, 'mlp_channels': 16},
        'discriminator': DIS,
    },
    UNIT: {
        'encoder': {'type': 'MUNITEncoder', **ENC},
        'generator': {'type': 'UNITDecoder', **ENC},
        'discriminator': DIS,
    },
}

# Official names of the terms of A, and ours.
TERMS = {
    MUNIT: {
        'dis_a': 'gan_d_A',
        'gen_adv_a': 'gan_g_A',
        'gen_recon_x_a': 'recon_x_A',
        'gen_recon_s_a': 'recon_s_A',
        'gen_recon_c_a': 'recon_c_A',
        'gen_cycrecon_x_a': 'cycle_A',
    },
    UNIT: {
        'dis_a': 'gan_d_A',
        'gen_adv_a': 'gan_g_A',
        'gen_recon_x_a': 'recon_x_A',
        'gen_recon_kl_a': 'kl_A',
        'gen_cyc_x_a': 'cycle_A',
        'gen_recon_kl_cyc_aba': 'kl_cycle_A',
    },
}


def _terms_of(of_a: dict[str, str]) -> dict[str, str]:
    of_b = {
        (k.replace('_aba', '_bab') if k.endswith('aba') else f'{k[:-1]}b'): f'{v[:-1]}B'
        for k, v in of_a.items()
    }
    return of_a | of_b | {'dis_total': 'd', 'gen_total': 'g'}


OFFICIAL_TERMS = {kind: _terms_of(of_a) for kind, of_a in TERMS.items()}


def fixtures() -> Path:
    """The folder of the recorded numbers."""
    return reference('unit-munit', 'closed forms')


def recorded(name: str) -> dict:
    """A file of :func:`fixtures`, tensors by name."""
    path = fixtures() / name
    if path.suffix == '.pt':
        return torch.load(path, weights_only=True)
    with np.load(path) as numbers:
        return {key: torch.from_numpy(value) for key, value in dict(numbers).items()}


def pixels(images: Tensor) -> Tensor:
    """Recorded uint8 images as the networks saw them."""
    return (images.float() / 255 - 0.5) / 0.5


def tiny(kind: type[CodeTranslation], seed: int = 0, **fields) -> CodeTranslation:
    """A model of a few thousand parameters; arguments go over the defaults.

    A field of a network goes over its config.
    """
    torch.manual_seed(seed)
    networks = {name: cfg | (fields.pop(name, None) or {}) for name, cfg in NETWORKS[kind].items()}
    model = kind(**networks, **fields)
    model.init_weights()
    return model.train()


def wrappers(model: nn.Module, optimizer: dict | None = None, **fields):
    """Wrappers of the official optimisers, or of another one."""
    adam = {'type': 'Adam', 'lr': 1e-4, 'betas': (0.5, 0.999), 'weight_decay': 1e-4}
    cfg = {'optimizer': optimizer or adam, **fields}
    return UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, cfg))(model)


def from_recorded(networks: dict[str, dict[str, Tensor]], kind: type) -> dict[str, Tensor]:
    """Official networks by name (``gen_a``, ...) under our names."""
    program = PROGRAMS[kind.__name__]
    found, left = program.open(networks, 'recorded.pt')
    return program.convert(found, left)


def recorded_model(kind: type[CodeTranslation], **fields) -> CodeTranslation:
    """The model that forward passes and training were recorded from."""
    model = tiny(kind, **fields)
    model.load_state_dict(from_recorded(recorded(f'{kind.NAME}_init.pt'), kind))
    return model


def dead(name: str) -> bool:
    """Whether a parameter is a bias right before an instance norm, which takes it off again.

    Its true gradient is 0; what the program computes is rounding, which Adam turns into steps.
    """
    return name.endswith('.bias') and (name.startswith('encoders.') or '.blocks.' in name)
