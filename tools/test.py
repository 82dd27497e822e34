"""Translate the test set: `ugatit test CONFIG CKPT --out-dir DIR`."""

import argparse
import os
import sys

from ugatit_mm.apis import (
    StyleError,
    add_class_share,
    add_diversity,
    add_kid,
    add_run_arguments,
    add_style_argument,
    add_styles_argument,
    config_of,
    run_test,
)
from ugatit_mm.config import ConfigError
from ugatit_mm.converters import CheckpointError
from ugatit_mm.engine import PreflightError
from ugatit_mm.evaluation import MetricError, TooFewImagesError, WeightsError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Translate the test images in both directions and compute the metrics. '
        'Each source file becomes DIR/selfie2anime/NAME.png; all measurements are written to '
        'WORK_DIR/results_CKPT.json.'
    )
    parser.add_argument('config', help='config file, or name of a config of the package')
    parser.add_argument(
        'checkpoint',
        type=os.path.expanduser,
        help='file of weights, or folder of a training, whose last whole checkpoint is used',
    )
    parser.add_argument('--out-dir', type=os.path.expanduser, help='folder for the translations')
    parser.add_argument('--sheet', action='store_true', help='also write a picture sheet')
    add_style_argument(parser, 'seed 0, as for the tables')
    add_styles_argument(parser, 'DIR/SOURCE2TARGET/NAME_1.png ...; the first is measured')
    parser.add_argument(
        '--kid',
        nargs='*',
        metavar='EXTRACTOR',
        help='also compute KID and FID with the features of these registered extractors '
        '(InceptionFeatures if its weights are there, see docs/evaluation.md, else '
        'EfficientNetLite0Features; ColourHOGFeatures sees only colours and edges)',
    )
    parser.add_argument(
        '--subset-size',
        type=int,
        help='images in a subset of KID (50; all images of a smaller test set)',
    )
    parser.add_argument(
        '--class',
        dest='classes',
        nargs='+',
        metavar='NAME',
        help="report the share of pictures that ImageNet's classifier puts into these classes: "
        'names or numbers',
    )
    parser.add_argument(
        '--diversity',
        nargs='?',
        const=0,
        type=int,
        metavar='N',
        help='for a model with random styles: report the mean LPIPS distance between the styles k '
        'and k+1 of a picture, over N styles (20: 19 pairs of each picture)',
    )
    parser.add_argument(
        '--lpips-weights',
        type=os.path.expanduser,
        metavar='FILE',
        help="AlexNet's weights for --diversity, alexnet-owt-7be5be79.pth of torchvision, if not "
        "in torch's cache",
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    if args.subset_size and args.kid is None:
        parser.error('--subset-size needs --kid')
    if args.lpips_weights and args.diversity is None:
        parser.error('--lpips-weights needs --diversity')
    if args.diversity is not None and args.diversity not in (0, *range(2, 1001)):
        parser.error(f'--diversity must be 2 to 1000 styles, got {args.diversity}')
    if args.sheet and not args.out_dir:
        parser.error('--sheet needs --out-dir')
    if args.styles and not args.out_dir:
        parser.error('--styles needs --out-dir')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    errors = (
        CheckpointError,
        ConfigError,
        MetricError,
        OSError,
        PreflightError,
        StyleError,
        TooFewImagesError,
        WeightsError,
    )
    try:
        cfg = config_of(args)
        if args.kid is not None:
            add_kid(cfg, args.kid, args.subset_size)
        if args.classes:
            add_class_share(cfg, args.classes)
        if args.diversity is not None:
            add_diversity(cfg, args.lpips_weights, args.diversity or None)
        run_test(cfg, args.checkpoint, args.out_dir, args.sheet, args.style, args.styles)
    except errors as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
