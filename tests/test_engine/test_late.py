"""Numbers that come after the launch, as on a GPU: the same logs, and the same answers."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers import assert_same_weights, tiny_config
from mmagic.registry import RUNNERS
from mmengine.hooks import Hook

from ugatit_mm.hooks import NotFiniteError
from ugatit_mm.models.base import StepLog

# No hook reads most iterations.
RARELY = {
    'train_cfg.max_iters': 11,
    'train_cfg.val_interval': 100,
    'default_hooks.logger.interval': 5,
    'default_hooks.checkpoint.interval': 8,
    'default_hooks.sheets.interval': 100,
}


@pytest.fixture
def late(monkeypatch):
    """Every step is late; how many were out at the same time."""
    make, settle, out, most = StepLog.__init__, StepLog.settle, set(), [0]

    def made(self, *args, **kwargs):
        make(self, *args, **kwargs)
        self.late = True
        out.add(id(self))
        most[0] = max(most[0], len(out))

    def settled(self):
        out.discard(id(self))
        return settle(self)

    monkeypatch.setattr(StepLog, '__init__', made)
    monkeypatch.setattr(StepLog, 'settle', settled)
    return most


class Poison(Hook):
    """Makes the pictures of A not finite in some iterations; notes their files."""

    def __init__(self, *iterations: int) -> None:
        self.iterations = iterations
        self.files: dict[int, str] = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 in self.iterations:
            images = data_batch['inputs']['img_A']
            data_batch['inputs']['img_A'] = images.float() * math.nan
            self.files[runner.iter + 1] = data_batch['data_samples'][0].metainfo['img_A_path']


def train(data_root: Path, work_dir: Path, *poisoned: int, patience: int = 10):
    cfg = tiny_config(data_root, work_dir, **RARELY)
    cfg.default_hooks.finite.patience = patience
    poison = Poison(*poisoned)
    runner = RUNNERS.build(cfg)
    runner.register_hook(poison)
    try:
        runner.train()
    except NotFiniteError as error:
        return error, poison
    return None, poison


def scalars(work_dir: Path) -> list[dict]:
    lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    noise = ('time', 'data_time', 'memory')
    return [{k: v for k, v in json.loads(line).items() if k not in noise} for line in lines]


def warnings(work_dir: Path) -> list[str]:
    lines = next(work_dir.glob('*/*.log')).read_text().splitlines()
    return [line.partition('WARNING - ')[2] for line in lines if 'left out' in line]


@pytest.mark.slow
def test_late_numbers_make_the_same_logs(data_root, tmp_path, request):
    train(data_root, tmp_path / 'plain', 4, 7)
    most = request.getfixturevalue('late')
    _, poison = train(data_root, tmp_path / 'late', 4, 7)
    assert most == [2]  # the one that runs, and the one that is read meanwhile
    rows = scalars(tmp_path / 'late')
    assert rows == scalars(tmp_path / 'plain') and len(rows) >= 3
    assert warnings(tmp_path / 'late') == warnings(tmp_path / 'plain')
    first, second = warnings(tmp_path / 'late')
    for number, line in ((4, first), (7, second)):
        assert line.startswith(f'iteration {number}: the update of the discriminators was left out')
        assert repr(poison.files[number]) in line
    assert_same_weights(tmp_path / 'plain' / 'iter_11.pth', tmp_path / 'late' / 'iter_11.pth')


@pytest.mark.slow
@pytest.mark.parametrize('patience', [1, 2])
def test_late_numbers_stop_a_run_with_the_last_good_state(data_root, tmp_path, late, patience):
    error, poison = train(data_root, tmp_path, *range(6, 12), patience=patience)
    assert isinstance(error, NotFiniteError)
    stopped = 6 if patience == 1 else 7
    assert f'stopped at iteration {stopped}: {patience} updates' in str(error)
    assert repr(poison.files[stopped]) in str(error)
    assert [path.name for path in tmp_path.glob('iter_*.pth')] == [f'iter_{stopped}.pth']


def test_a_log_that_is_not_known_says_so_and_waits_when_it_is_looked_at(late):
    log = StepLog(
        {'d': ['loss_d'], 'g': ['loss_g']}, torch.tensor([1.5, 2.5, 1.0, 0.0]), ['d', 'g']
    )
    assert repr(log) == 'StepLog(not known yet)' and not log.settled
    assert dict(log) == {'loss_d': 1.5, 'loss_g': 2.5} and log.settled
    assert log == {'loss_d': 1.5, 'loss_g': 2.5} and repr(log) == f'StepLog({dict(log)})'
    assert log.updates == {'d': True, 'g': False} and log.not_finite == [] and not log.pending


def test_of_updates_that_were_left_out_with_one_before_nothing_is_said():
    values = torch.tensor([math.nan, 2.5, 3.5, 0.0, 0.0])
    log = StepLog({'d': ['loss_d', 'loss_a'], 'g': ['loss_g']}, values, ['d', 'g'], pending=True)
    assert dict(log) == {'loss_a': 2.5} and log.not_finite == ['loss_d']
    assert log.updates == {'d': False} and log.pending
