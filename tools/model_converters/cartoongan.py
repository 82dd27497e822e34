"""Convert networks of a CartoonGAN program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import cartoongan, read_checkpoint, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.files import save
from ugatit_mm.converters.official import said
from ugatit_mm.models import CartoonGAN


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert the generator of znxlwm/pytorch-CartoonGAN, or a file of generator '
        'and discriminator by the names G and D, into weights for a model. An unknown weight is '
        'an error; other entries (optimisers, epochs, counters of profilers) and running averages '
        'of weights are left out and counted.'
    )
    add_arguments(parser)
    parser.add_argument(
        '--discriminator', metavar='FILE', help='the discriminator, if it has its own file'
    )
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='convert our weights to one file, by the names G and D',
    )
    args = parser.parse_args(argv)
    if args.reverse and (args.generator_only or args.half or args.domains or args.discriminator):
        parser.error(
            '--reverse takes neither --generator-only, --half, --domains nor --discriminator'
        )
    return args


def forwards(args: argparse.Namespace) -> dict:
    program = cartoongan.PROGRAM
    networks, left = program.open(read_checkpoint(args.source), args.source)
    if args.discriminator:
        found, _ = program.open(read_checkpoint(args.discriminator), args.discriminator, 'D')
        if 'D' in networks:
            raise ValueError('it has a discriminator already: leave out --discriminator')
        networks |= found
    state = weights_of(program.convert(networks, left))
    if left:
        print(said(left))
    return write_ours(args, state, {'networks': CartoonGAN.describe(state)})


def backwards(args: argparse.Namespace) -> dict:
    state = weights_of(read_checkpoint(args.source))
    networks = CartoonGAN.describe(state)
    save(args.target, cartoongan.to_official(state))
    return networks


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards, cartoongan.PROGRAM.tool)


if __name__ == '__main__':
    sys.exit(main())
