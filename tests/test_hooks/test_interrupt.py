"""Ctrl-C: the first is answered at once, the second stops without saving."""

import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import ROOT, TINY, as_arguments, in_ranks, load_tool, started, tiny_config, wait_for

from ugatit_mm.apis import run_training
from ugatit_mm.evaluation import TransStats
from ugatit_mm.models import UGATIT

AGAIN = 'and saving; press again to stop WITHOUT saving'


def words(data_root: Path, work: Path, **options) -> list[str]:
    options = TINY | {'data_root': data_root} | options
    return ['ugatit_custom', '--work-dir', str(work), '--cfg-options', *as_arguments(options)]


def press(monkeypatch, where: type, method: str, at: int, times: int, capfd) -> list[str]:
    """Ctrl-C at a call of a method; what was on stderr when the call went on."""
    does, calls, said = getattr(where, method), [], []

    def call(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            said.append(capfd.readouterr().err)
        return does(self, *args, **kwargs)

    monkeypatch.setattr(where, method, call)
    return said


def checkpoints(work: Path) -> list[str]:
    return sorted(path.name for path in work.glob('*.pth'))


def test_the_first_is_answered_in_the_step_and_saves(data_root, tmp_path, monkeypatch, capfd):
    said = press(monkeypatch, UGATIT, 'train_step', 3, 1, capfd)
    assert load_tool('train').main(words(data_root, tmp_path / 'work')) == 130
    assert said[0].strip().splitlines()[-1] == f'finishing iteration 3 {AGAIN}'
    assert checkpoints(tmp_path / 'work') == ['iter_2.pth', 'iter_3.pth']
    assert capfd.readouterr().err.strip().splitlines()[-1] == 'interrupted'


@pytest.mark.parametrize(
    ('where', 'method', 'at', 'first', 'left', 'newest'),
    [
        (UGATIT, 'train_step', 1, 'finishing iteration 1', [], None),
        (UGATIT, 'train_step', 4, 'finishing iteration 4', ['iter_2.pth'], 2),
        (TransStats, 'process', 1, 'leaving the validation and saving iteration 2', None, 2),
    ],
    ids=['start', 'step', 'validation'],
)
def test_the_second_stops_and_says_what_is_lost(
    data_root, tmp_path, monkeypatch, capfd, where, method, at, first, left, newest
):
    before = signal.getsignal(signal.SIGINT)
    press(monkeypatch, where, method, at, 2, capfd)
    work = tmp_path / 'work'
    assert load_tool('train').main(words(data_root, work)) == 130
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    again = AGAIN if where is UGATIT else AGAIN.removeprefix('and saving')
    lost = f'there is no checkpoint in {work}, what was trained is lost'
    if newest:
        lost = (
            f'what was trained after iteration 2 is lost; --resume goes on from {work}/iter_2.pth'
        )
    assert [line for line in lines if 'again' in line] == [f'{first} {again}'.replace(' ;', ';')]
    assert lines[-2:] == [f'stopped WITHOUT saving: {lost}', 'interrupted']
    assert checkpoints(work) == (left if left is not None else ['iter_2.pth'])
    assert signal.getsignal(signal.SIGINT) == before


def test_what_swallows_the_second_does_not_keep_the_run(data_root, tmp_path, monkeypatch, capfd):
    does = UGATIT.train_step

    def step(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        with suppress(KeyboardInterrupt):  # as a destructor does
            signal.raise_signal(signal.SIGINT)
        return does(self, *args, **kwargs)

    monkeypatch.setattr(UGATIT, 'train_step', step)
    assert load_tool('train').main(words(data_root, tmp_path / 'work')) == 130
    assert checkpoints(tmp_path / 'work') == []


@pytest.mark.slow
def test_accumulated_gradients_are_waited_for(data_root, tmp_path, monkeypatch, capfd):
    said = press(monkeypatch, UGATIT, 'train_step', 1, 1, capfd)
    counts = {
        f'optim_wrapper.{name}s.accumulative_counts': 2 for name in ('generator', 'discriminator')
    }
    assert load_tool('train').main(words(data_root, tmp_path / 'work', **counts)) == 130
    assert f'finishing iteration 1 and those up to the next update {AGAIN}' in said[0]
    assert checkpoints(tmp_path / 'work') == ['iter_2.pth']


SLOW = """
import time
from pathlib import Path
from mmagic.registry import HOOKS
from mmengine.hooks import Hook

@HOOKS.register_module()
class Slow(Hook):
    def __init__(self, note):
        self.note = Path(note)
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 3:
            self.note.touch()
            for _ in range(600):
                time.sleep(0.1)
"""


@pytest.mark.slow
def test_as_a_program(data_root, tmp_path):
    """In a step of a minute: the answer comes at once, and so does the end."""
    (tmp_path / 'slow.py').write_text(SLOW)
    note, log, work = (tmp_path / name for name in ('note', 'log', 'work'))
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs/ugatit_custom.py")!r}\n'
        "custom_imports = dict(imports=['ugatit_mm', 'slow'], allow_failed_imports=False)\n"
        f'custom_hooks = [dict(type="Slow", note={str(note)!r})]\n'
    )
    command = [sys.executable, ROOT / 'tools/train.py', config]
    command += words(data_root, work, **{'train_dataloader.num_workers': 1})[1:]
    env = {**os.environ, 'PYTHONPATH': f'{tmp_path}:{ROOT}'}
    with started(command, log, env=env, start_new_session=True) as process:
        wait_for(process, log, note.exists)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal
        wait_for(process, log, lambda: f'finishing iteration 4 {AGAIN}\n' in log.read_text(), 10)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 130, log.read_text()[-3000:]
    said = log.read_text()
    assert 'Traceback' not in said and said.count('press again') == 1
    assert re.search(
        r'stopped WITHOUT saving: .* after iteration 2 is lost; .*/iter_2\.pth\n', said
    )
    assert checkpoints(work) == ['iter_2.pth']


def train_a_rank(data: Path, work: Path) -> None:
    does = UGATIT.train_step

    def step(self, *args, **kwargs):
        signal.raise_signal(signal.SIGINT)  # to each rank; the launcher's echo follows
        signal.raise_signal(signal.SIGINT)
        return does(self, *args, **kwargs)

    UGATIT.train_step = step
    cfg = tiny_config(data, work)
    cfg.launcher = 'pytorch'
    with pytest.raises(KeyboardInterrupt):
        run_training(cfg)


@pytest.mark.slow
def test_the_first_rank_answers_for_all(data_root, tmp_path):
    in_ranks(train_a_rank, tmp_path, data_root, tmp_path / 'work')
    said = [(tmp_path / f'rank{rank}.log').read_text().count(AGAIN) for rank in (0, 1)]
    assert said == [1, 0]
    assert checkpoints(tmp_path / 'work') == ['iter_1.pth']
