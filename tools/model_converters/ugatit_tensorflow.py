"""Convert a checkpoint of the official TensorFlow program to ours."""

import argparse
import sys

from ugatit_mm.converters import from_variables, read_variables, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.official import said
from ugatit_mm.converters.tensorflow import TOOL


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a checkpoint of taki0112/UGATIT (its folder, its prefix, or an .npz '
        'of its variables by name) into weights for a model of recipe "tensorflow". An unknown '
        "variable is an error; Adam's moments, other numbers and running averages of weights are "
        'left out and counted. A folder needs TensorFlow: pip install '
        "'ugatit_mm[tensorflow]'."
    )
    add_arguments(parser)
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> dict:
    state, left = from_variables(read_variables(args.source))
    if left:
        print(said(left))
    return write_ours(args, weights_of(state))


def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv), convert, TOOL)


if __name__ == '__main__':
    sys.exit(main())
