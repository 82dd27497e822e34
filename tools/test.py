"""Translate the test set: `python tools/test.py CONFIG CKPT --out-dir DIR`."""

import argparse
import os
import sys

from mmengine.config import DictAction
from mmengine.runner import Runner
from train import init_cpu_ranks

import ugatit_mm  # noqa: F401, before MMEngine builds anything: registers modules
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
    if not os.path.isfile(args.checkpoint):
        print(f'no checkpoint file {args.checkpoint}', file=sys.stderr)
        return 1
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('work_dirs', name)
    # What belongs to training alone is not built.
    cfg.custom_hooks = []
    if args.out_dir:
        hook = dict(type='SaveTranslationsHook', out_dir=args.out_dir, sheet=args.sheet)
        cfg.custom_hooks.append(hook)
    init_cpu_ranks(cfg)
    Runner.from_cfg(cfg).test()
    return 0


if __name__ == '__main__':
    sys.exit(main())
