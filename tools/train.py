"""Train: `python tools/train.py configs/ugatit_selfie2anime.py`."""

import argparse
import os
import sys

from ugatit_mm.apis import (
    add_run_arguments,
    add_speed_arguments,
    apply_speed,
    config_of,
    run_training,
)
from ugatit_mm.config import ConfigError
from ugatit_mm.converters import CheckpointError
from ugatit_mm.engine import PreflightError, WorkDirError
from ugatit_mm.evaluation import TooFewImagesError, WeightsError
from ugatit_mm.hooks import NotFiniteError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a translation model.',
        epilog='Options worth knowing: train_cfg.max_iters=100000, randomness.seed=0; of U-GAT-IT '
        'model.recipe=pytorch, model.generator.light=True.',
    )
    parser.add_argument('config', help='a config file, or the name of one of the package')
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        type=os.path.expanduser,
        metavar='FILE',
        help='go on from the newest checkpoint of the work dir, or from this one; learning rate, '
        'betas, weight decay and schedule are what the config says now',
    )
    start.add_argument(
        '--restart',
        action='store_true',
        help='start, and set a training that is in the work dir aside, in a folder inside it',
    )
    add_run_arguments(parser)
    add_speed_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        return train(args)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def train(args: argparse.Namespace) -> int:
    try:
        cfg = config_of(args)
        apply_speed(cfg, args.amp, args.lean, args.compile, args.graph)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.restart:
        cfg.restart = True
    try:
        run_training(cfg)
    except WorkDirError as error:  # on all ranks alike
        if os.environ.get('RANK', '0') == '0':
            print(f'error: {error}', file=sys.stderr)
        return 1
    except (
        CheckpointError,
        ConfigError,
        NotFiniteError,
        OSError,
        PreflightError,
        TooFewImagesError,
        WeightsError,
    ) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
