"""Checkpoints of the official DRIT program (HsinYingLee/DRIT), both ways.

A checkpoint is a dict of eight networks by name, their optimiser states, and two counts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..domains import DOMAINS
from ..messages import listed
from .official import Program

# Our part of each network.
NETWORKS = {
    'disA': 'discriminators.A',
    'disB': 'discriminators.B',
    'disA2': 'random_discriminators.A',
    'disB2': 'random_discriminators.B',
    'disContent': 'content_discriminator.shared',
    'enc_c': 'encoders',
    'enc_a': 'attribute_encoders',
    'gen': 'generators',
}
COUNTS = ('ep', 'total_it')  # required by its loader
_JUDGES = re.compile(
    r'(?:Diss\.(?P<scale>\d+)|model)\.(?P<layer>\d+)(?P<unit>\.model\.1)?'
    r'\.(?P<end>weight|bias|weight_orig|weight_u)'
)
_OURS = re.compile(
    r'(?:scales\.(?P<scale>\d+)|convs)\.(?P<layer>\d+)'
    r'\.(?P<end>weight|bias|parametrizations\.weight\.(?:original|0\.[uv]))'
)
_ENDS = {
    'weight_orig': 'parametrizations.weight.original',
    'weight_u': 'parametrizations.weight.0.u',
}


def _places(concat: bool) -> Iterator[tuple[str, str, str]]:
    """Yield network, official and our position of each layer, without the discriminators.

    Args:
        concat: Whether attributes are concatenated; else they enter feature-wise.
    """
    halves = (('1', 'conv1'), ('5', 'conv2'))  # of a residual block
    for old, new in halves:
        yield 'enc_c', f'conv_share.0.model.{old}', f'encoders.shared.{new}'
    for x in DOMAINS:
        ours, official = f'encoders.{x}', f'conv{x}'
        yield 'enc_c', f'{official}.0.model.1', f'{ours}.first'
        for i in range(2):
            yield 'enc_c', f'{official}.{1 + i}.model.1', f'{ours}.down.{i}.conv'
        for i in range(3):
            for old, new in halves:
                yield 'enc_c', f'{official}.{3 + i}.model.{old}', f'{ours}.blocks.{i}.{new}'
        yield from _of_attributes(x, concat)
        ours = f'generators.{x}'
        if concat:
            for i in range(3):
                for old, new in halves:
                    yield 'gen', f'dec{x}1.{i}.model.{old}', f'{ours}.blocks.{i}.{new}'
            ups, last = [f'dec{x}2.0', f'dec{x}3.0'], f'dec{x}4.0'
        else:
            for i in range(3):
                yield 'gen', f'mlp{x}.{2 * i}', f'{ours}.mlp.{i}'
            for i in range(4):
                official, block = f'dec{x}{1 + i}', f'{ours}.blocks.{i}'
                for half in (1, 2):
                    yield 'gen', f'{official}.conv{half}.0.1', f'{block}.conv{half}'
                    for k in range(2):
                        yield 'gen', f'{official}.blk{half}.{2 * k}', f'{block}.mix{half}.{k}'
            ups, last = [f'dec{x}5.0', f'dec{x}5.1'], f'dec{x}5.2'
        for i, up in enumerate(ups):
            yield 'gen', f'{up}.model.0', f'{ours}.up.{i}.conv'
            yield 'gen', f'{up}.model.1', f'{ours}.up.{i}.norm'
        yield 'gen', last, f'{ours}.last'
    if concat:
        for old, new in halves:
            yield 'gen', f'dec_share.0.model.{old}', f'generators.shared.{new}'


def _of_attributes(x: str, concat: bool) -> Iterator[tuple[str, str, str]]:
    ours = f'attribute_encoders.{x}'
    if concat:
        yield 'enc_a', f'conv_{x}.1', f'{ours}.first'
        for i in range(3):
            for old, new in (
                ('conv.2', 'conv1'),
                ('conv.4.1', 'conv2'),
                ('shortcut.1', 'shortcut'),
            ):
                yield 'enc_a', f'conv_{x}.{2 + i}.{old}', f'{ours}.blocks.{i}.{new}'
        yield 'enc_a', f'fc_{x}.0', f'{ours}.mean'
        yield 'enc_a', f'fcVar_{x}.0', f'{ours}.log_variance'
        return
    for i in range(5):
        yield 'enc_a', f'model_{x.lower()}.{1 + 3 * i}', f'{ours}.convs.{i}'
    yield 'enc_a', f'model_{x.lower()}.16', f'{ours}.last'


def from_official(networks: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename official networks to a state dict of :class:`DRIT`.

    Args:
        networks: State dicts by name; discriminators may be absent.

    Returns:
        Every weight under our name, and the keys of weights already divided by a spectral norm,
        which follow from the others.

    Raises:
        ValueError: A key is unknown, or a spectral norm lacks a part.
    """
    concat = not any(str(key).startswith('mlp') for key in networks.get('gen', {}))
    places = {(network, official): ours for network, official, ours in _places(concat)}
    state: dict[str, Tensor] = {}
    follow, unknown = [], []
    for network, weights in networks.items():
        for key, value in weights.items():
            place, _, end = str(key).rpartition('.')
            if network.startswith('dis'):
                found = _JUDGES.fullmatch(str(key))
                if found is None:
                    unknown.append(f'{network}.{key}')
                elif end == 'weight' and f'{place}.weight_orig' in weights:
                    follow.append(f'{network}.{key}')
                else:
                    state[f'{_ours(network, found)}.{_ENDS.get(end, end)}'] = value
            elif (network, place) in places and end in ('weight', 'bias'):
                ours = places[network, place]
                state[_key(ours, end)] = _as_ours(ours, value)
            else:
                unknown.append(f'{network}.{key}')
    if unknown:
        raise ValueError(f'not a key of the official DRIT: {listed(unknown)}')
    for key in [key for key in state if key.endswith('weight.0.u')]:
        # v is computed from u before each use in training, its only use.
        kernel: Any = state.get(key.replace('weight.0.u', 'weight.original'))
        u = state[key]
        if not (_dim(kernel) == 4 and _dim(u) == 1 and len(kernel) == len(u)):
            raise ValueError(f'{key} has no kernel of its size')
        state[key[:-1] + 'v'] = F.normalize(kernel.flatten(1).t() @ u, dim=0, eps=1e-12)
    return state, follow


def to_official(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Rename a state dict of :class:`DRIT` to official networks.

    Args:
        state: Weights of both directions; without the networks for training only, fewer are
            returned.

    Returns:
        dict: State dicts by name.

    Raises:
        ValueError: A key has no counterpart in the official program.
    """
    concat = not any('.mlp.' in key for key in state)
    networks: dict[str, dict[str, Tensor]] = {}
    left = dict(state)
    for network, official, ours in _places(concat):
        for end in ('weight', 'bias'):
            if (value := left.pop(_key(ours, end), None)) is not None:
                weights = networks.setdefault(network, {})
                weights[f'{official}.{end}'] = _as_official(ours, value)
    for network, prefix in NETWORKS.items():
        own = {key: found for key in left if (found := _of(prefix, key)) is not None}
        last = max((int(found['layer']) for found in own.values()), default=0)
        several = len({found['scale'] for found in own.values()}) > 1
        for key, found in own.items():
            value = left.pop(key)
            unit = '' if int(found['layer']) == last else '.model.1'
            scale = f'Diss.{found["scale"]}' if several else 'model'
            place, end = f'{scale}.{found["layer"]}{unit}', found['end']
            weights = networks.setdefault(network, {})
            if end.endswith('.v'):
                kernel, u = state[f'{key[:-3]}original'], state[f'{key[:-1]}u']
                sigma = u @ kernel.flatten(1) @ value
                weights[f'{place}.weight'] = kernel / sigma
            else:
                names = {ours: official for official, ours in _ENDS.items()}
                weights[f'{place}.{names.get(end, end)}'] = value
    if left:
        raise ValueError(f'the official DRIT has no such weights: {listed(left)}')
    return networks


def _ours(network: str, found: re.Match[str]) -> str:
    """Return our name of a discriminator's layer; a single scale counts as one of several."""
    prefix = NETWORKS[network]
    part = 'convs' if network == 'disContent' else f'scales.{found["scale"] or 0}'
    return f'{prefix}.{part}.{found["layer"]}'


def _of(prefix: str, key: str) -> re.Match[str] | None:
    return _OURS.fullmatch(key.removeprefix(f'{prefix}.')) if key.startswith(f'{prefix}.') else None


def _key(place: str, end: str) -> str:
    """Return our name of a weight; a norm's names differ from torch's."""
    if place.endswith('.norm'):
        end = {'weight': 'gamma', 'bias': 'beta'}[end]
    return f'{place}.{end}'


def _as_ours(place: str, value: Any) -> Any:
    """Convert a value to our shape; an unexpected shape is kept, and refused later."""
    if place.endswith('.norm') and _dim(value) == 3:
        return value[None]
    return _turned(place, value)


def _as_official(place: str, value: Tensor) -> Tensor:
    return value[0] if place.endswith('.norm') else _turned(place, value)


def _turned(place: str, value: Any) -> Any:
    """Return the kernel of a generator's last layer with inputs and outputs swapped."""
    last = place.startswith('generators.') and place.endswith('.last')
    return value.transpose(0, 1).contiguous() if last and _dim(value) == 4 else value


def _dim(value: Any) -> int:
    return value.dim() if isinstance(value, Tensor) else -1


PROGRAM = Program(
    name='the official DRIT program',
    tool='drit',
    networks=NETWORKS,
    known=re.compile(r'(enc_[ac]|gen|dis[AB]2?|disContent)(?:_(?:state_dict|model|params))?'),
    sign=re.compile(r'(?:^|\.)dec(?:_share\.0|[AB]\d)\.'),
    default=None,
    rename=from_official,
)
