"""Train: `ugatit train ugatit_selfie2anime`, or `--a daisies --b sunflowers`."""

import argparse
import os
import sys
from pathlib import Path

from ugatit_mm.apis import (
    add_run_arguments,
    add_speed_arguments,
    apply_speed,
    config_of,
    run_training,
)
from ugatit_mm.config import ConfigError
from ugatit_mm.converters import CheckpointError
from ugatit_mm.datasets.two_folders import SplitError, names_of, share_of
from ugatit_mm.domains import DOMAINS, direction
from ugatit_mm.engine import PreflightError, WorkDirError
from ugatit_mm.evaluation import TooFewImagesError, WeightsError
from ugatit_mm.hooks import NotFiniteError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a translation model: on two folders of pictures (--a and --b), or on '
        'the data set of a config.',
        epilog='Useful --cfg-options: train_cfg.max_iters=100000, randomness.seed=0; for U-GAT-IT '
        'model.recipe=pytorch, model.generator.light=True.',
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='config file, or name of a config of the package (ugatit_custom with --a and --b)',
    )
    for letter in DOMAINS:
        parser.add_argument(
            f'--{letter.lower()}',
            type=os.path.expanduser,
            metavar='FOLDER',
            help=f'pictures of domain {letter}, named by domains.{letter} or else by the folder',
        )
    parser.add_argument(
        '--test',
        metavar='N',
        help='test pictures drawn from each folder: a share or a number, 0 for none (10%%); drawn '
        'once and written to WORK_DIR/data/split.json',
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        type=os.path.expanduser,
        metavar='FILE',
        help='resume from the newest checkpoint of the work dir, or from FILE; learning rate, '
        'betas, weight decay and schedule are those of the config',
    )
    start.add_argument(
        '--restart',
        action='store_true',
        help='start from iteration 0; set an earlier training aside, in a folder of its work dir',
    )
    add_run_arguments(parser)
    add_speed_arguments(parser)
    args = parser.parse_args(argv)
    if (args.a is None) != (args.b is None):
        parser.error('--a and --b are two folders: give both')
    if args.a is None and args.test is not None:
        parser.error('--test splits the folders of --a and --b: give them')
    if args.a is None and args.config is None:
        parser.error('give two folders, --a DAISIES --b SUNFLOWERS, or a config')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        return train(args)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def train(args: argparse.Namespace) -> int:
    try:
        folders = None if args.a is None else take_folders(args)
        cfg = config_of(args)
        apply_speed(cfg, args.amp, args.lean, args.compile, args.graph)
    except (OSError, SplitError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if folders is not None:
        cfg.two_folders = folders
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.restart:
        cfg.restart = True
    try:
        run_training(cfg)
    except (SplitError, WorkDirError) as error:  # the same on all ranks
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


def take_folders(args: argparse.Namespace) -> dict[str, str]:
    """Set the arguments of a training on two folders; return the folders and the test share.

    Raises:
        SplitError: Their names are not names of domains, or ``--test`` is not a number.
        ConfigError: ``data_root`` is given, too.
    """
    options = args.cfg_options
    if 'data_root' in options:
        raise ConfigError('--a and --b are the data: leave data_root out')
    given = {x: str(options[f'domains.{x}']) for x in DOMAINS if f'domains.{x}' in options}
    names = names_of(args.a, args.b, given)
    args.config = args.config or 'ugatit_custom'
    default = os.path.join('work_dirs', direction(names, 'B'))
    args.work_dir = args.work_dir or os.path.expanduser(str(options.get('work_dir', default)))
    data = Path(args.work_dir, 'data').absolute()
    options |= {'data_root': str(data), **{f'domains.{x}': names[x] for x in DOMAINS}}
    test = share_of(data, args.test)
    if not float(test.removesuffix('%')):
        options.setdefault('val_cfg', None)
    return {'a': args.a, 'b': args.b, 'test': test}


if __name__ == '__main__':
    sys.exit(main())
