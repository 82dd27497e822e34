"""A long training of a tiny model: does memory, or the number of files or threads, grow?

`python tools/benchmarks/soak.py` trains 3,000 iterations of the tools' own training on generated
pictures, in one process with a data worker, with validations, sheets, checkpoints and logs at short
intervals. It prints what the process held after a third and at the end, writes every sample to a
CSV file, and exits with 1 where something grew by more than 2 %. Linux alone tells.
"""

import argparse
import csv
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from ugatit_mm.apis import run_training
from ugatit_mm.config import load_config

UNITS = {
    'RSS': 'MiB',
    'anonymous memory': 'MiB',
    'USS': 'MiB',
    'RSS of workers': 'MiB',
    'shared memory': 'MiB',
    'open files': '',
    'threads': '',
    'children': '',
    'checkpoint': 'MiB',
}
# Shown, not judged: whether a library's page is the process's own depends on other programs.
UNJUDGED = ('USS',)
# Not growth: the batches that are under way between worker and process.
SLACK = {'shared memory': 0.25}


@HOOKS.register_module(force=True)
class SoakHook(Hook):
    """Take a sample of what the process holds at an interval.

    Args:
        interval: Iterations between two samples.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.samples: list[dict[str, float]] = []

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Take a sample if it is time."""
        if self.every_n_train_iters(runner, self.interval):
            gc.collect()
            head = {'iteration': runner.iter + 1, 'seconds': time.perf_counter() - self.start}
            self.samples.append(head | sample(Path(runner.work_dir)))


def sample(work_dir: Path) -> dict[str, float]:
    """Return what this process and its workers hold, and the size of the last checkpoint."""
    children = _children(os.getpid())
    statuses = {pid: _status(pid) for pid in (os.getpid(), *children)}
    own = statuses.pop(os.getpid())
    rollup = _fields(Path('/proc/self/smaps_rollup'))
    checkpoints = sorted(work_dir.glob('iter_*.pth'), key=os.path.getmtime)
    return {
        'RSS': own['VmRSS'] / 1024,
        'anonymous memory': own['RssAnon'] / 1024,
        'USS': (rollup['Private_Clean'] + rollup['Private_Dirty']) / 1024,
        'RSS of workers': sum(status['VmRSS'] for status in statuses.values()) / 1024,
        'shared memory': (own['RssShmem'] + sum(s['RssShmem'] for s in statuses.values())) / 1024,
        'open files': len(os.listdir('/proc/self/fd')),
        'threads': own['Threads'],
        'children': len(children),
        'checkpoint': os.path.getsize(checkpoints[-1]) / 2**20 if checkpoints else 0.0,
    }


def _children(pid: int) -> list[int]:
    tasks = Path(f'/proc/{pid}/task').glob('*/children')
    return [int(child) for task in tasks for child in task.read_text().split()]


def _status(pid: int) -> dict[str, int]:
    return _fields(Path(f'/proc/{pid}/status'))


def _fields(path: Path) -> dict[str, int]:
    """Numbers of a file of /proc with lines such as ``VmRSS:  1234 kB``."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {
        words[0][:-1]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()
    }


def growth(samples: Sequence[dict[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Compare what was held behind the first third with what was held at the end.

    Args:
        samples: In the order of time.

    Returns:
        By quantity: the medians of the tenth of the samples behind the first third and of the last
        tenth, and the growth in percent; it is 0 within the slack.
    """
    tenth = max(1, len(samples) // 10)
    third = min(len(samples) // 3, len(samples) - tenth)
    found = {}
    for name in UNITS:
        values = [taken[name] for taken in samples]
        first = statistics.median(values[third : third + tenth])
        last = statistics.median(values[-tenth:])
        grown = last - first
        if abs(grown) <= SLACK.get(name, 0):
            percent = 0.0
        else:
            percent = 100 * grown / first if first else float('inf')
        found[name] = first, last, percent
    return found


def table(found: dict[str, tuple[float, float, float]], iters: int) -> str:
    """Markdown, a line for each quantity."""
    lines = [f'| | behind {iters // 3} iterations | at {iters} | growth |', '|---|---|---|---|']
    for name, (first, last, percent) in found.items():
        digits = 1 if UNITS[name] else 0
        label = f'{name}, {UNITS[name]}' if UNITS[name] else name
        lines.append(f'| {label} | {first:.{digits}f} | {last:.{digits}f} | {percent:+.2f} % |')
    return '\n'.join(lines)


def make_pictures(root: Path, seed: int = 0) -> None:
    """Write a few pictures of noise around a colour for each domain."""
    rng = np.random.default_rng(seed)
    for folder, count in (('trainA', 8), ('trainB', 6), ('testA', 2), ('testB', 2)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 120, (40, 40, 3))
            pixels[..., 0 if folder.endswith('A') else 2] += 130
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f'{index}.png')


def soak(folder: Path, iters: int, workers: int, interval: int, every: int) -> list[dict]:
    """Train in ``folder`` and return the samples."""
    make_pictures(folder / 'data')
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
    parser.add_argument('--iters', type=int, default=3000)
    parser.add_argument('--workers', type=int, default=1, help='of each data loader')
    parser.add_argument('--interval', type=int, default=10, help='iterations between two samples')
    parser.add_argument(
        '--every', type=int, default=100, help='iterations between validations, sheets, checkpoints'
    )
    parser.add_argument('--limit', type=float, default=2.0, help='growth in percent that is none')
    parser.add_argument('--out', type=Path, default=Path('benchmarks/soak.csv'))
    args = parser.parse_args(argv)
    if min(args.iters, args.interval, args.every) < 1 or args.iters < 3 * args.interval:
        parser.error('--iters must be three --interval or more, and all of them 1 or more')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        samples = soak(Path(folder), args.iters, args.workers, args.interval, args.every)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open('w', newline='') as file:
        writer = csv.DictWriter(file, samples[0], lineterminator='\n')
        writer.writeheader()
        for taken in samples:
            writer.writerow({name: f'{value:.6g}' for name, value in taken.items()})
    found = growth(samples)
    print(f'\n{table(found, args.iters)}\n\n{len(samples)} samples: {args.out}')
    judged = {name: percent for name, (*_, percent) in found.items() if name not in UNJUDGED}
    grown = [name for name, percent in judged.items() if percent > args.limit]
    if grown:
        print(f'grew by more than {args.limit:g} %: {", ".join(grown)}', file=sys.stderr)
    return int(bool(grown))


if __name__ == '__main__':
    sys.exit(main())
