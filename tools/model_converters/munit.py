"""Convert networks of the official MUNIT program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import munit, read_checkpoint, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.official import said
from ugatit_mm.models.base import TRANSLATION_MODELS


def parse_args(argv: list[str] | None, kind: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'Convert the newest gen_ITERATION.pt and dis_ITERATION.pt of a folder of the '
        f'official {kind} program, or one file, into weights for a model. An unknown weight is an '
        'error; other entries (optimisers, counters of profilers), running averages of weights and '
        'unused running statistics are left out and counted.'
    )
    add_arguments(parser)
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='convert our weights to a folder of gen_00000000.pt and dis_*',
    )
    args = parser.parse_args(argv)
    if args.reverse and any((args.generator_only, args.half, args.domains)):
        parser.error('--reverse takes neither --generator-only, --half nor --domains')
    return args


def main(argv: list[str] | None = None, kind: str = 'MUNIT') -> int:
    def convert(args: argparse.Namespace) -> dict:
        model = TRANSLATION_MODELS[kind]
        if args.reverse:
            state = weights_of(read_checkpoint(args.source), model.PARTS)
            networks = model.describe(state)
            munit.write_networks(args.target, munit.to_official(state, kind))
            return networks
        networks, left = munit.read_networks(args.source, kind)
        state = weights_of(munit.PROGRAMS[kind].convert(networks, left))
        if left:
            print(said(left))
        return write_ours(args, state, {'networks': model.describe(state)})

    return run(parse_args(argv, kind), convert, munit.PROGRAMS[kind].tool)


if __name__ == '__main__':
    sys.exit(main())
