"""Convert a checkpoint of the official PyTorch program to ours, or back with --reverse."""

import argparse
import os
import sys

import torch

from ugatit_mm.converters import describe, from_official, read_checkpoint, to_official


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of znxlwm/UGATIT-pytorch (a .pt with genA2B, genB2A, '
        'disGA, ...) into weights for a model of recipe "pytorch". Nothing is dropped: an unknown '
        'key is an error.'
    )
    parser.add_argument('source', help='official checkpoint; with --reverse one of ours')
    parser.add_argument('target', help='file to write')
    parser.add_argument('--reverse', action='store_true', help='ours to the official format')
    parser.add_argument('--force', action='store_true', help='overwrite the target')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if os.path.exists(args.target) and not args.force:
            raise ValueError(f'{args.target} exists: choose another name, or give --force')
        checkpoint = read_checkpoint(args.source)
        if args.reverse:
            converted = to_official(checkpoint.get('state_dict', checkpoint))
            sizes = describe(converted)
        else:
            sizes = describe(checkpoint)
            state = from_official(checkpoint)
            converted = {'state_dict': state, 'meta': {'recipe': 'pytorch', 'networks': sizes}}
        torch.save(converted, args.target)
    except (OSError, ValueError) as error:
        print(f'error: {args.source}: {error}', file=sys.stderr)
        return 1
    generator = dict(sizes['generator'])
    print(
        f'{args.target}: {"light" if generator["light"] else "full"},',
        ', '.join(f'{key}={value}' for key, value in generator.items()),
    )
    options = [f'model.generator.{key}={value}' for key, value in generator.items()]
    options += [
        f'model.discriminator.{key}={value}'.replace(' ', '')
        for key, value in sizes.get('discriminator', {}).items()
    ]
    if not args.reverse:
        print('build the model with --cfg-options model.recipe=pytorch', *options)
    return 0


if __name__ == '__main__':
    sys.exit(main())
