"""Checkpoints of the official AGGAN program (TensorFlow) to ours, and back as arrays.

(AlamiMejjati/Unsupervised-Attention-guided-Image-to-Image-Translation.) Its variables are
``Model/g_A/r1/c1/Conv/weights``, (H, W, in, out), and so on; a checkpoint also holds Adam's moments
and unused norms, which are left out.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import whole
from ..messages import listed, printable
from .official import MOMENTS, OTHER, Left
from .tensorflow import SLOT

NAME = 'the official AGGAN program'
TOOL = 'aggan'  # of ugatit convert
SCOPE = 'Model'
# g_A translates A to B; its mask comes from the attention network of A.
NETWORKS = {
    'g_A': 'generators.B',
    'g_B': 'generators.A',
    'g_A_ae': 'attentions.A',
    'g_B_ae': 'attentions.B',
    'd_A': 'discriminators.A',
    'd_B': 'discriminators.B',
}
UNUSED = 'unused norm variable'
MAX_BLOCKS = 64
_PARTS = {
    'Conv/weights': 'weight',
    'Conv/biases': 'bias',
    'Conv2d_transpose/weights': 'weight',
    'Conv2d_transpose/biases': 'bias',
}
_NORM = {'instance_norm/scale': 'weight', 'instance_norm/offset': 'bias'}
_VARIABLE = re.compile(rf'(?:.*/)?({"|".join(NETWORKS)})/((?:r\d+/)?c\d)/(\w+/\w+)(?::0)?')


def _places(network: str) -> dict[str, tuple[str, str | None]]:
    """Return our convolution and norm of each official scope; ``None`` for an unused norm."""
    if network.startswith('d'):
        places = {f'c{i + 1}': (f'convs.{i}', f'norms.{i}') for i in range(4)}
        return {**places, 'c5': ('last', None)}
    attention = network.endswith('ae')
    count = 2 if attention else 3
    coders = [('encoder', i, i + 1) for i in range(count)] + [('decoder', i, 4 + i) for i in (0, 1)]
    places = {f'c{n}': (f'{part}.{i}.conv', f'{part}.{i}.norm') for part, i, n in coders}
    for block in range(1 if attention else MAX_BLOCKS):
        inner = 'encoder.2' if attention else f'blocks.{block}'
        for i in (1, 2):
            places[f'r{block + 1}/c{i}'] = (f'{inner}.conv{i}', f'{inner}.norm{i}')
    return {**places, 'c6': ('decoder.2', None)}


def signed(variables: Mapping[str, np.ndarray]) -> bool:
    """Whether the variables are this program's, which has attention networks."""
    return any(
        (found := _VARIABLE.fullmatch(name)) and found[1].endswith('ae') for name in variables
    )


def from_variables(variables: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], Left]:
    """Convert the official variables to a state dict of :class:`AGGAN`.

    Args:
        variables: By TensorFlow's names, in any scope. The discriminators and both networks of one
            direction may be absent.

    Returns:
        The state dict, and the names of what was left out: Adam's moments, numbers that are not
            weights, unused norms.

    Raises:
        ValueError: A variable is unknown, occurs twice, or is not a weight.
    """
    state: dict[str, Tensor] = {}
    left: Left = {}
    unknown: list[str] = []
    places = {network: _places(network) for network in NETWORKS}
    for name, value in variables.items():
        if any(SLOT.fullmatch(word) for word in name.partition(':')[0].split('/')):
            left.setdefault(MOMENTS, []).append(name)
            continue
        found = _VARIABLE.fullmatch(name)
        if found is None:
            (left.setdefault(OTHER, []) if np.size(value) <= 1 else unknown).append(name)
            continue
        network, scope, part = found.groups()
        conv, norm = places[network].get(scope, (None, None))
        if conv is not None and part in _PARTS:
            end = _PARTS[part]
            key = f'{NETWORKS[network]}.{conv}.{end}'
        elif conv is not None and part in _NORM:
            if norm is None:
                left.setdefault(UNUSED, []).append(name)
                continue
            end = _NORM[part]
            key = f'{NETWORKS[network]}.{norm}.{end}'
        else:
            unknown.append(name)
            continue
        if key in state:
            raise ValueError(f'{printable(name)} is in it twice, in two scopes')
        kernel = part in _PARTS and end == 'weight'
        if not np.issubdtype(value.dtype, np.floating) or value.ndim != (4 if kernel else 1):
            raise ValueError(
                f'{printable(name)} is not a weight: {value.dtype}, of shape {tuple(value.shape)}'
            )
        tensor = torch.from_numpy(np.ascontiguousarray(value, np.float32))
        # Transposed or not: (H, W, out, in) becomes torch's (in, out, H, W).
        state[key] = (tensor.permute(3, 2, 0, 1) if kernel else tensor).clone(
            memory_format=torch.contiguous_format
        )
    if unknown:
        raise ValueError(f'not a variable of the official AGGAN program: {listed(unknown)}')
    return state, left


def to_variables(state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Convert a state dict of :class:`AGGAN` to the official variables; see :func:`from_variables`.

    Raises:
        ValueError: A weight has no counterpart in the official program.
    """
    ours: dict[str, str] = {}
    for network, prefix in NETWORKS.items():
        for scope, (conv, norm) in _places(network).items():
            up = scope in ('c4', 'c5') and network in ('g_A', 'g_B')
            kind = 'Conv2d_transpose' if up else 'Conv'
            names = {f'{conv}.weight': f'{kind}/weights', f'{conv}.bias': f'{kind}/biases'}
            if norm is not None:
                names |= {f'{norm}.{end}': part for part, end in _NORM.items()}
            ours |= {
                f'{prefix}.{key}': f'{SCOPE}/{network}/{scope}/{part}'
                for key, part in names.items()
            }
    if unknown := [key for key in state if key not in ours]:
        raise ValueError(f'the official AGGAN has no such weights: {listed(unknown)}')
    return {
        ours[key]: (value.permute(2, 3, 1, 0) if value.dim() == 4 else value).numpy()
        for key, value in state.items()
    }


def write_variables(path: str | os.PathLike, variables: Mapping[str, np.ndarray]) -> None:
    """Write variables as an ``.npz``, atomically.

    Raises:
        ValueError: The file has another suffix.
    """
    arrays = {name: np.ascontiguousarray(value) for name, value in variables.items()}
    if Path(path).suffix != '.npz':
        raise ValueError(f'{path} must end with .npz')
    with whole(path) as place, open(place, 'wb') as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
