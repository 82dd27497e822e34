"""The command line of ``ugatit web``."""

import argparse
import os
import sys

from .limits import Limits


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='A page in your browser: drop a picture or take one with the camera, see its '
        'translation and, for a model with attention, where it looked. Pictures stay in memory; no '
        'file is written. Without --ckpt a small pair that comes with the package is used.',
    )
    parser.add_argument(
        '--ckpt',
        type=os.path.expanduser,
        help='weights: .pth of a training, its folder for the last whole one, or what a converter '
        'wrote',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to serve at; 0.0.0.0 for the whole local network (%(default)s)',
    )
    parser.add_argument('--port', type=int, default=7860, help='0 for any (%(default)s)')
    parser.add_argument(
        '--max-upload-mb',
        type=float,
        default=Limits.upload / 1e6,
        metavar='MB',
        help='largest file (%(default)g)',
    )
    parser.add_argument(
        '--max-pixels',
        type=int,
        default=Limits.pixels,
        metavar='N',
        help='most pixels of a picture (%(default)s)',
    )
    parser.add_argument(
        '--max-side',
        type=int,
        default=Limits.side,
        metavar='PX',
        help='pictures with a longer side are first reduced to it (%(default)s)',
    )
    parser.add_argument(
        '--queue',
        type=int,
        default=Limits.queue,
        metavar='N',
        help='pictures that may wait (%(default)s)',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU where there is one)')
    args = parser.parse_args(argv)
    if not 0 <= args.port < 2**16:
        parser.error('--port must be from 0 to 65535')
    for name in ('max_upload_mb', 'max_pixels', 'max_side'):
        if not getattr(args, name) > 0:
            parser.error(f'--{name.replace("_", "-")} must be more than 0')
    if args.queue < 0:
        parser.error('--queue must be 0 or more')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        from .app import serve
    except ModuleNotFoundError as error:
        print(f"error: {error}: pip install 'ugatit_mm[web]'", file=sys.stderr)
        return 1
    from ..apis.inferencer import TranslationInferencer

    limits = Limits(
        upload=int(args.max_upload_mb * 1e6),
        pixels=args.max_pixels,
        side=args.max_side,
        queue=args.queue,
    )
    try:
        inferencer = TranslationInferencer(args.ckpt, device=args.device)
        if args.ckpt is None:
            print(f'Without --ckpt: {inferencer.meta["about"]}')
        serve(inferencer, args.host, args.port, limits)
    except (OSError, ValueError) as error:  # CheckpointError is a ValueError
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0
