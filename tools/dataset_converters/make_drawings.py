r"""Make unpaired data from a folder of photographs: photographs and drawings of other photographs.

Half of the photographs are domain A, drawings of the other half are domain B. OUT holds trainA,
trainB, testA, testB, the ideal translations of testA in ideal (for ugatit evaluate --ideal), and
sources.csv, which names the source of each file.

For example:
  ugatit drawings photos data/charcoal
  ugatit train ugatit_short --cfg-options data_root=data/charcoal domains.A=photo \
      domains.B=drawing model.cycle_domains=B
"""

from __future__ import annotations

import argparse
import sys

from ugatit_mm.datasets.drawings import STYLES, make_drawings


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='PHOTOS', help='folder of pictures and sub-folders')
    parser.add_argument('out', metavar='OUT', help='folder to create')
    parser.add_argument(
        '--style',
        choices=STYLES,
        default='charcoal',
        help='charcoal on warm paper, or ink, black on white',
    )
    parser.add_argument('--size', type=int, default=256, help='side of the PNGs in pixels (256)')
    parser.add_argument('--test', type=int, default=60, help='test pictures of each domain (60)')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the split of the photographs (0)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        count = make_drawings(args.source, args.out, args.style, args.size, args.test, args.seed)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.out}: {count} and {count} pictures to train, {args.test} and {args.test} to test')
    return 0


if __name__ == '__main__':
    sys.exit(main())
