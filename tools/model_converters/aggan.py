"""Convert a checkpoint of the official AGGAN program to ours, or back to arrays with --reverse."""

import argparse
import sys

from ugatit_mm.converters import read_checkpoint, read_variables, weights_of
from ugatit_mm.converters.aggan import TOOL, from_variables, to_variables, write_variables
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.official import said
from ugatit_mm.models import AGGAN


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of AlamiMejjati/'
        'Unsupervised-Attention-guided-Image-to-Image-Translation (its folder, its prefix, or an '
        '.npz of its variables by name) into weights for a model. An unknown variable is an error; '
        "Adam's moments, other numbers and unused norms are left out and counted. A folder "
        "needs TensorFlow: pip install 'ugatit_mm[tensorflow]'."
    )
    add_arguments(parser)
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='convert our weights to an .npz of the official variables',
    )
    args = parser.parse_args(argv)
    if args.reverse and any((args.generator_only, args.half, args.domains)):
        parser.error('--reverse takes neither --generator-only, --half nor --domains')
    return args


def forwards(args: argparse.Namespace) -> dict:
    state, left = from_variables(read_variables(args.source))
    if left:
        print(said(left))
    return write_ours(args, weights_of(state), {'networks': AGGAN.describe(state)})


def backwards(args: argparse.Namespace) -> dict:
    state = weights_of(read_checkpoint(args.source))
    networks = AGGAN.describe(state)
    write_variables(args.target, to_variables(state))
    return networks


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards, TOOL)


if __name__ == '__main__':
    sys.exit(main())
