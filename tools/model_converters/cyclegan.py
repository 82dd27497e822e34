"""Convert networks of the official CycleGAN program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import cyclegan, read_checkpoint, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.messages import listed
from ugatit_mm.models import UnpairedCycleGAN


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a folder of junyanz/pytorch-CycleGAN-and-pix2pix (latest_net_G_A.pth, '
        'G_B, D_A, D_B) or one generator (latest_net_G.pth, or a file of any other name: from A to '
        'B) into weights for a model. An unknown key is an error; running statistics of before '
        'October 2018, which nothing uses, are left out and counted.'
    )
    add_arguments(parser)
    parser.add_argument(
        '--epoch', help='of the files of a folder: latest (where there is one), 200, iter_5000'
    )
    parser.add_argument(
        '--reverse', action='store_true', help='ours to a folder of official files, latest_net_*'
    )
    args = parser.parse_args(argv)
    if args.reverse and (args.generator_only or args.half or args.domains or args.epoch):
        parser.error('--reverse takes neither --generator-only, --half, --domains nor --epoch')
    return args


def forwards(args: argparse.Namespace) -> dict:
    state, dropped = cyclegan.from_official(cyclegan.read_networks(args.source, args.epoch))
    if dropped:
        print(f'left out: {len(dropped)} running statistics, {listed(dropped)}')
    state = weights_of(state)
    return write_ours(args, state, {'networks': UnpairedCycleGAN.describe(state)})


def backwards(args: argparse.Namespace) -> dict:
    checkpoint = read_checkpoint(args.source)
    state = weights_of(checkpoint)
    networks = UnpairedCycleGAN.describe(state)
    cyclegan.write_networks(args.target, cyclegan.to_official(state))
    return networks


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards)


if __name__ == '__main__':
    sys.exit(main())
