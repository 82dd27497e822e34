"""Shared code of the converters' command lines."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..provenance import sha256
from .files import write_checkpoint
from .networks import check_complete, describe, kind_of
from .reading import belonging


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add source, target and the options for the weights."""
    parser.add_argument('source', help='file or folder to convert')
    parser.add_argument('target', help='file to write: .pth, or .safetensors')
    parser.add_argument(
        '--generator-only',
        action='store_true',
        help='leave out the discriminators and other parts for training only, for inference',
    )
    parser.add_argument('--half', action='store_true', help='weights in float16: half the size')
    parser.add_argument(
        '--domains', nargs=2, metavar=('A', 'B'), help='their names, for example selfie anime'
    )
    parser.add_argument('--force', action='store_true', help='overwrite the target')


def run(
    args: argparse.Namespace, convert: Callable[[argparse.Namespace], dict], tool: str = ''
) -> int:
    """Convert, and print what was written, or the error.

    Args:
        args: See :func:`add_arguments`.
        convert: Writes ``args.target`` and returns its description, as :func:`describe` does.
        tool: Name of the converter of an official program.

    Returns:
        Exit code: 1 on an error; nothing is written then.
    """
    try:
        if os.path.exists(args.target) and not args.force:
            raise ValueError(f'{args.target} exists: choose another name, or give --force')
        networks = convert(args)
    except (OSError, ValueError) as error:
        said = str(error)
        where = '' if said.startswith(args.source) else f'{args.source}: '
        print(f'error: {where}{said}{_hint(args, tool)}', file=sys.stderr)
        return 1
    report(args.target, networks)
    return 0


def _hint(args: argparse.Namespace, tool: str) -> str:
    """Return what a refused file is, if it is not of the kind that this converter takes."""
    found = belonging(args.source) if tool else None
    if found is None:
        return ''
    name, wanted = found
    if getattr(args, 'reverse', False):
        return f'. It is of {name}: leave out --reverse' if wanted else f' (weights of our {name})'
    if not wanted:
        return f'. It has weights of our {name}, which need no converter'
    return '' if wanted == tool else f'. It is of {name}: ugatit convert {wanted}'


def write_ours(
    args: argparse.Namespace, state: dict[str, Tensor], meta: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Check weights, write what the arguments ask for, and return the networks they need.

    Args:
        args: See :func:`add_arguments`.
        state: Weights of a registered model.
        meta: Further content of the file; its ``networks`` are read from the weights if not given.

    Raises:
        ValueError: The weights do not match the networks.
        OSError: The file cannot be written.
    """
    meta = dict(meta or {})
    networks = meta.get('networks') or describe(state)
    check_complete(networks, state)
    kind = kind_of(networks)
    networks = meta['networks'] = {**networks, 'type': kind.__name__}
    if args.generator_only:
        kept = tuple(f'{part}.' for part in kind.TRANSLATES)
        state = {key: value for key, value in state.items() if key.startswith(kept)}
        for part in kind.PARTS.keys() - set(kind.TRANSLATES):
            networks.pop(kind.PARTS[part], None)
    if args.half:
        state = {key: value.half() for key, value in state.items()}
    if args.domains:
        networks['domains'] = dict(zip('AB', args.domains, strict=True))
    write_checkpoint(args.target, state, meta)
    print('build the model with --cfg-options', *options(networks))
    return networks


def report(path: str, networks: dict[str, Any]) -> None:
    """Print the networks, and size and checksum of a file, or of each file of a folder."""
    kind = kind_of(networks)
    present = [field for field in kind.NETWORKS if field in networks]
    parts = [part for part, field in kind.PARTS.items() if field in present]
    fields = ', '.join(f'{key}={value}' for key, value in networks[present[0]].items())
    print(f'{path}: {kind.ROW}, {" and ".join(parts)}, {fields}')
    folder = Path(path)
    for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
        print(f'{file}: {file.stat().st_size / 1e6:.2f} MB, sha256 {sha256(file)}')


def options(networks: dict[str, Any]) -> list[str]:
    """Return the config options for networks of :func:`describe`."""
    kind = kind_of(networks)
    own = ('default_domain', 'targets', *kind.FIELDS)
    fields = {f'model.{name}': networks[name] for name in own if name in networks}
    for network in kind.NETWORKS:
        of_network = networks.get(network, {})
        fields |= {f'model.{network}.{key}': value for key, value in of_network.items()}
    fields |= {f'domains.{key}': name for key, name in networks.get('domains', {}).items()}
    return [f'{key}={value}'.replace(' ', '') for key, value in fields.items()]
