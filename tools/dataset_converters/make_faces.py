r"""Cut the faces out of a folder of pictures, as the authors of U-GAT-IT made selfie2anime.

A detector finds the faces: in photographs OpenCV's own, in drawings that of the package animeface
(--drawings) or a cascade of yours (--cascade). Around each, a larger square is cut. A square that
leaves the picture is shifted inside, or shrunk where the picture is too small: nothing is invented.
Faces in shades of one tint and faces nearly like an earlier one are left out, and the rest is
brought to one size. OUT holds the PNGs and two tables: of each face, its source and place, what
found it and how it was resized; of everything skipped, why.

For example:
  make_faces.py Selfie-dataset/images data/mine --domain A --test 100 \
      --attributes Selfie-dataset/selfie_dataset.txt --where is_female=1 baby=-1
  make_faces.py anime data/mine --domain B --test 100 --drawings \
      --upscaler realesrgan.py realesrgan.pth
"""

from __future__ import annotations

import argparse
import os
import sys

from ugatit_mm.datasets.deep import add_deep_range
from ugatit_mm.datasets.preparation.detectors import OPENCV_CASCADE, AnimeFace, Cascade
from ugatit_mm.datasets.preparation.faces import make_faces
from ugatit_mm.datasets.preparation.selfie_attributes import SELFIE_ATTRIBUTES
from ugatit_mm.datasets.preparation.similarity import NEAR
from ugatit_mm.datasets.preparation.upscaling import Upscaler


def condition(text: str) -> tuple[str, int]:
    name, _, value = text.partition('=')
    if value not in ('-1', '0', '1'):
        raise argparse.ArgumentTypeError(f'{text}: NAME=1, NAME=0 or NAME=-1 is expected')
    return name, int(value)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='SOURCE', help='folder of pictures, with sub-folders')
    parser.add_argument('out', metavar='OUT', help='folder to write; nothing is overwritten')
    finding = parser.add_mutually_exclusive_group()
    finding.add_argument(
        '--drawings',
        action='store_true',
        help='the pictures are drawings: the package animeface finds faces, of 43 pixels or more '
        "(pip install 'ugatit_mm[faces]')",
    )
    finding.add_argument(
        '--cascade',
        type=os.path.expanduser,
        metavar='XML',
        help='a detector of your own, for example lbpcascade_animeface.xml; without --drawings and '
        "--cascade OpenCV's haarcascade_frontalface_default.xml, for photographs",
    )
    parser.add_argument(
        '--attributes',
        type=os.path.expanduser,
        metavar='FILE',
        help="the Selfie data set's selfie_dataset.txt",
    )
    parser.add_argument(
        '--where',
        nargs='+',
        type=condition,
        default=[],
        metavar='NAME=VALUE',
        help=f'values (1, 0, -1) that all must hold, of: {" ".join(SELFIE_ATTRIBUTES)}',
    )
    parser.add_argument(
        '--enlarge', type=float, default=1.5, help='side of the cut over that of the face (1.5)'
    )
    parser.add_argument(
        '--min-face', type=int, default=64, help='least side of a detected face in pixels (64)'
    )
    parser.add_argument('--max-per-image', type=int, help='only so many faces of a picture')
    parser.add_argument(
        '--duplicate-distance',
        type=int,
        default=NEAR,
        metavar='BITS',
        help=f'nearly the same faces or pictures differ in at most so many of 256 bits ({NEAR})',
    )
    parser.add_argument(
        '--keep-monochrome', action='store_true', help='keep faces in shades of one tint'
    )
    parser.add_argument('--size', type=int, default=256, help='side of the PNGs (256)')
    parser.add_argument(
        '--upscaler',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='super-resolution model of MMagic for faces below --size; without it Lanczos',
    )
    add_deep_range(parser)
    parser.add_argument('--domain', choices=['A', 'B'], help='write OUT/trainA and OUT/testA, or B')
    parser.add_argument(
        '--test',
        type=int,
        default=0,
        help='faces for the test set, needs --domain; those of one picture stay together',
    )
    parser.add_argument('--seed', type=int, default=0, help='which faces are for the test (0)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        counts = make_faces(
            args.source,
            args.out,
            AnimeFace() if args.drawings else Cascade(args.cascade or OPENCV_CASCADE),
            attributes=args.attributes,
            wanted=dict(args.where),
            size=args.size,
            upscaler=Upscaler(*args.upscaler) if args.upscaler else None,
            domain=args.domain,
            test=args.test,
            seed=args.seed,
            enlarge=args.enlarge,
            min_face=args.min_face,
            max_per_image=args.max_per_image,
            keep_monochrome=args.keep_monochrome,
            near=args.duplicate_distance,
            deep_range=args.deep_range,
        )
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for what, count in counts.items():
        print(f'{count:7} {what}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
