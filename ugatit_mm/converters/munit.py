"""Networks of the official MUNIT and UNIT programs (NVlabs/MUNIT, mingyuliutw/UNIT), both ways.

They save both generators in ``gen_ITERATION.pt`` and both discriminators in ``dis_ITERATION.pt``,
each a dict of plain state dicts by domain, ``a`` and ``b``. A generator has encoders and a decoder.
"""

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..messages import listed
from .files import read_checkpoint, save
from .official import Left, Networks, Program

DOMAINS = {'a': 'A', 'b': 'B'}
MAX_BLOCKS, MAX_SCALES, MAX_LAYERS = 64, 16, 16
STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
_FILE = re.compile(r'(gen|dis)_(\d+)\.(?:pth?|safetensors)')

# Positions of weights in a domain's network, official to ours: the part, and the position in it.
_PAIR = ((0, 'conv1'), (1, 'conv2'))  # convolutions of a block
ENCODER = {f'{i}.conv': ('encoders', f'layers.{i}.conv') for i in range(3)} | {
    f'3.model.{block}.model.{i}.conv': ('encoders', f'layers.{3 + block}.{conv}')
    for block in range(MAX_BLOCKS)
    for i, conv in _PAIR
}
DECODER = {
    f'dec.model.0.model.{block}.model.{i}.conv': ('generators', f'blocks.{block}.{conv}')
    for block in range(MAX_BLOCKS)
    for i, conv in _PAIR
} | {
    'dec.model.2.conv': ('generators', 'decoder.1.conv'),
    'dec.model.2.norm': ('generators', 'decoder.1.norm'),
    'dec.model.4.conv': ('generators', 'decoder.3.conv'),
    'dec.model.4.norm': ('generators', 'decoder.3.norm'),
    'dec.model.5.conv': ('generators', 'decoder.4'),
}
DISCRIMINATOR = {
    f'cnns.{scale}.{layer}{end}': ('discriminators', f'scales.{scale}.{layer}')
    for end in ('.conv', '')  # the last layer is a plain convolution
    for scale in range(MAX_SCALES)
    for layer in range(MAX_LAYERS + 1)
}
STYLE = 'enc_style.model.6'  # a 1x1 convolution of one pixel: a linear layer here
GENERATOR = {
    'MUNIT': {f'enc_style.model.{i}.conv': ('style_encoders', f'layers.{i}') for i in range(5)}
    | {STYLE: ('style_encoders', 'style')}
    | {f'enc_content.model.{place}': ours for place, ours in ENCODER.items()}
    | DECODER
    | {f'mlp.model.{i}.fc': ('generators', f'mlp.{i}') for i in range(3)},
    'UNIT': {f'enc.model.{place}': ours for place, ours in ENCODER.items()} | DECODER,
}


def read_networks(source: str | os.PathLike, kind: str) -> tuple[Networks, Left]:
    """Read the networks of an official folder, or of a file.

    Args:
        source: A folder with ``gen_ITERATION.pt`` and, of the same iteration, ``dis_ITERATION.pt``,
            whose newest files are read; or one file.
        kind: ``'MUNIT'`` or ``'UNIT'``.

    Returns:
        A state dict of all networks of a domain, by ``a`` and ``b``, and the files' other content.

    Raises:
        OSError: The file or folder does not exist.
        CheckpointError: A file cannot be read.
        ValueError: There are no generators, or they are the other program's.
    """
    source, program = Path(source), PROGRAMS[kind]
    files = newest(source) if source.is_dir() else [source]
    networks: Networks = {}
    left: Left = {}
    for file in files:
        content = read_checkpoint(file)
        found, beside = program.open(content, file)
        for domain, weights in found.items():
            networks.setdefault(domain, {}).update(weights)
        for what, names in beside.items():
            left.setdefault(what, []).extend(names)
    return networks, left


def newest(folder: Path) -> list[Path]:
    """Return the files of the largest iteration with generators in a folder."""
    named = {
        (int(found[2]), found[1]): file
        for file in sorted(folder.iterdir())
        if (found := _FILE.fullmatch(file.name))
    }
    iterations = [iteration for iteration, network in named if network == 'gen']
    if not iterations:
        raise ValueError('it has no generators: gen_01000000.pt or so is expected')
    pair = [named.get((max(iterations), network)) for network in ('gen', 'dis')]
    return [file for file in pair if file is not None]


def tool_of(folder: Path) -> str:
    """Return the converter of a folder's generators."""
    content = read_checkpoint(newest(folder)[0])
    return PROGRAMS['UNIT' if PROGRAMS['UNIT'].signed(content) else 'MUNIT'].tool


def from_official(
    networks: Mapping[str, Mapping[str, Any]], kind: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename official networks to a state dict of :class:`MUNIT` or :class:`UNIT`.

    Args:
        networks: As :func:`read_networks` returns them. The discriminators may be absent.
        kind: ``'MUNIT'`` or ``'UNIT'``.

    Returns:
        Every weight under our name, and the keys of unused running statistics: those of instance
        norms, saved before July 2018, and those of AdaIN, which never change.

    Raises:
        ValueError: A key is unknown.
    """
    places = GENERATOR[kind] | DISCRIMINATOR
    state: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for domain, letter in DOMAINS.items():
        for key, value in networks.get(domain, {}).items():
            place, _, end = str(key).rpartition('.')
            ends = ('gamma', 'beta') if place.endswith('.norm') else ('weight', 'bias')
            if place in places and end in ends:
                part, ours = places[place]
                if place == STYLE and end == 'weight' and value.shape[2:] == (1, 1):
                    value = value.flatten(1)
                state[f'{part}.{letter}.{ours}.{end}'] = value
            elif end in STATISTICS and f'{place.removesuffix(".norm")}.conv' in places:
                dropped.append(f'{domain}.{key}')
            else:
                unknown.append(f'{domain}.{key}')
    if unknown:
        raise ValueError(
            f"not a key of the official {kind}'s networks with two strided convolutions: "
            + listed(unknown)
        )
    return state, dropped


def to_official(state: Mapping[str, Tensor], kind: str) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Rename a state dict of :class:`MUNIT` or :class:`UNIT` to official networks.

    Args:
        state: Weights; without discriminators only generators are returned.
        kind: ``'MUNIT'`` or ``'UNIT'``.

    Returns:
        dict: State dicts under ``gen`` and ``dis``, then ``a`` and ``b``, with the two buffers of
            each AdaIN that the program expects.

    Raises:
        ValueError: A key has no counterpart in the official program.
    """
    files: dict[str, dict[str, dict[str, Tensor]]] = {}
    left = dict(state)
    for domain, letter in DOMAINS.items():
        for file, places in (('gen', GENERATOR[kind]), ('dis', DISCRIMINATOR)):
            for place, (part, ours) in places.items():
                start = f'{part}.{letter}.{ours}.'
                if file == 'dis' and place.endswith('.conv') == _is_last(state, start):
                    continue
                for end in ('gamma', 'beta') if place.endswith('.norm') else ('weight', 'bias'):
                    if (value := left.pop(f'{start}{end}', None)) is None:
                        continue
                    own = files.setdefault(file, {}).setdefault(domain, {})
                    own[f'{place}.{end}'] = (
                        value[..., None, None] if _is_style(place, end) else value
                    )
                    if kind == 'MUNIT' and end == 'bias' and place.startswith('dec.model.0.'):
                        norm = f'{place.removesuffix("conv")}norm.'
                        own[f'{norm}running_mean'] = torch.zeros_like(value)
                        own[f'{norm}running_var'] = torch.ones_like(value)
    if left:
        raise ValueError(f'the official {kind} has no such weights: {listed(left)}')
    return files


def _is_style(place: str, end: str) -> bool:
    return place == STYLE and end == 'weight'


def _is_last(state: Mapping[str, Tensor], start: str) -> bool:
    """Whether a discriminator's layer is its last."""
    scale, layer, _ = start.rsplit('.', 2)
    return f'{scale}.{int(layer) + 1}.weight' not in state


def write_networks(
    folder: str | os.PathLike, files: Mapping[str, Mapping[str, Mapping[str, Tensor]]]
) -> None:
    """Write official networks as ``gen_00000000.pt`` and ``dis_00000000.pt``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in {'gen', 'dis'} - files.keys():  # older files, which do not match these
        (folder / f'{name}_{0:08}.pt').unlink(missing_ok=True)
    for name, networks in files.items():
        save(folder / f'{name}_{0:08}.pt', networks)


PROGRAMS = {
    kind: Program(
        name=f'the official {kind} program',
        tool=kind.lower(),
        networks={domain: f'generators.{letter}' for domain, letter in DOMAINS.items()},
        known=re.compile(r'(?:gen_|dis_)?([ab])'),
        sign=re.compile(sign),
        default=None,
        rename=partial(from_official, kind=kind),
    )
    for kind, sign in (
        ('MUNIT', r'(?:^|\.)enc_content\.model\.\d+\.'),
        ('UNIT', r'(?:^|\.)enc\.model\.\d+\.'),
    )
}
