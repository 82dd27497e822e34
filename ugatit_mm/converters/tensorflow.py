"""Checkpoints of the official TensorFlow program (taki0112/UGATIT) to ours.

Its variables are ``generator_B/conv/conv2d/kernel`` and so on, convolutions (H, W, in, out), dense
layers (in, out); ``generator_B`` translates A to B. A checkpoint also holds Adam's moments, which
are left out.
"""

import math
import os
import re
import zipfile
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..messages import first_line, listed, printable
from ..models.ugatit.weights import MAX_BLOCKS
from .files import CheckpointError
from .official import AVERAGES, MOMENTS, OTHER, UNJUDGED, Left

NAME = 'the official TensorFlow program of U-GAT-IT'
TOOL = 'ugatit_tensorflow'  # of ugatit convert
UNPACKED = 20  # largest ratio of an .npz's arrays to the file's size

# Scopes of layers to our modules.
GENERATOR = {
    'conv/conv2d': 'encoder.0.conv',
    'ins_norm': 'encoder.0.norm',
    'conv_0/conv2d': 'encoder.1.conv',
    'ins_norm_0': 'encoder.1.norm',
    'conv_1/conv2d': 'encoder.2.conv',
    'ins_norm_1': 'encoder.2.norm',
    'CAM_logit': 'cam.fc',
    'conv_1x1/conv2d': 'cam.conv1x1',
    'MLP/linear_0/dense': 'mlp.fc1',
    'MLP/linear_1/dense': 'mlp.fc2',
    'MLP/gamma/dense': 'mlp.gamma',
    'MLP/beta/dense': 'mlp.beta',
    'up_conv_0/conv2d': 'decoder.0.conv',
    'layer_ins_norm_0': 'decoder.0.norm',
    'up_conv_1/conv2d': 'decoder.1.conv',
    'layer_ins_norm_1': 'decoder.1.norm',
    'G_logit/conv2d': 'decoder.2',
}
for _i in range(MAX_BLOCKS):
    for _j in (1, 2):
        GENERATOR |= {
            f'resblock_{_i}/res{_j}/conv_0/conv2d': f'encoder.{3 + _i}.conv{_j}',
            f'resblock_{_i}/res{_j}/instance_norm': f'encoder.{3 + _i}.norm{_j}',
            f'adaptive_resblock{_i}/res{_j}/conv_0/conv2d': f'blocks.{_i}.conv{_j}',
            f'adaptive_resblock{_i}/res{_j}/instance_layer_norm': f'blocks.{_i}.norm{_j}',
        }
DISCRIMINATOR = {
    'CAM_logit': 'cam.fc',
    'conv_1x1/conv2d': 'cam.conv1x1',
    'D_logit': 'classifier.1',
} | {f'conv_{i}': f'features.{1 + 3 * i}' for i in range(MAX_BLOCKS)}

NETWORK = re.compile('(?:generator|discriminator)_[AB]')
# Entries of optimisers in a checkpoint: slots of each variable, their own numbers.
SLOT = re.compile(r'(?:Adam|RMSProp|Momentum|Adagrad|Adadelta)\w*|beta[12]_power(?:_\d+)?')
AVERAGE = 'ExponentialMovingAverage'


def prefix_of(path: str | os.PathLike) -> str | None:
    """Return the prefix of the checkpoint that a file belongs to; ``None`` without one."""
    prefix = re.sub(r'\.(?:index|meta|data-\d+-of-\d+)$', '', os.fspath(path))
    return prefix if os.path.isfile(f'{prefix}.index') else None


def read_variables(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the variables of a TensorFlow checkpoint, without running code from it.

    Args:
        path: An ``.npz`` of the variables by name, which needs no TensorFlow; or a checkpoint
            folder (the newest is read), or a checkpoint's prefix (``UGATIT.model-1000000``).

    Raises:
        FileNotFoundError: The path does not exist.
        CheckpointError: It cannot be read, or TensorFlow is needed and not installed.
    """
    if os.fspath(path).endswith('.npz'):
        if not os.path.isfile(path):
            raise FileNotFoundError(f'no file {path}')
        try:
            _check_npz(path)
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except Exception as error:  # zipfile, zlib and numpy have their own errors
            raise CheckpointError(
                f'{path} is not an .npz of arrays: {first_line(error)}'
            ) from error
    prefix = os.fspath(path) if os.path.isdir(path) else prefix_of(path)
    if prefix is None:
        raise FileNotFoundError(f'no TensorFlow checkpoint {path} (nor {path}.index)')
    try:
        import tensorflow
    except ImportError as error:
        raise CheckpointError(
            f'{path} is a checkpoint folder, which only TensorFlow can read: '
            "pip install 'ugatit_mm[tensorflow]', or give an .npz of its variables by name"
        ) from error
    if os.path.isdir(prefix):
        newest = tensorflow.train.latest_checkpoint(prefix)
        if newest is None:
            raise CheckpointError(f'{path} has no checkpoint: its file "checkpoint" names none')
        prefix = newest
    try:
        reader = tensorflow.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow has its own errors
        raise CheckpointError(f'{prefix} cannot be read: {error}') from error


def _check_npz(path: str | os.PathLike) -> None:
    """Check that arrays take no more memory than the file's size suggests.

    Raises:
        ValueError: They take more, or the file holds something else.
    """
    most = UNPACKED * os.path.getsize(path) + 2**20
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > most:
            raise ValueError(f'unpacked it is more than {UNPACKED} times as large')
        for entry in archive.infolist():
            with archive.open(entry) as file:
                major, minor = np.lib.format.read_magic(file)
                read = getattr(np.lib.format, f'read_array_header_{major}_{minor}')
                shape, _, kind = read(file)
                # Both as Python integers: the product of a forged shape may exceed 64 bits.
                size = math.prod(map(int, shape)) * kind.itemsize + file.tell()
            if not entry.filename.endswith('.npy') or kind.hasobject or size != entry.file_size:
                raise ValueError(f'{entry.filename[:100]!r} is not a plain array')


def from_variables(variables: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], Left]:
    """Convert the official variables to a state dict of :class:`UGATIT`, recipe ``'tensorflow'``.

    Args:
        variables: By TensorFlow's names, in any scope. The discriminators and one generator may be
            absent.

    Returns:
        The state dict, and the names of what was left out (Adam's moments).

    Raises:
        ValueError: A variable is unknown, or has an invalid dtype or shape.
    """
    state: dict[str, Tensor] = {}
    variables, left, unknown = _of_networks(variables)
    last = {  # the number of conv_last, after conv_0, conv_1, ...
        scope: sum(name.startswith(f'{scope}/conv_') and name.endswith('/u') for name in variables)
        for scope in {'/'.join(name.split('/')[:2]) for name in variables}
    }
    for name, value in variables.items():
        path, _, end = name.rpartition('/')
        network, _, scope = path.partition('/')
        kind, _, domain = network.rpartition('_')
        target = None
        if kind == 'generator':
            target, prefix = GENERATOR.get(scope), f'generators.{domain}'
        else:
            scale, _, layer = scope.partition('/')
            if scale in ('global', 'local'):
                if layer == 'conv_last':
                    layer = f'conv_{last[f"{network}/{scale}"] - 1}'
                target, prefix = DISCRIMINATOR.get(layer), f'discriminators.{domain}.scales.{scale}'
        if target is None or end not in ('kernel', 'bias', 'u', 'gamma', 'beta', 'rho'):
            unknown.append(name)
            continue
        if not np.issubdtype(value.dtype, np.floating):
            raise ValueError(
                f'{printable(name)} is of {value.dtype}, not of numbers with a fraction'
            )
        if end == 'kernel' and value.ndim not in (2, 4):
            raise ValueError(f'{printable(name)} has the shape {value.shape}, which no kernel has')
        normalised = f'{path}/u' in variables
        state[f'{prefix}.{_rename(target, end, normalised)}'] = _tensor(value, target, end)
    if unknown:
        raise ValueError(f'not a variable of the official TensorFlow program: {listed(unknown)}')
    for domain in 'AB':
        _reorder_mlp(state, f'generators.{domain}')
    for key in [key for key in state if key.endswith('parametrizations.weight.0.u')]:
        # v is computed from u before each use; we keep it for evaluation.
        kernel = state.get(key.replace('weight.0.u', 'weight.original'))
        if kernel is None or len(kernel) != state[key].numel():
            raise ValueError(f'{key} has no kernel of its size')
        state[key[:-1] + 'v'] = F.normalize(kernel.flatten(1).t() @ state[key], dim=0, eps=1e-12)
    return state, left


def _of_networks(
    variables: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], Left, list[str]]:
    """Return the networks' variables without scope, what is left out, and unknown names."""
    found: dict[str, np.ndarray] = {}
    averages: dict[str, np.ndarray] = {}
    left: Left = {}
    unknown: list[str] = []
    for name, value in variables.items():
        words = name.partition(':')[0].split('/')
        place = next((i for i, word in enumerate(words) if NETWORK.fullmatch(word)), None)
        if any(SLOT.fullmatch(word) for word in words):
            left.setdefault(MOMENTS, []).append(name)
        elif place is None:
            (left.setdefault(OTHER, []) if np.size(value) <= 1 else unknown).append(name)
        else:
            into = averages if words[-1] == AVERAGE else found
            key = '/'.join(words[place : -1 if into is averages else None])
            if key in into:
                raise ValueError(f'{printable(name)} is in it twice, in two scopes')
            into[key] = value
    if averages and found:
        left[AVERAGES] = [f'{name}/{AVERAGE}' for name in averages]
    found = found or averages
    networks = dict.fromkeys(name.partition('/')[0] for name in found)
    targets = {network[-1] for network in networks if network.startswith('generator')}
    if targets and (unjudged := [network for network in networks if network[-1] not in targets]):
        left[UNJUDGED] = unjudged
        found = {k: value for k, value in found.items() if k.partition('/')[0] not in unjudged}
    return found, left, unknown


def _rename(target: str, end: str, normalised: bool) -> str:
    if end == 'kernel':
        return f'{target}.parametrizations.weight.original' if normalised else f'{target}.weight'
    if end == 'u':
        return f'{target}.parametrizations.weight.0.u'
    if target.startswith('encoder') and end in ('gamma', 'beta'):  # nn.InstanceNorm2d's names
        return f'{target}.{"weight" if end == "gamma" else "bias"}'
    return f'{target}.{end}'


def _tensor(value: np.ndarray, target: str, end: str) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(value, np.float32))
    if end == 'kernel':
        tensor = tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.t()
    elif end == 'u':
        tensor = tensor.flatten()
    elif end in ('gamma', 'beta', 'rho') and not target.startswith('encoder'):
        tensor = tensor.view(1, -1, 1, 1)
    return tensor.clone(memory_format=torch.contiguous_format)


def _reorder_mlp(state: dict[str, Tensor], prefix: str) -> None:
    """Reorder the full variant's first layer from features (H, W, C) to our (C, H, W)."""
    weight, last = state.get(f'{prefix}.mlp.fc1.weight'), state.get(f'{prefix}.encoder.2.conv.bias')
    channels = 0 if last is None else last.numel()
    if weight is None or weight.dim() != 2 or weight.size(1) in (0, channels) or not channels:
        return
    side = round((weight.size(1) / channels) ** 0.5)
    if side * side * channels != weight.size(1):
        raise ValueError(
            f'{prefix}: MLP/linear_0/dense/kernel takes {weight.size(1)} inputs, which is not a '
            f'square of {channels} channels'
        )
    weight = weight.view(-1, side, side, channels).permute(0, 3, 1, 2).flatten(1)
    state[f'{prefix}.mlp.fc1.weight'] = weight.contiguous()
