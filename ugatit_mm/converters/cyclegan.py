"""Networks of the official CycleGAN program (junyanz/pytorch-CycleGAN-and-pix2pix), both ways.

It saves one plain state dict for each network, ``EPOCH_net_NETWORK.pth`` in a folder.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..messages import listed
from .files import read_checkpoint, save
from .official import Left, Networks, Program

# G_A translates A to B, and D_A classifies B. G is a single direction, A to B.
NETWORKS = {
    'G_A': 'generators.B',
    'G_B': 'generators.A',
    'D_A': 'discriminators.B',
    'D_B': 'discriminators.A',
    'G': 'generators.B',
}
LATEST = 'latest'
STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')  # until October 2018
_BLOCK = re.compile(r'(?:model\.\d+\.conv_block|blocks\.\d+)\.')
_FILE = re.compile(r'(latest|(?:iter_)?\d+)_net_(\w+)\.(?:pth?|safetensors)')


def read_networks(
    source: str | os.PathLike, epoch: str | None = None, which: str | None = None
) -> tuple[Networks, Left]:
    """Read the networks of an official folder, or of a file.

    Args:
        source: A folder with ``EPOCH_net_G_A.pth`` and so on; or one such file, or one with several
            networks by name. A file of one network whose name contains none of ``NETWORKS`` is a
            generator from A to B, like the published ones.
        epoch: Epoch of the files: ``'latest'``, ``'200'``, ``'iter_5000'``. By default the latest
            files; without these, those of the largest epoch.
        which: See :meth:`Program.open`.

    Returns:
        A state dict for each name of ``NETWORKS`` that was found, and the files' other content.

    Raises:
        OSError: The file or folder does not exist.
        CheckpointError: A file cannot be read.
        ValueError: The folder has no networks, or others than CycleGAN's.
    """
    source = Path(source)
    if not source.is_dir():
        if epoch is not None:
            raise ValueError('an epoch is chosen from a folder, this is one file')
        named = _FILE.fullmatch(source.name)
        files = {named[2] if named else 'G': source}
    elif which is not None:
        raise ValueError('--which is for a file: those of a folder have names')
    else:
        files = _of_epoch(source, epoch)
    if unknown := files.keys() - NETWORKS.keys():
        raise ValueError(
            f'{files[min(unknown)].name} is of no network of CycleGAN: it has {listed(NETWORKS)}'
        )
    networks: Networks = {}
    left: Left = {}
    for file in files.values():
        found, beside = PROGRAM.open(read_checkpoint(file), file, which)
        if twice := found.keys() & networks.keys():
            raise ValueError(f'{file.name} has {listed(twice)}, as another file has: take one away')
        networks |= found
        for kind, names in beside.items():
            more = [f'{file.name}: {name}' for name in names] if len(files) > 1 else names
            left.setdefault(kind, []).extend(more)
    return networks, left


def _of_epoch(folder: Path, epoch: str | None) -> dict[str, Path]:
    """Return the files by network."""
    epochs: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        if named := _FILE.fullmatch(file.name):
            of_epoch = epochs.setdefault(named[1], {})
            if named[2] in of_epoch:
                raise ValueError(
                    f'{of_epoch[named[2]].name} and {file.name} are one network: take one away'
                )
            of_epoch[named[2]] = file
    if not epochs:
        raise ValueError('it has no networks: latest_net_G_A.pth and so on are expected')
    if epoch is None:
        epoch = max(epochs, key=_age)
    if epoch not in epochs:
        known = listed(sorted(epochs, key=_age, reverse=True))
        raise ValueError(f'it has no networks of epoch {epoch}, only of {known}')
    return epochs[epoch]


def _age(epoch: str) -> tuple[bool, bool, int]:
    """Sort key for the newest: the latest, else the largest epoch, else the largest iteration."""
    number = epoch.rsplit('_', 1)[-1]
    return epoch == LATEST, number == epoch, 0 if epoch == LATEST else int(number)


def from_official(
    networks: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename official networks to a state dict of :class:`UnpairedCycleGAN`.

    Args:
        networks: State dicts by name, as :func:`read_networks` returns them. The discriminators and
            one generator may be absent.

    Returns:
        Every weight under our name, and the keys of the instance norms' unused running statistics,
        which the program saved before October 2018.

    Raises:
        ValueError: A key is unknown, or two generators have the same direction.
    """
    if {'G', 'G_A'} <= networks.keys():
        raise ValueError('G and G_A are both from A to B: convert one of them')
    state: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for network, prefix in NETWORKS.items():
        weights = networks.get(network, {})
        pairs = _places(network, weights)
        places = dict(pairs)
        # Between the convolutions, but after a discriminator's first.
        norms = {_next(place) for place, _ in pairs[network.startswith('D') : -1]}
        for key, value in weights.items():
            place, _, end = str(key).rpartition('.')
            if place in places and end in ('weight', 'bias'):
                state[f'{prefix}.{places[place]}.{end}'] = value
            elif place in norms and end in STATISTICS:
                dropped.append(f'{network}.{key}')
            else:
                unknown.append(f'{network}.{key}')
    if unknown:
        raise ValueError(
            "not a key of the official CycleGAN's networks with instance norm: " + listed(unknown)
        )
    return state, dropped


def to_official(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Rename a state dict of :class:`UnpairedCycleGAN` to official networks.

    Args:
        state: Weights; without discriminators only generators are returned.

    Returns:
        dict: State dicts under ``G_A``, ``G_B``, ``D_A``, ``D_B``, keys in the official order.

    Raises:
        ValueError: A key has no counterpart in the official program.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    left = dict(state)
    for network in ('G_A', 'G_B', 'D_A', 'D_B'):
        prefix = f'{NETWORKS[network]}.'
        own = {key.removeprefix(prefix): key for key in state if key.startswith(prefix)}
        for place, ours in _places(network, own):
            for end in ('weight', 'bias'):
                if (key := own.get(f'{ours}.{end}')) is not None:
                    networks.setdefault(network, {})[f'{place}.{end}'] = left.pop(key)
    if left:
        raise ValueError(f'the official CycleGAN has no such weights: {listed(left)}')
    return networks


def write_networks(
    folder: str | os.PathLike, networks: Mapping[str, Mapping[str, Tensor]]
) -> list[Path]:
    """Write official networks as ``latest_net_NETWORK.pth``, and return the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f'{LATEST}_net_{network}.pth' for network in networks]
    for network in NETWORKS.keys() - networks.keys():  # older files, which do not match these
        (folder / f'{LATEST}_net_{network}.pth').unlink(missing_ok=True)
    for file, weights in zip(files, networks.values(), strict=True):
        save(file, weights)
    return files


def _places(network: str, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the positions of a network's convolutions in an ``nn.Sequential``, official and ours.

    Args:
        network: Name of the network.
        keys: Keys of its weights, official or ours; they determine its depth.
    """
    if network.startswith('D'):
        layers = sum(str(key).endswith('.weight') for key in keys)
        places = [f'model.{max(0, 3 * layer - 1)}' for layer in range(layers)]
        return list(zip(places, places, strict=True))
    blocks = len({found[0] for key in keys if (found := _BLOCK.match(str(key)))})
    pairs = [(f'model.{1 + 3 * i}', f'encoder.{i}.conv') for i in range(3)]
    for i in range(blocks):
        pairs += [
            (f'model.{10 + i}.conv_block.1', f'blocks.{i}.conv1'),
            (f'model.{10 + i}.conv_block.5', f'blocks.{i}.conv2'),
        ]
    pairs += [(f'model.{10 + blocks + 3 * i}', f'decoder.{i}.conv') for i in range(2)]
    return [*pairs, (f'model.{17 + blocks}', 'decoder.2')]


def _next(place: str) -> str:
    start, number = place.rsplit('.', 1)
    return f'{start}.{int(number) + 1}'


PROGRAM = Program(
    name='the official CycleGAN program',
    tool='cyclegan',
    networks=NETWORKS,
    known=re.compile(r'(?:net)?([GD]_[AB]|G)(?:2[AB])?(?:_(?:state_dict|model|params))?'),
    sign=re.compile(r'(?:^|\.)model\.\d+\.conv_block\.\d+\.'),
    default='G',
    rename=from_official,
)
