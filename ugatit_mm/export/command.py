"""The command ``ugatit export``."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from ..apis.loading import add_weights_arguments, load_model
from ..apis.sources import Failure, find_sources, read
from ..apis.styles import add_style_argument
from ..converters import CheckpointError
from ..files import whole
from .check import verify
from .files import FORMATS, OPSETS, PIXELS, export_model, need_onnx


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the generator of one direction as a file that runs without this '
        'package, and compare it with torch. docs/export.md shows how to use it. Without --ckpt '
        'the small pair that comes with the package is used.',
    )
    add_weights_arguments(parser)
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='(%(default)s)')
    parser.add_argument(
        '--out', type=os.path.expanduser, metavar='FILE', help='(DIRECTION.onnx or DIRECTION.pt)'
    )
    parser.add_argument(
        '--pixels',
        choices=PIXELS,
        default='uint8',
        help='uint8: RGB in [0, 255], (N, H, W, 3), in and out (the default); normalised: '
        'float32 in [-1, 1], (N, 3, H, W); 3 stands for the channels of the networks',
    )
    parser.add_argument('--heatmap', action='store_true', help='the attention as a second output')
    parser.add_argument('--half', action='store_true', help='float16: half the size')
    parser.add_argument(
        '--img-size',
        type=int,
        nargs='+',
        metavar='PX',
        help='of the file: a side, or height and width (of the training)',
    )
    parser.add_argument('--opset', type=int, help=f"version of ONNX's operators ({OPSETS[0]})")
    parser.add_argument(
        '--static',
        action='store_true',
        help='one picture of a fixed size at a time; OpenCV reads such a file, too (ONNX)',
    )
    add_style_argument(parser, 'seed 0 and an empty file name: the one style of the exported file')
    parser.add_argument(
        '--check',
        nargs='+',
        metavar='PICTURE',
        help='to compare on, in addition to random ones (three from scikit-image)',
    )
    args = parser.parse_args(argv)
    if args.img_size is not None and len(args.img_size) > 2:
        parser.error('--img-size takes a side, or height and width')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.format == 'onnx':
            need_onnx()  # fail before reading weights
        model, about = load_model(args.ckpt, args.config, 'cpu')
        if args.ckpt is None:
            print(f'Without --ckpt: {about["about"]}')
        pictures = _pictures(args.check, model.in_channels)
        out = Path(args.out or model.direction(args.to) + FORMATS[args.format])
        with whole(out) as building:
            meta = export_model(
                model,
                args.to,
                building,
                args.format,
                pixels=args.pixels,
                heatmap=args.heatmap,
                half=args.half,
                img_size=args.img_size and (args.img_size * 2)[:2],
                opset=args.opset,
                static=args.static,
                style=args.style,
            )
            for line in verify(building, args.format, model, pictures, args.style):
                print(f'compared with torch on {line}')
            size = building.stat().st_size
    except (CheckpointError, ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{out}: {size / 1e6:.1f} MB; ' + ', '.join(f'{k} {v}' for k, v in meta.items()))
    return 0


def _pictures(paths: list[str] | None, channels: int) -> list[np.ndarray]:
    """Read the pictures to compare on."""
    if paths is None:
        if channels not in (1, 3):  # scikit-image has only photographs
            return []
        from skimage import data

        photographs = (data.astronaut(), data.chelsea(), data.coffee())
        return [read(photograph, channels=channels) for photograph in photographs]
    pictures = []
    for source in find_sources(paths):
        if isinstance(source, Failure):
            raise ValueError(f'--check {source.name}: {source.error}')
        pictures.append(read(source.picture, channels=channels))
    return pictures
