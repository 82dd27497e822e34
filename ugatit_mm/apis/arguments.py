"""What the tools' command lines share."""

import argparse
import os

from mmengine.config import Config, DictAction

from ..config import load_config


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every tool that starts a runner takes."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (work_dirs/CONFIG)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='override the config; data_root=DIR, img_size=128 and domains.A=NAME domains.B=NAME '
        'reach every place that needs them',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='of the launcher')


def config_of(args: argparse.Namespace) -> Config:
    """Load ``args.config`` with the options of :func:`add_run_arguments`."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('work_dirs', name)
    return cfg


def add_kid(cfg: Config, extractor: str) -> None:
    """Let the test compute :class:`TransKID` with an extractor, whatever the config says of it."""
    evaluators = [e for e in cfg.test_evaluator if e['type'] != 'TransKID']
    chosen = next((e for e in cfg.test_evaluator if e['type'] == 'TransKID'), {})
    if chosen.get('extractor', {}).get('type') != extractor:
        chosen = {**chosen, 'extractor': dict(type=extractor)}
    cfg.test_evaluator = [*evaluators, {**chosen, 'type': 'TransKID'}]
