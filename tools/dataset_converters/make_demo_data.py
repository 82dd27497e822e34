"""Write the demo data set (photographs and ink drawings); needs no download."""

from __future__ import annotations

import argparse
import sys

from ugatit_mm.datasets.demo_data import make_demo_data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('out_dir', nargs='?', default='data/demo', help='folder to create')
    parser.add_argument('--size', type=int, default=128, help='side of the images in pixels')
    parser.add_argument('--num-train', type=int, default=130, help='training images per domain')
    parser.add_argument('--num-test', type=int, default=100, help='test images per domain')
    parser.add_argument('--seed', type=int, default=0, help='seed of the split of the photographs')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        written = make_demo_data(args.out_dir, args.size, args.num_train, args.num_test, args.seed)
    except (OSError, ValueError) as error:
        sys.exit(f'Error: {error}')
    print(f'{"Wrote" if written else "Already complete:"} {args.out_dir}')


if __name__ == '__main__':
    main()
