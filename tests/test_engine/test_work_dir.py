"""One training in a work dir: no mixture with an earlier one, or with one at the same time."""

import errno
import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from helpers import (
    ROOT,
    TINY,
    as_arguments,
    assert_same_weights,
    in_ranks,
    load_tool,
    started,
    tiny_config,
    wait_for,
)
from mmagic.registry import RUNNERS
from mmengine.config import Config

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.converters import CheckpointError
from ugatit_mm.engine import WorkDirError, work_dir
from ugatit_mm.engine.work_dir import (
    checkpoints_of,
    has_logged,
    iteration_of,
    lock,
    new_start,
    set_aside,
    unlock,
)

SHORT = TINY | {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 100}


@pytest.fixture
def config(data_root: Path, tmp_path: Path):
    """Of a tiny training, with options over it."""

    def build(name: str = 'work', **options):
        return tiny_config(data_root, tmp_path / name, **SHORT | options)

    return build


def names(folder: Path, pattern: str = '*') -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


# ---------------------------------------------------------------------------- a used work dir


def test_the_newest_is_what_last_checkpoint_names_then_what_was_written_last(tmp_path):
    assert checkpoints_of(tmp_path) == []
    for second, number in enumerate((10, 2, 6), 1):
        (tmp_path / f'iter_{number}.pth').touch()
        os.utime(tmp_path / f'iter_{number}.pth', (second, second))
    order = [tmp_path / f'iter_{number}.pth' for number in (6, 2, 10)]
    assert checkpoints_of(tmp_path) == order
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text(str(order[1]))
    assert checkpoints_of(tmp_path) == [order[1], order[0], order[2]]
    # A work dir that was copied: its own file, not the one of the same name over there.
    (tmp_path / 'there').mkdir()
    for name in ('iter_2.pth', 'iter_7.pth'):
        (tmp_path / 'there' / name).touch()
    pointer.write_text(str(tmp_path / 'there' / 'iter_2.pth'))
    assert checkpoints_of(tmp_path)[0] == order[1]
    pointer.write_text(str(tmp_path / 'there' / 'iter_7.pth'))  # checkpoint.out_dir
    assert checkpoints_of(tmp_path) == [tmp_path / 'there' / 'iter_7.pth', *order]
    for nothing in ('', 'gone.pth', '\0'):
        pointer.write_text(nothing)
        assert checkpoints_of(tmp_path) == order


def test_checkpoints_of_another_name_are_of_the_training_too(tmp_path):
    """``checkpoint.filename_tmpl='e{}.pth'``: the next training would write over them."""
    for second, name in enumerate(('e2.pth', 'e4.pth', 'iter_9.pth', 'e.pth', 'me5.pth'), 1):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (second, second))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'e2.pth'))
    found = [path.name for path in checkpoints_of(tmp_path)]
    assert found == ['e2.pth', 'iter_9.pth', 'e4.pth']
    assert [iteration_of(name) for name in ('e2.pth', 'iter_90.pth', 'e.pth')] == [2, 90, -1]
    aside = set_aside(tmp_path)
    assert names(aside) == ['e2.pth', 'e4.pth', 'iter_9.pth', 'last_checkpoint']
    assert names(tmp_path) == ['e.pth', 'me5.pth', 'set_aside_1']


def test_a_used_work_dir_refuses_a_fresh_start_until_it_is_said_how(config, tmp_path, capfd):
    run_training(config(**{'train_cfg.max_iters': 4}))
    work = tmp_path / 'work'
    before = {path.name: path.stat().st_mtime_ns for path in work.iterdir()}
    told = rf'{work} holds a training: --resume goes on from iter_4\.pth, --restart sets it aside'
    with pytest.raises(WorkDirError, match=told):
        run_training(config())
    assert {path.name: path.stat().st_mtime_ns for path in work.iterdir()} == before | {
        '.training.lock': (work / '.training.lock').stat().st_mtime_ns
    }
    with pytest.raises(WorkDirError, match=told):  # as MMEngine's users start it
        RUNNERS.build(config()).train()
    assert config().train_cfg.max_iters == 2
    left = Config.fromfile(work / 'ugatit_custom.py')
    assert (left.train_cfg.max_iters, left.resume, 'restart' in left) == (4, False, False)

    (work / 'mine.txt').write_text('notes')
    run_test(config(), work / 'iter_4.pth')  # a test is not a start
    assert names(work, '*.py') == ['ugatit_custom.py']
    cfg = config()
    cfg.restart = True
    RUNNERS.build(cfg).test()  # a test sets nothing aside
    capfd.readouterr()
    run_training(cfg)
    aside = work / 'set_aside_1'
    said = f'the training that was in {work} is now in {aside}'
    assert capfd.readouterr().err == f'warning: {said}\n'
    assert names(aside, '*.*') == [
        *('iter_2.pth', 'iter_4.pth', 'results_iter_4.json', 'ugatit_custom.py')
    ]
    assert names(aside / 'sheets') == ['A2B_4.png', 'B2A_4.png']
    assert names(work / 'sheets') == ['A2B_2.png', 'B2A_2.png']
    assert has_logged(aside) and len(list(aside.glob('*/vis_data'))) == 4
    assert names(work, '*.*') == ['.training.lock', 'iter_2.pth', 'mine.txt', 'ugatit_custom.py']
    assert Path((work / 'last_checkpoint').read_text()) == work / 'iter_2.pth'
    # The one that was set aside goes on from its own files.
    assert checkpoints_of(aside)[0] == aside / 'iter_4.pth'
    cfg = config(**{'train_cfg.max_iters': 5})
    cfg.work_dir, cfg.resume = str(aside), True
    assert run_training(cfg).iter == 5
    # The options of a resume are not in the config that it writes.
    left = Config.fromfile(aside / 'ugatit_custom.py')
    assert (left.resume, left.load_from, left.train_cfg.max_iters) == (False, None, 5)
    # A resume that is refused leaves the config as it is: the next one would take it.
    before = (aside / 'ugatit_custom.py').read_text()
    cfg = config(**{'domains.A': 'rose', 'train_cfg.max_iters': 6})
    cfg.work_dir, cfg.resume = str(aside), True
    with pytest.raises(CheckpointError, match='was trained as A and B, the config says rose and B'):
        run_training(cfg)
    assert (aside / 'ugatit_custom.py').read_text() == before


def test_a_start_has_a_name_that_no_other_has(tmp_path, monkeypatch):
    """None of its work dir, and none of its process."""
    monkeypatch.setattr(work_dir, '_started', set())
    second = '20260101_000000'
    for work in ('one', 'other'):
        (tmp_path / work / second).mkdir(parents=True)
    made = [new_start(tmp_path / work, second) for work in ('one', 'one', 'other')]
    assert made == [f'{second}_1', f'{second}_2', f'{second}_3']
    set_aside(tmp_path / 'one', f'{second}_2')  # whose start asks for it
    assert names(tmp_path / 'one', '2*') == [f'{second}_2']


@pytest.mark.slow
def test_a_training_set_aside_in_its_second_and_by_a_runner_that_is_built(config, monkeypatch):
    """MMEngine keeps what it draws with by the name of a start."""
    clock = SimpleNamespace(time=lambda: 1e9, localtime=time.localtime, strftime=time.strftime)
    monkeypatch.setattr('mmengine.runner.runner.time', clock)
    run_training(config())
    work = Path(config().work_dir)
    for train in (run_training, lambda cfg: RUNNERS.build(cfg).train()):
        cfg = config()
        cfg.restart = True
        train(cfg)
        assert (work / 'iter_2.pth').is_file() and len(names(work, '*/vis_data/config.py')) == 1
    assert len(names(work, 'set_aside_*/*/vis_data/scalars.json')) == 2


@pytest.mark.slow
def test_a_resume_goes_on_from_the_later_run_not_from_the_larger_number(config, tmp_path):
    run_training(config(**{'train_cfg.max_iters': 4}))
    work = tmp_path / 'work'
    cfg = config(**{'train_cfg.max_iters': 3})
    cfg.resume, cfg.load_from = True, str(work / 'iter_2.pth')  # its own: no other training
    run_training(cfg)
    assert names(work, '*.pth') == ['iter_2.pth', 'iter_3.pth', 'iter_4.pth']
    assert checkpoints_of(work)[0].name == 'iter_3.pth'
    cfg = config('other')
    run_training(cfg)
    cfg.resume, cfg.load_from = True, str(work / 'iter_3.pth')
    with pytest.raises(WorkDirError, match=r'other holds a training: --resume .* iter_2\.pth'):
        run_training(cfg)


@pytest.mark.parametrize('there', [False, True])
def test_nothing_to_resume_is_an_error(config, tmp_path, there):
    cfg = config()
    cfg.resume = True
    if there:
        (tmp_path / 'work').mkdir()
    with pytest.raises(WorkDirError, match=f'nothing to resume in {tmp_path}/work: there is no'):
        run_training(cfg)
    assert (tmp_path / 'work').exists() is there


def test_logs_without_a_checkpoint_are_of_a_training_a_failed_start_is_not(tmp_path):
    start = tmp_path / '20260101_000000'
    (start / 'vis_data').mkdir(parents=True)
    (start / 'vis_data' / 'config.py').touch()
    (start / 'vis_data' / 'scalars.json').touch()
    (start / '20260101_000000.log').write_text('INFO - Iter(test) [1/2]\n')
    assert not has_logged(tmp_path)
    assert work_dir.claim(tmp_path, False, None, False, False) == []
    unlock(tmp_path)
    (start / '20260101_000000.log').write_text('INFO - Iter(train) [1/2]\n')
    assert has_logged(tmp_path)
    said = f'{tmp_path} holds a training: --restart sets it aside and starts a new one; or choose'
    with pytest.raises(WorkDirError, match=said):
        work_dir.claim(tmp_path, False, None, False, False)
    assert work_dir.claim(tmp_path, False, None, False, True) == []  # the launcher's second start
    unlock(tmp_path)
    for fields, said in (
        ((True, None, True, False), '--resume goes on, --restart does not'),
        ((False, None, True, True), '--restart does not go with MAX_RESTARTS'),
    ):
        with pytest.raises(WorkDirError, match=said):
            work_dir.claim(tmp_path, *fields)
    assert work_dir.claim(tmp_path, False, None, True, False)  # no lock was left
    unlock(tmp_path)
    assert names(tmp_path) == ['.training.lock', 'set_aside_1']
    assert names(tmp_path / 'set_aside_1') == ['20260101_000000']


def test_checkpoints_elsewhere_are_not_written_over(tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'iter_2.pth').touch()
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'out' / 'iter_2.pth'))
    with pytest.raises(
        WorkDirError, match=f'are in {tmp_path}/out: set both folders aside by hand'
    ):
        set_aside(tmp_path / 'work')
    assert names(tmp_path / 'work') == ['last_checkpoint']


def test_the_tool_says_it_in_one_line(data_root, tmp_path, capsys):
    words = ['ugatit_custom', '--work-dir', str(tmp_path / 'work')]
    options = ['--cfg-options', *as_arguments(SHORT | {'data_root': data_root})]
    train = load_tool('train').main
    assert train([*words, '--resume', *options]) == 1
    assert capsys.readouterr().err.startswith(f'error: nothing to resume in {tmp_path}/work: ')
    assert not (tmp_path / 'work').exists()
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'iter_2.pth').touch()
    assert train([*words, *options]) == 1
    assert re.fullmatch(r'error: \S+/work holds a training: [^\n]+\n', capsys.readouterr().err)
    with pytest.raises(SystemExit) as left:
        train([*words, '--restart', '--resume', *options])
    assert left.value.code == 2


def train_twice(data: Path, work: Path) -> None:
    dist.init_process_group('gloo')
    for how in ('start', 'refused', 'restart'):
        cfg = tiny_config(data, work, **SHORT)
        cfg.launcher, cfg.restart = 'pytorch', how == 'restart'
        if how == 'refused':
            with pytest.raises(WorkDirError, match='--resume goes on from iter_2'):
                run_training(cfg)
        else:
            run_training(cfg)


@pytest.mark.slow
def test_the_first_rank_decides_for_all(data_root, tmp_path):
    in_ranks(train_twice, tmp_path, data_root, tmp_path / 'work')
    assert names(tmp_path / 'work', 'set_aside_*') == ['set_aside_1']
    both = [tmp_path / 'work' / folder / 'iter_2.pth' for folder in ('.', 'set_aside_1')]
    assert_same_weights(*both)


# ------------------------------------------------------------------------------------ the lock


@pytest.mark.slow
def test_the_second_is_told_who_trains_and_a_killed_one_leaves_no_lock(data_root, tmp_path, capsys):
    """The first one's data worker lives on for seconds, and a test runs meanwhile."""
    work, log = tmp_path / 'work', tmp_path / 'log'
    options = SHORT | {'data_root': data_root}
    endless = options | {'train_cfg.max_iters': 10**5, 'train_dataloader.num_workers': 1}
    command = [sys.executable, ROOT / 'tools/train.py', 'ugatit_custom', '--work-dir', work]
    command += ['--cfg-options', *as_arguments(endless)]
    with started(command, log, start_new_session=True) as process:
        wait_for(process, log, (work / 'iter_2.pth').exists)
        words = ['ugatit_custom', '--work-dir', str(work), '--resume', '--cfg-options']
        words += as_arguments(options)
        assert load_tool('train').main(words) == 1
        assert re.fullmatch(
            rf'error: {work} is in use, process {process.pid} on \S+ since \S+ \S+ trains there: '
            'wait for its end, or choose another --work-dir\n',
            capsys.readouterr().err,
        )
        assert run_test(tiny_config(data_root, work, **SHORT), work / 'iter_2.pth')
        process.kill()  # its worker does not notice
        process.wait()
    lock(work)
    unlock(work)
    words[words.index('--resume')] = '--restart'
    assert load_tool('train').main(words) == 0
    assert (names(work, '*.pth'), len(names(work, 'set_aside_*'))) == (['iter_2.pth'], 1)


def test_a_lock_is_of_one_process_and_not_of_its_children(tmp_path):
    assert lock(tmp_path) == []
    told = rf'is in use, process {os.getpid()} on \S+ since .* trains there: wait for its end'
    with pytest.raises(WorkDirError, match=told):
        lock(tmp_path)
    read, write = os.pipe()
    if not (child := os.fork()):
        os.read(read, 1)
        os._exit(0)
    unlock(tmp_path)  # while the child lives
    assert lock(tmp_path) == []
    os.write(write, b'.')
    assert os.waitpid(child, 0)[1] == 0
    unlock(tmp_path)
    unlock(tmp_path)  # nothing is held: nothing happens


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(number: int):
        def flock(file, how):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(work_dir.fcntl, 'flock', flock)

    refuse(errno.ENOLCK)
    said = [f'{tmp_path} cannot be locked (No locks available): see that no other training uses it']
    assert lock(tmp_path) == said
    refuse(errno.EIO)
    with pytest.raises(OSError, match='Input/output error'):
        lock(tmp_path)
    monkeypatch.setattr(work_dir, 'fcntl', None)
    assert 'cannot be locked (Function not implemented)' in lock(tmp_path)[0]


def test_a_failed_start_leaves_no_lock(config, tmp_path):
    cfg = config()
    cfg.model.type = 'NoModel'
    with pytest.raises(ValueError, match='NoModel'):
        run_training(cfg)
    assert lock(tmp_path / 'work') == []
    unlock(tmp_path / 'work')
