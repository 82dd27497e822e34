"""Convert a checkpoint of the official PyTorch program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import describe, from_official, read_checkpoint, to_official
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.files import save


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of znxlwm/UGATIT-pytorch (a .pt with genA2B, genB2A, '
        'disGA, ...) into weights for a model of recipe "pytorch". Nothing is dropped: an unknown '
        'key is an error.'
    )
    add_arguments(parser)
    parser.add_argument('--reverse', action='store_true', help='ours to the official format')
    args = parser.parse_args(argv)
    if args.reverse and (args.generator_only or args.half or args.domains):
        parser.error('--reverse takes neither --generator-only nor --half nor --domains')
    return args


def forwards(args: argparse.Namespace) -> dict:
    return write_ours(args, from_official(read_checkpoint(args.source)))


def backwards(args: argparse.Namespace) -> dict:
    checkpoint = read_checkpoint(args.source)
    state = checkpoint.get('state_dict', checkpoint)
    official = to_official(state)
    save(args.target, official)
    return describe(state)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards)


if __name__ == '__main__':
    sys.exit(main())
