"""Convert a checkpoint of the official DRIT program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import drit, read_checkpoint, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.files import save
from ugatit_mm.converters.networks import check_complete
from ugatit_mm.converters.official import said
from ugatit_mm.models import DRIT


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of HsinYingLee/DRIT (00099.pth and so on, its eight '
        'networks by name) into weights for a model. The sizes, and whether attributes are '
        'concatenated or feature-wise, are read from the weights. An unknown weight is an error; '
        'optimiser states and counters are left out and counted.'
    )
    add_arguments(parser)
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='convert our weights to an official checkpoint without optimisers',
    )
    args = parser.parse_args(argv)
    if args.reverse and any((args.generator_only, args.half, args.domains)):
        parser.error('--reverse takes neither --generator-only, --half nor --domains')
    return args


def forwards(args: argparse.Namespace) -> dict:
    networks, left = drit.PROGRAM.open(read_checkpoint(args.source), args.source)
    state = weights_of(drit.PROGRAM.convert(networks, left))
    if left:
        print(said(left))
    return write_ours(args, state, {'networks': DRIT.describe(state)})


def backwards(args: argparse.Namespace) -> dict:
    state = weights_of(read_checkpoint(args.source), DRIT.PARTS)
    networks = DRIT.describe(state)
    check_complete(networks, state)
    save(args.target, drit.to_official(state) | dict.fromkeys(drit.COUNTS, 0))
    return networks


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards, drit.PROGRAM.tool)


if __name__ == '__main__':
    sys.exit(main())
