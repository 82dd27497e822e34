"""What the converters' command lines share."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..provenance import sha256
from .files import write_checkpoint
from .networks import check_complete, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add source, target and what may be done to the weights."""
    parser.add_argument('source', help='what to convert')
    parser.add_argument('target', help='file to write: .pth, or .safetensors')
    parser.add_argument(
        '--generator-only', action='store_true', help='without the discriminators, for inference'
    )
    parser.add_argument('--half', action='store_true', help='weights in float16: half the size')
    parser.add_argument(
        '--domains', nargs=2, metavar=('A', 'B'), help='their names, for example selfie anime'
    )
    parser.add_argument('--force', action='store_true', help='overwrite the target')


def run(args: argparse.Namespace, convert: Callable[[argparse.Namespace], dict]) -> int:
    """Convert, and tell what was written, or what was wrong.

    Args:
        args: See :func:`add_arguments`.
        convert: Writes ``args.target`` and returns what :func:`describe` says of it.

    Returns:
        Exit code: 1 if it cannot be done; nothing is written then.
    """
    try:
        if os.path.exists(args.target) and not args.force:
            raise ValueError(f'{args.target} exists: choose another name, or give --force')
        networks = convert(args)
    except (OSError, ValueError) as error:
        print(f'error: {args.source}: {error}', file=sys.stderr)
        return 1
    report(args.target, networks)
    return 0


def write_ours(
    args: argparse.Namespace, state: dict[str, Tensor], meta: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Check weights, write what the arguments ask for, and return what networks they need."""
    meta = dict(meta or {})
    networks = meta['networks'] = dict(meta.get('networks') or describe(state))
    check_complete(networks, state)
    if args.generator_only:
        state = {key: value for key, value in state.items() if key.startswith('generators.')}
        networks.pop('discriminator', None)
    if args.half:
        state = {key: value.half() for key, value in state.items()}
    if args.domains:
        networks['domains'] = dict(zip('AB', args.domains, strict=True))
    write_checkpoint(args.target, state, meta)
    print('build the model with --cfg-options', *options(networks))
    return networks


def report(path: str, networks: dict[str, Any]) -> None:
    """Tell what a file holds, its size and its checksum."""
    generator = networks['generator']
    size = os.path.getsize(path) / 1e6
    parts = 'generators and discriminators' if 'discriminator' in networks else 'generators'
    print(
        f'{path}: {"light" if generator["light"] else "full"} {parts},',
        ', '.join(f'{key}={value}' for key, value in generator.items()),
    )
    print(f'{size:.2f} MB, sha256 {sha256(path)}')


def options(networks: dict[str, Any]) -> list[str]:
    """Return the config's options for networks of :func:`describe`."""
    words = [f'model.recipe={networks["recipe"]}']
    for part in ('generator', 'discriminator'):
        words += [
            f'model.{part}.{key}={value}'.replace(' ', '')
            for key, value in networks.get(part, {}).items()
        ]
    return words + [f'domains.{key}={name}' for key, name in networks.get('domains', {}).items()]
