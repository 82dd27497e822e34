"""A long training of a tiny model: does memory, or the number of files or threads, grow?

`python tools/benchmarks/soak.py` runs the tools' own training for 3,000 iterations on generated
pictures, with a data worker, and with validations, sheets, checkpoints and logs at short intervals.
It prints what the process held after a third and at the end, and exits with 1 if anything grew by
more than 2 %. Linux only.
"""

import argparse
import gc
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ugatit_mm.apis import run_training
from ugatit_mm.config import load_config
from ugatit_mm.datasets.demo_data import make_demo_data

HELD = (
    'RSS, MiB',
    'RSS of workers, MiB',
    'shared memory, MiB',
    'open files',
    'threads',
    'children',
)
# Not growth: batches in transit between worker and process.
SLACK = {'shared memory, MiB': 0.25}


@HOOKS.register_module(force=True)
class SoakHook(Hook):
    """Take a sample of what the process holds every ``interval`` iterations."""

    priority = 'LOWEST'

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.samples: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Take a sample if it is time."""
        if self.every_n_train_iters(runner, self.interval):
            gc.collect()
            self.samples.append(sample())


def sample() -> dict[str, float]:
    """Return what this process and its workers hold."""
    children = _children(os.getpid())
    own, *others = (_status(pid) for pid in (os.getpid(), *children))
    values = (
        own['VmRSS'] / 1024,
        sum(each['VmRSS'] for each in others) / 1024,
        sum(each['RssShmem'] for each in (own, *others)) / 1024,
        len(os.listdir('/proc/self/fd')),
        own['Threads'],
        len(children),
    )
    return dict(zip(HELD, values, strict=True))


def _children(pid: int) -> list[int]:
    tasks = Path(f'/proc/{pid}/task').glob('*/children')
    return [int(child) for task in tasks for child in task.read_text().split()]


def _status(pid: int) -> dict[str, int]:
    lines = (line.split() for line in Path(f'/proc/{pid}/status').read_text().splitlines())
    return {
        words[0][:-1]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()
    }


def growth(samples: Sequence[dict[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Compare what was held after the first third with what was held at the end.

    Args:
        samples: In order of time.

    Returns:
        By quantity: the medians of the tenth of the samples after the first third and of the last
        tenth, and the growth in percent; it is 0 within the slack.
    """
    tenth = max(1, len(samples) // 10)
    third = min(len(samples) // 3, len(samples) - tenth)
    found = {}
    for name in HELD:
        values = [taken[name] for taken in samples]
        first = statistics.median(values[third : third + tenth])
        last = statistics.median(values[-tenth:])
        if abs(last - first) <= SLACK.get(name, 0):
            percent = 0.0
        else:
            percent = 100 * (last - first) / first if first else float('inf')
        found[name] = first, last, percent
    return found


def soak(folder: Path, iters: int, workers: int, interval: int, every: int) -> list[dict]:
    """Train in ``folder`` and return the samples."""
    make_demo_data(folder / 'data', size=40, num_train=8, num_test=2)
    options = {
        'data_root': str(folder / 'data'),
        'img_size': 32,
        'load_size': 36,
        'model.generator.light': True,
        'model.generator.base_channels': 4,
        'model.generator.num_blocks': 1,
        'model.discriminator.base_channels': 4,
        'model.discriminator.num_layers': (5, 4),
        'train_cfg.max_iters': iters,
        'train_cfg.val_interval': every,
        'default_hooks.logger.interval': max(1, every // 10),
        'default_hooks.checkpoint.interval': every,
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        'default_hooks.sheets.interval': every,
        'randomness.seed': 0,
        'log_level': 'WARNING',
        'default_hooks.console': None,
    }
    for loader in ('train_dataloader', 'val_dataloader'):
        options[f'{loader}.num_workers'] = workers
        options[f'{loader}.persistent_workers'] = workers > 0
    cfg = load_config('ugatit_custom', options)
    cfg.work_dir = str(folder / 'run')
    cfg.custom_hooks.append(dict(type='SoakHook', interval=interval))
    runner = run_training(cfg)
    return next(hook for hook in runner.hooks if isinstance(hook, SoakHook)).samples


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iters', type=int, default=3000, help='iterations (%(default)s)')
    parser.add_argument(
        '--workers', type=int, default=1, help='workers of each data loader (%(default)s)'
    )
    parser.add_argument(
        '--interval', type=int, default=10, help='iterations between two samples (%(default)s)'
    )
    parser.add_argument(
        '--every',
        type=int,
        default=100,
        help='iterations between validations, sheets, checkpoints (%(default)s)',
    )
    parser.add_argument(
        '--limit', type=float, default=2.0, help='largest growth in percent (%(default)s)'
    )
    args = parser.parse_args(argv)
    if min(args.iters, args.interval, args.every) < 1 or args.iters < 3 * args.interval:
        parser.error('--iters must be three --interval or more, and all of them 1 or more')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(Path(folder), args.iters, args.workers, args.interval, args.every)
    found = growth(samples)
    print(
        f'\n| | after {args.iters // 3} iterations | at {args.iters} | growth |\n|---|---|---|---|'
    )
    for name, (first, last, percent) in found.items():
        print(f'| {name} | {first:.1f} | {last:.1f} | {percent:+.2f} % |')
    grown = [name for name, (*_, percent) in found.items() if percent > args.limit]
    if grown:
        print(f'grew by more than {args.limit:g} %: {"; ".join(grown)}', file=sys.stderr)
    return int(bool(grown))


if __name__ == '__main__':
    sys.exit(main())
