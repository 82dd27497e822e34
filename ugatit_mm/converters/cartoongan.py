"""Networks of a CartoonGAN program (znxlwm/pytorch-CartoonGAN), both ways.

It saves plain state dicts, of the generator ``G`` and of the discriminator ``D``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..messages import listed
from .official import Networks, Program

NETWORKS = {'G': 'generators.B', 'D': 'discriminators.B'}
# The generator's convolutions before and after its blocks: official and our names.
DOWN = {
    'down_convs.0': 'encoder.0.conv',
    'down_convs.3': 'encoder.1',
    'down_convs.4': 'encoder.2.conv',
    'down_convs.7': 'encoder.3',
    'down_convs.8': 'encoder.4.conv',
}
UP = {
    'up_convs.0': 'decoder.0',
    'up_convs.1': 'decoder.1.conv',
    'up_convs.4': 'decoder.2',
    'up_convs.5': 'decoder.3.conv',
    'up_convs.8': 'decoder.4',
}
JUDGE = tuple(f'convs.{layer}' for layer in (0, 2, 4, 7, 9, 12, 15))  # the same names as ours
_BLOCK = re.compile(r'(?:resnet_blocks|blocks)\.(\d+)\.')


def from_official(
    networks: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename official networks to a state dict of :class:`CartoonGAN`.

    Args:
        networks: State dicts under ``G`` and ``D``; the latter may be absent.

    Returns:
        Every weight under our name, and an empty list of keys that are left out.

    Raises:
        ValueError: A key is unknown.
    """
    state: dict[str, Tensor] = {}
    unknown = []
    for network, prefix in NETWORKS.items():
        weights = networks.get(network, {})
        places = _places(network, weights)
        for key, value in weights.items():
            place, _, end = str(key).rpartition('.')
            if place in places and end in ('weight', 'bias'):
                state[f'{prefix}.{places[place]}.{end}'] = value
            else:
                unknown.append(f'{network}.{key}')
    if unknown:
        raise ValueError(f'not a key of {PROGRAM.name}: {listed(unknown)}')
    return state, []


def to_official(state: Mapping[str, Tensor]) -> Networks:
    """Rename a state dict of :class:`CartoonGAN` to official networks.

    Args:
        state: Weights; without the discriminator only ``G`` is returned.

    Returns:
        dict: State dicts under ``G`` and ``D``, keys in the official order.

    Raises:
        ValueError: A key has no counterpart there, such as those of learned norms.
    """
    networks: Networks = {}
    left = dict(state)
    for network, prefix in NETWORKS.items():
        own = [key.removeprefix(f'{prefix}.') for key in state if key.startswith(f'{prefix}.')]
        for place, ours in _places(network, own).items():
            for end in ('weight', 'bias'):
                if (key := f'{prefix}.{ours}.{end}') in left:
                    networks.setdefault(network, {})[f'{place}.{end}'] = left.pop(key)
    if left:
        raise ValueError(f'{PROGRAM.name} has no such weights: {listed(left)}')
    return networks


def _places(network: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the positions of a network's convolutions, official and ours.

    Args:
        network: Name of the network.
        keys: Keys of its weights, official or ours; they determine its depth.
    """
    if network == 'D':
        return dict(zip(JUDGE, JUDGE, strict=True))
    blocks = {found[1] for key in keys if (found := _BLOCK.match(str(key)))}
    inside = {
        f'resnet_blocks.{block}.{conv}': f'blocks.{block}.{conv}'
        for block in range(len(blocks))
        for conv in ('conv1', 'conv2')
    }
    return DOWN | inside | UP


PROGRAM = Program(
    name='the CartoonGAN program znxlwm/pytorch-CartoonGAN',
    tool='cartoongan',
    networks=NETWORKS,
    known=re.compile(r'([GD])(?:_(?:state_dict|model|params))?'),
    sign=re.compile(r'(?:^|\.)down_convs\.\d+\.'),
    default='G',
    rename=from_official,
)
