"""Translate the test set: `python tools/test.py CONFIG CKPT --out-dir DIR`."""

import argparse
import os
import sys

from mmengine.config import DictAction

from ugatit_mm.apis import run_test
from ugatit_mm.config import load_config


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Translate the test images in both directions and compute the metrics. '
        'Translations are written as DIR/selfie2anime/NAME.png, one for each source file.'
    )
    parser.add_argument('config', help='a config file, or the name of one of the package')
    parser.add_argument('checkpoint', help='weights, from training or from a converter')
    parser.add_argument('--out-dir', help='folder for the translations')
    parser.add_argument('--sheet', action='store_true', help='write a picture sheet as well')
    parser.add_argument('--work-dir', help='folder for logs (work_dirs/CONFIG)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='of the launcher')
    args = parser.parse_args(argv)
    if args.sheet and not args.out_dir:
        parser.error('--sheet needs --out-dir')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('work_dirs', name)
    try:
        run_test(cfg, args.checkpoint, args.out_dir, args.sheet)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
