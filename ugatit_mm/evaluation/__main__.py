"""KID and FID of two folders: ``python -m ugatit_mm.evaluation FAKE_DIR REAL_DIR``."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from ..datasets.deep import add_deep_range
from ..published import WeightsError
from . import kid
from .folders import compare_folders
from .measurements import Protocol, table


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='ugatit evaluate',
        description='KID by three protocols, FID and shares of classes of a folder of '
        'translations (of any program) against a folder of real images of the target domain. '
        'Folders are searched recursively; blocks follow the sorted paths.',
    )
    parser.add_argument('fake_dir', help='translations')
    parser.add_argument('real_dir', help='real images of the target domain')
    parser.add_argument(
        '--source',
        type=os.path.expanduser,
        help='the sources: adds their measurements in place of the translations, and the mean with '
        'them',
    )
    parser.add_argument(
        '--ideal',
        type=os.path.expanduser,
        metavar='DIR',
        help='the ideal translations, by the same names, where they are known: adds SSIM and L1 to '
        'them, and the share of the way that is closed',
    )
    parser.add_argument(
        '--extractor',
        nargs='+',
        help='registered extractors (InceptionFeatures where its weights are, else '
        'EfficientNetLite0Features; ColourHOGFeatures sees colours and edges only)',
    )
    parser.add_argument(
        '--class',
        dest='classes',
        nargs='+',
        default=[],
        metavar='NAME',
        help="say which share of the pictures ImageNet's classifier calls so: names or numbers",
    )
    parser.add_argument(
        '--import', dest='module', help='Python module that registers your own extractor'
    )
    parser.add_argument(
        '--weights',
        type=os.path.expanduser,
        help="file of the extractor's weights, Inception's if none is named",
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        metavar='PX',
        help='resize all pictures first, as ugatit test does: the side of a square, or height '
        'and width (where their sizes differ, that of the translations)',
    )
    add_deep_range(parser)
    parser.add_argument(
        '--subset-size',
        type=int,
        default=kid.SUBSET_SIZE,
        help="images of kid's subsets (%(default)s)",
    )
    parser.add_argument(
        '--num-subsets', type=int, default=kid.NUM_SUBSETS, help='number of subsets (%(default)s)'
    )
    parser.add_argument(
        '--block-size', type=int, default=kid.BLOCK_SIZE, help='images of kid_blocks (%(default)s)'
    )
    parser.add_argument('--seed', type=int, default=kid.SEED, help='of the subsets (%(default)s)')
    parser.add_argument(
        '--batch-size', type=int, default=32, help='images in a batch (%(default)s)'
    )
    parser.add_argument(
        '--num-workers',
        type=int,
        default=min(4, os.cpu_count() or 1),
        help='processes that read images (%(default)s)',
    )
    parser.add_argument(
        '--json', type=os.path.expanduser, help='write the measurements to this file, too'
    )
    args = parser.parse_args(argv)
    if args.size is not None and (len(args.size) > 2 or min(args.size) < 1):
        said = ' '.join(map(str, args.size))
        parser.error(f'--size {said} must be a side, or height and width, of 1 or more')
    if args.weights and len(args.extractor or ()) > 1:
        parser.error('--weights are those of one --extractor')
    if args.weights and args.extractor == ['ColourHOGFeatures']:
        parser.error('ColourHOGFeatures has no --weights')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    # Weights without the name of an extractor are Inception's.
    given = [dict(type=name) if name else {} for name in args.extractor or [None]]
    if args.weights:
        given[0]['weights'] = args.weights
    try:
        if args.module:
            importlib.import_module(args.module)
        compared = compare_folders(
            args.fake_dir,
            args.real_dir,
            args.source,
            given,
            Protocol(args.subset_size, args.num_subsets, args.block_size, args.seed),
            classes=args.classes,
            size=args.size and (args.size * 2)[:2],
            ideal_dir=args.ideal,
            deep_range=args.deep_range,
            batch_size=args.batch_size,
            num_workers=args.num_workers,
            progress=sys.stderr.isatty(),
        )
    except (ImportError, OSError, ValueError, WeightsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(table(*compared))
    if args.json:
        Path(args.json).write_text(json.dumps(compared.to_dict(), indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
