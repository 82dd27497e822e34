"""Checkpoints of the official PyTorch program (znxlwm/UGATIT-pytorch) to ours and back.

The official file is a dict ``{genA2B, genB2A, disGA, disGB, disLA, disLB: state_dict}``.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..messages import listed
from ..models.ugatit.weights import MAX_BLOCKS
from .official import Program

NETWORKS = {
    'genA2B': 'generators.B',
    'genB2A': 'generators.A',
    'disGA': 'discriminators.A.scales.global',
    'disLA': 'discriminators.A.scales.local',
    'disGB': 'discriminators.B.scales.global',
    'disLB': 'discriminators.B.scales.local',
}

# Prefixes of names, official to ours. The numbers are positions in an nn.Sequential.
GENERATOR = {
    'DownBlock.1.': 'encoder.0.conv.',
    'DownBlock.5.': 'encoder.1.conv.',
    'DownBlock.9.': 'encoder.2.conv.',
    'gap_fc.': 'cam.gap_fc.',
    'gmp_fc.': 'cam.gmp_fc.',
    'conv1x1.': 'cam.conv1x1.',
    'FC.0.': 'mlp.fc1.',
    'FC.2.': 'mlp.fc2.',
    'gamma.': 'mlp.gamma.',
    'beta.': 'mlp.beta.',
    'UpBlock2.2.': 'decoder.0.conv.',
    'UpBlock2.3.': 'decoder.0.norm.',
    'UpBlock2.7.': 'decoder.1.conv.',
    'UpBlock2.8.': 'decoder.1.norm.',
    'UpBlock2.11.': 'decoder.2.',
}
for _i in range(MAX_BLOCKS):
    GENERATOR[f'DownBlock.{12 + _i}.conv_block.1.'] = f'encoder.{3 + _i}.conv1.'
    GENERATOR[f'DownBlock.{12 + _i}.conv_block.5.'] = f'encoder.{3 + _i}.conv2.'
    GENERATOR |= {
        f'UpBlock1_{1 + _i}.{part}.': f'blocks.{_i}.{part}.'
        for part in ('conv1', 'norm1', 'conv2', 'norm2')
    }
DISCRIMINATOR = {
    'gap_fc.': 'cam.gap_fc.',
    'gmp_fc.': 'cam.gmp_fc.',
    'conv1x1.': 'cam.conv1x1.',
    'conv.': 'classifier.1.',
} | {f'model.{1 + 3 * i}.': f'features.{1 + 3 * i}.' for i in range(MAX_BLOCKS)}

# Suffixes of names.
ENDS = {
    'weight_orig': 'parametrizations.weight.original',
    'weight_u': 'parametrizations.weight.0.u',
    'weight_v': 'parametrizations.weight.0.v',
} | {end: end for end in ('weight', 'bias', 'rho', 'gamma', 'beta')}


def from_official(checkpoint: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """Rename an official checkpoint's weights to a state dict of :class:`UGATIT`.

    Args:
        checkpoint: The six state dicts by network, as :meth:`Program.open` extracts them from a
            file. The discriminators and one generator may be absent.

    Returns:
        dict: Every tensor under our name.

    Raises:
        ValueError: A network or a key is unknown, or there is no generator.
    """
    state: dict[str, Tensor] = {}
    unknown = [name for name in checkpoint if name not in NETWORKS]
    for network, prefix in NETWORKS.items():
        for key, tensor in checkpoint.get(network, {}).items():
            renamed = _rename(key, network)
            if renamed is None:
                unknown.append(f'{network}.{key}')
            else:
                state[f'{prefix}.{renamed}'] = tensor
    if unknown:
        raise ValueError(f'not a key of the official PyTorch program: {listed(unknown)}')
    if not (checkpoint.get('genA2B') or checkpoint.get('genB2A')):
        raise ValueError('there is no generator: neither genA2B nor genB2A')
    return state


def to_official(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Rename a state dict of :class:`UGATIT` to an official checkpoint.

    Args:
        state: Weights of a model of recipe ``'pytorch'``.

    Returns:
        dict: The official networks' state dicts.

    Raises:
        ValueError: A key has no counterpart in the official program.
    """
    checkpoint: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in state.items():
        for network, prefix in NETWORKS.items():
            if key.startswith(prefix + '.'):
                renamed = _rename(key[len(prefix) + 1 :], network, reverse=True)
                if renamed is not None:
                    checkpoint.setdefault(network, {})[renamed] = tensor
                    break
        else:
            unknown.append(key)
    if unknown:
        raise ValueError(
            "the official PyTorch program has no such weights (only models of recipe 'pytorch', "
            f'without ablation, can be written in its format): {listed(unknown)}'
        )
    return checkpoint


def _rename(key: str, network: str, reverse: bool = False) -> str | None:
    """Rename one key, or return ``None`` if it is unknown."""
    starts, ends = (GENERATOR if network.startswith('gen') else DISCRIMINATOR), ENDS
    if reverse:
        starts, ends = ({new: old for old, new in table.items()} for table in (starts, ends))
    for start, renamed in starts.items():
        if key.startswith(start):
            end = ends.get(key[len(start) :])
            return end and renamed + end
    return None


PROGRAM = Program(
    name='the official PyTorch program of U-GAT-IT',
    tool='ugatit_pytorch',
    networks=NETWORKS,
    known=re.compile(r'(genA2B|genB2A|dis[GL][AB])(?:_(?:state_dict|model|params))?'),
    sign=re.compile(r'(?:^|\.)(?:DownBlock|UpBlock1_\d+|UpBlock2)\.\w'),
    default=None,
    rename=lambda networks: (from_official(networks), []),
    which=True,
)
