"""Time a resume: from the runner's start to the end of its first iteration, at several places.

    python tools/benchmarks/resume.py [--quick]

The checkpoint is the same but for its iteration, the starts go in turns, and MMEngine's own loop,
which reads every batch before its place anew, is timed over a few hundred iterations beside ours.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench import Row, add_arguments, append_rows
from mmagic.registry import RUNNERS
from PIL import Image

from ugatit_mm.apis import run_training
from ugatit_mm.config import keep_mmengine_hooks, load_config
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.converters.files import save

PLACES = (1, 100, 500_000)
OPTIONS = {
    'img_size': 256,
    'model.generator.light': True,
    'model.generator.base_channels': 8,
    'model.discriminator.base_channels': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'default_hooks.checkpoint.interval': 10**9,
    'default_hooks.checkpoint.save_last': False,
    'randomness.seed': 0,
    'log_level': 'ERROR',
}


def write_pictures(root: Path, side: int) -> None:
    """JPEGs as the paper's sets have them."""
    rng = np.random.default_rng(0)
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (root / folder).mkdir(parents=True)
        for index in range(8):
            small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
            small.resize((side, side)).save(root / folder / f'{index}.jpg')


def seconds_to_resume(root: Path, checkpoint: Path, place: int, loop: str) -> float:
    """Of one start; building the data set and the networks is in it, imports are not."""
    options = OPTIONS | {
        'data_root': str(root),
        'train_cfg.max_iters': place + 1,
        'train_cfg.type': loop,
    }
    cfg = load_config('ugatit_custom', options)
    cfg.work_dir = str(checkpoint.parent / 'resumed')
    cfg.experiment_name = f'resume_{time.monotonic_ns()}'
    cfg.val_dataloader, cfg.val_cfg, cfg.val_evaluator = None, None, None
    keep_mmengine_hooks(cfg)
    cfg.resume, cfg.load_from = True, str(checkpoint)
    start = time.perf_counter()
    runner = RUNNERS.build(cfg)
    runner.train()
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args(argv)
    rounds = 2 if args.quick else args.rounds
    with tempfile.TemporaryDirectory() as folder:
        root, work = Path(folder) / 'data', Path(folder) / 'work'
        write_pictures(root, 64 if args.quick else 256)
        cfg = load_config('ugatit_custom', OPTIONS | {'data_root': str(root)})
        cfg.work_dir, cfg.train_cfg.max_iters = str(work), 1
        cfg.default_hooks.checkpoint.save_last = True
        cfg.val_dataloader, cfg.val_cfg, cfg.val_evaluator = None, None, None
        keep_mmengine_hooks(cfg)
        run_training(cfg)
        content = read_checkpoint(work / 'iter_1.pth')
        cases = {place: ('UGATITTrainLoop', place) for place in PLACES}
        cases["100, MMEngine's loop"] = ('IterBasedTrainLoop', 100)
        for _, place in cases.values():
            content['meta']['iter'] = content['ugatit']['position'] = place
            save(work / f'iter_{place}.pth', content)
        times: dict = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (loop, place) in cases.items():
                path = work / f'iter_{place}.pth'
                times[name].append(seconds_to_resume(root, path, place, loop))
    base = min(times[1])
    rows = []
    print('\n| resumed at iteration | start and first iteration, x at 1 |\n|---|---|')
    for name, seen in times.items():
        print(f'| {name} | {min(seen) / base:.2f} |')
        rows.append(Row('resume', 'light, 256 px', str(name), 'time', min(seen) / base, 'x at 1'))
    if not args.no_write:
        append_rows(rows, args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
