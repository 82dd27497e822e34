"""Make a small file to publish from a training checkpoint: weights only, with checksums."""

import argparse
import sys

from ugatit_mm.converters import read_weights
from ugatit_mm.converters.command import add_arguments, run, write_ours


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the weights of a checkpoint without the training state (Adam, random '
        'numbers, logs). --generator-only --half make the smallest file.'
    )
    add_arguments(parser)
    parser.add_argument('--about', help='description to store in the file')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> dict:
    checkpoint = read_weights(args.source)
    meta = checkpoint.get('meta', {})
    keys = ('networks', 'provenance', 'iter', 'deep_range')
    kept = {key: meta[key] for key in keys if key in meta}
    if args.about:
        kept['about'] = args.about
    return write_ours(args, dict(checkpoint.get('state_dict', checkpoint)), kept)


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), convert)


if __name__ == '__main__':
    sys.exit(main())
