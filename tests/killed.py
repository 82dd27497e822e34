"""Train in a child process, once undisturbed, and once killed again and again until it has ended.

`python tests/killed.py FOLDER OPTIONS KILLS SEED` makes the work dirs FOLDER/whole and
FOLDER/killed; OPTIONS is JSON, the name of the config among them. Prints how often it was killed
while it started, trained and wrote. The package is imported once, so a life costs little.
"""

import json
import math
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook

import ugatit_mm  # noqa: F401, before the first fork
from ugatit_mm.apis import run_training
from ugatit_mm.config import load_config
from ugatit_mm.engine.work_dir import checkpoints_of


@HOOKS.register_module()
class Draw(Hook):
    """Something in training that draws random numbers; the networks draw none."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        random.random(), np.random.rand(), torch.rand(1)


def train(work_dir: Path, options: dict) -> None:
    """In a child, from the last whole checkpoint."""
    with open(work_dir.with_suffix('.log'), 'a') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    cfg = load_config(options.pop('config'), options)
    # As in tools/run_paper.py: killed before the first checkpoint, it has left logs.
    cfg.work_dir, cfg.resume = str(work_dir), bool(checkpoints_of(work_dir))
    cfg.restart = not cfg.resume
    cfg.custom_hooks.append(dict(type='Draw'))
    code = 1
    try:
        run_training(cfg)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)


def child(work_dir: Path, options: dict) -> int:
    work_dir.mkdir(exist_ok=True)
    pid = os.fork()
    if not pid:
        train(work_dir, options)
    return pid


def main() -> None:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    kills, rng = int(sys.argv[3]), random.Random(int(sys.argv[4]))
    to_the_end(folder / 'whole', options)
    work_dir = folder / 'killed'
    life = 0.0  # from the fork to some iterations
    done = {'starting': 0, 'training': 0, 'writing': 0}
    while sum(done.values()) < kills:
        before = since(set(), work_dir)
        pid, start = child(work_dir, options), time.time()
        # The first lives until its second checkpoint, later ones to a random moment. The fifth is
        # the limit, should the machine have become quicker: a life has 12 iterations.
        most, moment = (5, rng.uniform(0, 1.3 * life)) if life else (2, math.inf)
        while time.time() - start < moment and len(since(before, work_dir)) < most:
            time.sleep(0.01)
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), 'ended by itself'
        life = life or time.time() - start
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status), f'ended by itself with {status}: give it more iterations'
        new = since(before, work_dir)
        writing = any(folder.glob('iter_*') for folder in work_dir.glob('.unfinished-*'))
        done['writing' if writing else 'training' if new else 'starting'] += 1
    to_the_end(work_dir, options)
    print(json.dumps(done))


def since(before: set[Path], work_dir: Path) -> set[Path]:
    """Checkpoints that were written since."""
    return set(work_dir.glob('iter_*.pth')) - before


def to_the_end(work_dir: Path, options: dict) -> None:
    status = os.waitpid(child(work_dir, options), 0)[1]
    assert status == 0, f'{work_dir.name}: {status}'


if __name__ == '__main__':
    main()
