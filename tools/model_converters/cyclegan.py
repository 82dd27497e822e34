"""Convert networks of the official CycleGAN program to ours, or back with --reverse."""

import argparse
import sys

from ugatit_mm.converters import cyclegan, read_checkpoint, weights_of
from ugatit_mm.converters.command import add_arguments, run, write_ours
from ugatit_mm.converters.official import said
from ugatit_mm.models import UnpairedCycleGAN


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a folder of junyanz/pytorch-CycleGAN-and-pix2pix (latest_net_G_A.pth, '
        'G_B, D_A, D_B), a file of these networks by name, or one generator (latest_net_G.pth, or '
        'a file of any other name: from A to B) into weights for a model. An unknown weight is an '
        'error; other entries (optimisers, epochs, counters of profilers), running averages of '
        'weights and the unused running statistics of files before October 2018 are left out and '
        'counted.'
    )
    add_arguments(parser)
    parser.add_argument(
        '--epoch', help='epoch of the files in a folder: latest, 200, iter_5000 (the newest)'
    )
    parser.add_argument(
        '--which',
        choices=('G_A', 'G_B'),
        help='network that a file of one network holds: to B, or to A',
    )
    parser.add_argument(
        '--reverse', action='store_true', help='convert our weights to a folder of latest_net_*.pth'
    )
    args = parser.parse_args(argv)
    options = (args.generator_only, args.half, args.domains, args.epoch, args.which)
    if args.reverse and any(options):
        parser.error(
            '--reverse takes neither --generator-only, --half, --domains, --epoch nor --which'
        )
    return args


def forwards(args: argparse.Namespace) -> dict:
    networks, left = cyclegan.read_networks(args.source, args.epoch, args.which)
    state = weights_of(cyclegan.PROGRAM.convert(networks, left))
    if left:
        print(said(left))
    return write_ours(args, state, {'networks': UnpairedCycleGAN.describe(state)})


def backwards(args: argparse.Namespace) -> dict:
    checkpoint = read_checkpoint(args.source)
    state = weights_of(checkpoint)
    networks = UnpairedCycleGAN.describe(state)
    cyclegan.write_networks(args.target, cyclegan.to_official(state))
    return networks


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return run(args, backwards if args.reverse else forwards, cyclegan.PROGRAM.tool)


if __name__ == '__main__':
    sys.exit(main())
