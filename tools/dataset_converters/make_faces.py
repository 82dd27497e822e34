r"""Cut the faces out of a folder of pictures, as the authors of U-GAT-IT made selfie2anime.

A detector finds the faces: OpenCV's own in photographs, that of the package animeface in drawings
(--drawings), or your own cascade (--cascade). A larger square is cut around each face. A square
that leaves the picture is shifted inside, or shrunk if the picture is too small: no pixels are
invented. Faces in shades of one tint and near duplicates of earlier faces are left out; the others
are resized to one size. OUT holds the PNGs and two tables: the source, place, detector and resizing
of each face, and the reason for everything skipped.

For example:
  ugatit faces Selfie-dataset/images data/mine --domain A --test 100 \
      --attributes Selfie-dataset/selfie_dataset.txt --where is_female=1 baby=-1
  ugatit faces anime data/mine --domain B --test 100 --drawings \
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
    parser.add_argument('source', metavar='SOURCE', help='folder of pictures and sub-folders')
    parser.add_argument('out', metavar='OUT', help='folder to write; nothing is overwritten')
    finding = parser.add_mutually_exclusive_group()
    finding.add_argument(
        '--drawings',
        action='store_true',
        help='find faces in drawings, of 43 pixels or more, with the package animeface '
        "(pip install 'ugatit_mm[faces]')",
    )
    finding.add_argument(
        '--cascade',
        type=os.path.expanduser,
        metavar='XML',
        help='your own detector, for example lbpcascade_animeface.xml; without --drawings and '
        "--cascade, OpenCV's haarcascade_frontalface_default.xml for photographs",
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
        help=f'required values (1, 0, -1) of these attributes: {" ".join(SELFIE_ATTRIBUTES)}',
    )
    parser.add_argument(
        '--enlarge', type=float, default=1.5, help='side of the square, relative to the face (1.5)'
    )
    parser.add_argument(
        '--min-face', type=int, default=64, help='smallest side of a detected face in pixels (64)'
    )
    parser.add_argument(
        '--max-per-image', type=int, help='largest number of faces per picture (all)'
    )
    parser.add_argument(
        '--duplicate-distance',
        type=int,
        default=NEAR,
        metavar='BITS',
        help='largest distance of near duplicates in bits of a perceptual hash of 256 bits '
        f'({NEAR})',
    )
    parser.add_argument(
        '--keep-monochrome', action='store_true', help='keep faces in shades of one tint'
    )
    parser.add_argument('--size', type=int, default=256, help='side of the PNGs in pixels (256)')
    parser.add_argument(
        '--upscaler',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='super-resolution model of MMagic for faces smaller than --size (Lanczos)',
    )
    add_deep_range(parser)
    parser.add_argument(
        '--domain', choices=['A', 'B'], help='write to OUT/trainA and OUT/testA, or to those of B'
    )
    parser.add_argument(
        '--test',
        type=int,
        default=0,
        help='test faces (0), needs --domain; faces of one picture stay together',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the test split (0)')
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
