"""Convert a checkpoint of the official PyTorch program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import describe, read_checkpoint, to_official, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.files import save
from ugatit_mm.converters.official import said
from ugatit_mm.converters.pytorch import PROGRAM


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of znxlwm/UGATIT-pytorch (a .pt with genA2B, genB2A, '
        'disGA, ...; one generator is enough) into weights for a model of recipe "pytorch". An '
        'unknown weight is an error; other entries (optimisers, epochs, counters of profilers) and '
        'running averages of weights are left out and counted.'
    )
    add_arguments(parser)
    parser.add_argument(
        '--which',
        choices=('genA2B', 'genB2A'),
        help='network that a file of one network holds, if neither it nor its name says so',
    )
    parser.add_argument(
        '--reverse', action='store_true', help='convert our weights to the official format'
    )
    args = parser.parse_args(argv)
    if args.reverse and (args.generator_only or args.half or args.domains or args.which):
        parser.error('--reverse takes neither --generator-only, --half, --domains nor --which')
    return args


def forwards(args: argparse.Namespace) -> dict:
    networks, left = PROGRAM.open(read_checkpoint(args.source), args.source, args.which)
    state = weights_of(PROGRAM.convert(networks, left))
    if left:
        print(said(left))
    return write_ours(args, state)


def backwards(args: argparse.Namespace) -> dict:
    checkpoint = read_checkpoint(args.source)
    state = checkpoint.get('state_dict', checkpoint)
    official = to_official(state)
    save(args.target, official)
    return describe(state)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards, PROGRAM.tool)


if __name__ == '__main__':
    sys.exit(main())
