"""Train: `python tools/train.py configs/ugatit_selfie2anime.py`."""

import argparse
import os
import sys

from mmengine.config import DictAction

from ugatit_mm.apis import run_training
from ugatit_mm.config import load_config


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train U-GAT-IT.',
        epilog='Options for --cfg-options that set several places at once: data_root=DIR, '
        'img_size=128, domains.A=NAME domains.B=NAME. Others: model.recipe=pytorch, '
        'model.generator.light=True, train_cfg.max_iters=100000, randomness.seed=0.',
    )
    parser.add_argument('config', help='a config file, or the name of one of the package')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (work_dirs/CONFIG)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from the last checkpoint of the work dir, or from this one',
    )
    parser.add_argument('--amp', action='store_true', help='forward passes in bfloat16')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='of the launcher')
    args = parser.parse_args(argv)
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
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.amp:
        for name in ('generators', 'discriminators'):
            cfg.optim_wrapper[name].type = 'AutocastOptimWrapper'
    try:
        run_training(cfg)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
