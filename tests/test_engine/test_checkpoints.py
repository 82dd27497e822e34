"""Checkpoints: whole or not there, read safely, removed when the next one is."""

import copy
import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from helpers import assert_same, assert_same_weights, read_bytes, saved_weights, tiny_config
from mmagic.registry import RUNNERS

from ugatit_mm import files as places
from ugatit_mm.apis import load_model, run_test, run_training
from ugatit_mm.apis.arguments import apply_speed
from ugatit_mm.config import keep_mmengine_hooks
from ugatit_mm.converters import CheckpointError, files, read_checkpoint
from ugatit_mm.datasets import LoadRGBImage
from ugatit_mm.engine.runner import newest_whole
from ugatit_mm.hooks import InterruptHook
from ugatit_mm.models.base import unwrap
from ugatit_mm.provenance import sha256

SMALL = {'a': torch.arange(10.0)}
LARGE = {'a': torch.zeros(2_000_000)}  # 8 MB


@pytest.fixture
def config(data_root: Path, tmp_path: Path):
    """Of a tiny training, with options over it."""

    def build(name: str = 'work', resume: bool = False, **options):
        cfg = tiny_config(data_root, tmp_path / name, **options)
        cfg.resume = resume
        return cfg

    return build


# ---------------------------------------------------------------------------- one file


@pytest.mark.parametrize('step', ['torch.save', 'os.fsync', 'os.replace', 'places._sync_folder'])
@pytest.mark.parametrize('when', ['before', 'after'])
def test_a_kill_at_any_step_leaves_the_old_file_or_the_new(tmp_path, monkeypatch, step, when):
    path = tmp_path / 'iter_2.pth'
    files.save(path, SMALL)
    module, name = step.split('.')
    module = {'torch': torch, 'os': os, 'places': places}[module]
    does = getattr(module, name)

    def die(*args):
        if when == 'after':
            does(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    if not (pid := os.fork()):
        setattr(module, name, die)
        files.save(path, {'a': torch.ones(10)})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    new = step == 'places._sync_folder' or (step, when) == ('os.replace', 'after')
    assert torch.equal(read_checkpoint(path)['a'], torch.ones(10) if new else SMALL['a'])
    places.remove_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ['iter_2.pth']


@pytest.fixture(params=['limit', 'full disk'])
def tight(request, tmp_path: Path):
    """A folder that takes about 4 MB."""
    if request.param == 'limit':
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, before[1]))
        yield tmp_path
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no right to mount a small disk; the limit on the size of files is tested')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_file_that_does_not_fit_leaves_the_old_one(tight: Path, suffix):
    path = tight / f'iter_2{suffix}'
    files.write_checkpoint(path, SMALL, {})
    with pytest.raises(OSError, match=r'No space left|File too large|cannot be written'):
        files.write_checkpoint(path, LARGE, {})
    assert torch.equal(read_checkpoint(path)['state_dict']['a'], SMALL['a'])
    assert [file.name for file in tight.iterdir()] == [path.name]


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path):
    def found() -> tuple[Path | None, list[str]]:
        path, content, broken = newest_whole(tmp_path)
        assert (content is None) if path is None else torch.equal(content['a'], SMALL['a'])
        return path and Path(path), broken

    assert found() == (None, [])
    for second, step in enumerate((2, 10, 9), 1):
        files.save(tmp_path / f'iter_{step}.pth', SMALL)
        os.utime(tmp_path / f'iter_{step}.pth', (second, second))
    assert found() == (tmp_path / 'iter_9.pth', [])
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_10.pth'))
    assert found() == (tmp_path / 'iter_10.pth', [])
    content = (tmp_path / 'iter_10.pth').read_bytes()
    (tmp_path / 'iter_10.pth').write_bytes(content[: len(content) // 2])
    path, broken = found()
    assert path == tmp_path / 'iter_9.pth'
    assert len(broken) == 1 and 'iter_10.pth' in broken[0]


# ------------------------------------------------------------------------- a training


def test_resume_enters_the_data_without_reading_what_lies_before(config, monkeypatch):
    """At iteration 50,000, as fast as at 0: a pair is looked at, one is decoded for one step."""
    run_training(config(**{'train_cfg.max_iters': 2}))
    work = Path(config().work_dir)
    checkpoint = read_checkpoint(work / 'iter_2.pth')
    checkpoint['meta']['iter'] = checkpoint['ugatit']['position'] = 50_000
    files.save(work / 'iter_50000.pth', checkpoint)
    (work / 'last_checkpoint').write_text(str(work / 'iter_50000.pth'))
    read = []
    transform = LoadRGBImage.transform
    monkeypatch.setattr(
        LoadRGBImage,
        'transform',
        lambda self, results: (read.append(results[f'{self.key}_path']), transform(self, results))[
            1
        ],
    )
    cfg = config(**{'train_cfg.max_iters': 50_001, 'train_cfg.val_interval': 10**9})
    cfg.resume, cfg.val_dataloader, cfg.val_cfg, cfg.val_evaluator = True, None, None, None
    keep_mmengine_hooks(cfg)
    runner = run_training(cfg)
    sampler = runner.train_dataloader.sampler
    sampler.set_position(50_000)
    pair = next(iter(sampler))
    dataset = runner.train_dataloader.dataset
    of_step = [dataset.data_infos_a[pair.a]['path'], dataset.data_infos_b[pair.b]['path']]
    assert len(read) == 4 and read[2:] == of_step
    assert runner.train_loop.position == 50_001


@pytest.mark.slow
def test_a_full_disk_stops_training_or_not(config, monkeypatch, caplog):
    """The second checkpoint of three cannot be written."""
    save = files._save

    def full(content, path):
        if path.name == 'iter_4.pth':
            raise OSError(28, 'No space left on device')
        save(content, path)

    monkeypatch.setattr(files, '_save', full)
    options = {'train_cfg.max_iters': 6, 'default_hooks.checkpoint.max_keep_ckpts': 1}
    runner = run_training(config('goes on', **options))
    assert runner.iter == 6
    work = Path(config('goes on').work_dir)
    assert [file.name for file in work.glob('*.pth')] == ['iter_6.pth']
    assert runner.message_hub.get_info('keep_ckpt_ids') == [6]

    cfg = config('stops', **options, **{'default_hooks.checkpoint.on_error': 'stop'})
    with pytest.raises(OSError, match='No space left'):
        run_training(cfg)
    work = Path(cfg.work_dir)
    assert [file.name for file in work.glob('*.pth')] == ['iter_2.pth']
    assert (work / 'last_checkpoint').read_text() == str(work / 'iter_2.pth')
    with pytest.raises(ValueError, match="on_error must be one of .* got 'retry'"):
        run_training(config('other', **{'default_hooks.checkpoint.on_error': 'retry'}))
    cfg = config('last', **{'train_cfg.max_iters': 4})
    with pytest.raises(OSError, match='No space left'):  # a training must not end so
        run_training(cfg)


def test_old_files_go_when_the_new_one_is_there(config, monkeypatch):
    there = {}
    save = files._save

    def note(content, path):
        names = sorted(file.name for file in Path(config().work_dir).glob('*.pth'))
        there.setdefault(path.name, names)
        save(content, path)

    monkeypatch.setattr(files, '_save', note)
    scores = iter([3.0, 2.0, 2.5])
    monkeypatch.setattr(
        'ugatit_mm.evaluation.TransStats.evaluate', lambda self, size: {'score': next(scores)}
    )
    monkeypatch.setattr('ugatit_mm.evaluation.TransStats.names_of', lambda self, *_: ['score'])
    options = {
        'train_cfg.max_iters': 6,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
        'default_hooks.checkpoint.save_best': 'score',
        'default_hooks.checkpoint.rule': 'less',
    }
    run_training(config(**options))
    assert there['iter_4.pth'][0] == 'best_score_iter_2.pth' and 'iter_2.pth' in there['iter_4.pth']
    assert 'best_score_iter_2.pth' in there['best_score_iter_4.pth']
    left = sorted(file.name for file in Path(config().work_dir).glob('*.pth'))
    assert left == ['best_score_iter_4.pth', 'iter_6.pth']
    monkeypatch.undo()
    cfg = config('other', **options | {'default_hooks.checkpoint.save_best': 'kid'})
    with pytest.raises(ValueError, match="save_best: the validation gives no 'kid'; it gives"):
        run_training(cfg)


@pytest.mark.slow
def test_the_best_of_another_work_dir_and_of_another_score_is_left(config, monkeypatch, capfd):
    monkeypatch.setattr('ugatit_mm.evaluation.TransStats.names_of', lambda *_: ['one', 'two'])

    def score(**scores: float) -> None:
        monkeypatch.setattr('ugatit_mm.evaluation.TransStats.evaluate', lambda self, size: scores)

    def options(name: str) -> dict:
        hook = 'default_hooks.checkpoint'
        return {f'{hook}.save_best': name, f'{hook}.rule': 'less'}

    score(one=3.0, two=1.0)
    run_training(config(**options('one'), **{'train_cfg.max_iters': 2}))
    best = Path(config().work_dir) / 'best_one_iter_2.pth'
    score(one=2.0, two=5.0)
    cfg = config('next', **options('one'))
    cfg.resume, cfg.load_from = True, str(best.with_name('iter_2.pth'))
    run_training(cfg)
    assert [path.name for path in Path(cfg.work_dir).glob('best_*')] == ['best_one_iter_2.pth']
    assert best.is_file()
    run_training(config(resume=True, **options('two')))
    assert 'save_best is two: the best score until here, of best_one' in capfd.readouterr().err
    names = sorted(path.name for path in best.parent.glob('best_*'))
    assert names == ['best_one_iter_2.pth', 'best_two_iter_4.pth']


@pytest.mark.slow
def test_accumulated_gradients_are_not_lost(config, monkeypatch):
    """Checkpoints and interrupts wait for the update that the gradients are for."""
    options = {
        'train_cfg.max_iters': 8,
        'train_cfg.val_interval': 100,
        'optim_wrapper.generators.accumulative_counts': 3,
        'optim_wrapper.discriminators.accumulative_counts': 3,
    }
    run_training(config('whole', **options))
    whole = Path(config('whole').work_dir)
    assert {file.name for file in whole.glob('*.pth')} == {
        'iter_3.pth',  # due at 2
        'iter_6.pth',  # due at 4 and 6
        'iter_8.pth',  # the last, of two iterations
    }
    ask = InterruptHook.after_train_iter

    def after_train_iter(self, runner, **kwargs):
        if runner.iter + 1 == 4:
            self._asked = signal.SIGTERM
        ask(self, runner, **kwargs)

    monkeypatch.setattr(InterruptHook, 'after_train_iter', after_train_iter)
    with pytest.raises(KeyboardInterrupt):
        run_training(config('parts', **options, **{'default_hooks.checkpoint.interval': 100}))
    parts = Path(config('parts').work_dir)
    assert [file.name for file in parts.glob('*.pth')] == ['iter_6.pth']
    monkeypatch.undo()
    run_training(config('parts', resume=True, **options))
    assert_same_weights(whole / 'iter_8.pth', parts / 'iter_8.pth')


@pytest.mark.slow
def test_a_signal_in_a_validation_leaves_it_and_loses_nothing(config, monkeypatch):
    options = {
        'train_cfg.max_iters': 6,
        'train_cfg.val_interval': 3,
        'default_hooks.checkpoint.interval': 100,
        'default_hooks.checkpoint.save_best': 'A2B/colour',
        'default_hooks.checkpoint.rule': 'less',
    }
    run_training(config('whole', **options))
    seen = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        seen.append((runner.iter, batch_idx))
        if runner.iter == 3 and batch_idx == 1:
            signal.raise_signal(signal.SIGTERM)
        ask(self, runner, batch_idx)

    ask = InterruptHook.after_val_iter
    monkeypatch.setattr(InterruptHook, 'after_val_iter', after_val_iter)
    with pytest.raises(KeyboardInterrupt):
        run_training(config('parts', **options))
    assert seen == [(3, 0), (3, 1)]
    parts = Path(config('parts').work_dir)
    assert [file.name for file in parts.glob('*.pth')] == ['iter_3.pth']
    monkeypatch.undo()
    run_training(config('parts', resume=True, **options))
    whole = Path(config('whole').work_dir)
    assert_same_weights(whole / 'iter_6.pth', parts / 'iter_6.pth')
    best = [next(folder.glob('best_*')) for folder in (whole, parts)]
    assert best[0].name == best[1].name
    assert_same_weights(*best)
    hubs = [
        read_checkpoint(f / 'iter_6.pth')['message_hub']['runtime_info'] for f in (whole, parts)
    ]
    assert hubs[0]['best_score'] == hubs[1]['best_score']


def test_a_second_signal_stops_at_once_but_an_echo_does_not(monkeypatch):
    """torchrun passes on the signal that its ranks have had from the terminal."""
    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append('old'))
    try:
        hook = InterruptHook()
        hook._previous = {signal.SIGTERM: signal.signal(signal.SIGTERM, hook._ask)}
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert hook._asked is signal.SIGTERM and got == []
        hook._at -= 10
        signal.raise_signal(signal.SIGTERM)
        assert got == ['old']
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_failing_run_gives_the_signals_back(config, monkeypatch):
    def fail(content, path):
        assert signal.getsignal(signal.SIGTERM) != before
        raise OSError(28, 'No space left on device')

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(files, '_save', fail)
    with pytest.raises(OSError, match='No space'):
        run_training(config(**{'default_hooks.checkpoint.on_error': 'stop'}))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_a_seed_that_was_drawn_goes_on(config):
    """Without a seed in the config, and with another one."""
    options = {'randomness.seed': None, 'train_cfg.val_interval': 100}
    run_training(config('whole', **options))
    whole = Path(config('whole').work_dir)
    for name, seed in (('none', None), ('other', 5)):
        cfg = config(name, **options | {'randomness.seed': seed})
        cfg.resume, cfg.load_from = True, str(whole / 'iter_2.pth')
        run_training(cfg)
        assert_same_weights(whole / 'iter_4.pth', Path(cfg.work_dir) / 'iter_4.pth')


@pytest.mark.slow
@pytest.mark.parametrize('speed', [{'amp': 'float16'}, {'amp': 'bfloat16', 'lean': True}])
def test_loss_scaler_and_lean_moments_go_on(config, speed):
    """The scale overflows before the stop and after it; lean moments are rounded at random."""

    def build(name: str):
        # Wide enough for parameters whose moments are rounded.
        wide = {'model.discriminator.base_channels': 16} if 'lean' in speed else {}
        cfg = config(name, **{'train_cfg.val_interval': 100}, **wide)
        apply_speed(cfg, **speed)
        for pair in ('generators', 'discriminators') if 'lean' not in speed else ():
            cfg.optim_wrapper[pair].loss_scale = 2.0**40
        return cfg

    run_training(build('whole'))
    whole = Path(config('whole').work_dir)
    cfg = build('parts')
    cfg.resume, cfg.load_from = True, str(whole / 'iter_2.pth')
    run_training(cfg)
    saved = [read_checkpoint(whole / f'iter_{step}.pth') for step in (2, 4)]
    ours = read_checkpoint(Path(cfg.work_dir) / 'iter_4.pth')
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'ugatit'):
        assert_same(saved[1][part], ours[part], part)
    if 'lean' in speed:
        moments = ours['optimizer']['discriminators']['state'].values()
        assert torch.uint8 in {
            v.dtype for each in moments for v in each.values() if torch.is_tensor(v)
        }
    else:
        scales = [each['optimizer']['generators']['loss_scaler']['scale'] for each in saved]
        assert scales == [2.0**38, 2.0**36]


def test_pictures_that_came_or_went_are_reported(config, data_root, tmp_path, capfd):
    run_training(config(**{'train_cfg.max_iters': 2}))
    other = shutil.copytree(data_root, tmp_path / 'other')
    next((other / 'trainA').iterdir()).unlink()
    cfg = config(data_root=str(other), resume=True)
    assert run_training(cfg).train_loop.position == 4
    said = 'len_a was 6 and is 5: training goes on at the same sample, but not as it would have'
    assert said in capfd.readouterr().err


@pytest.mark.slow
def test_other_names_of_the_domains_are_not_resumed(config):
    """Logs, scores and sheets would be of four domains."""
    names = {'domains.A': 'red', 'domains.B': 'blue', 'train_cfg.max_iters': 2}
    run_training(config(**names))
    work = Path(config().work_dir)
    said = 'was trained as red and blue, the config says red and B: give domains.A=red domains.B='
    for entry in ('ugatit', 'meta'):
        with pytest.raises(CheckpointError, match=f'iter_2.pth {said}blue'):
            run_training(config(resume=True, **{'domains.A': 'red'}))
        content = read_checkpoint(work / 'iter_2.pth')
        content[entry].pop('domains', None)  # as in older files: meta has it, too
        files.save(work / 'iter_2.pth', content)
    cfg = config('next', **{'train_cfg.max_iters': 1})  # the way to other names
    cfg.load_from = str(work / 'iter_2.pth')
    assert run_training(cfg).iter == 1


@pytest.mark.slow
def test_under_torchrun_with_restarts_the_work_dir_decides(config, monkeypatch):
    """A restarted rank need not know that: torchrun reports it only to those that failed."""
    run_training(config('weights', **{'train_cfg.max_iters': 2}))
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '1')
    read = []
    for name in ('read_checkpoint', 'read_weights'):  # to go on from, to begin with
        monkeypatch.setattr(
            f'ugatit_mm.engine.runner.{name}',
            lambda path: read.append(Path(path)) or read_checkpoint(path),
        )
    cfg = config()
    cfg.load_from = str(Path(config('weights').work_dir) / 'iter_2.pth')
    assert run_training(copy.deepcopy(cfg)).iter == 4
    assert read == [Path(cfg.load_from)]
    newest = Path(cfg.work_dir) / 'iter_2.pth'
    (Path(cfg.work_dir) / 'iter_4.pth').unlink()
    run_training(copy.deepcopy(cfg))
    assert set(read[1:]) == {newest}
    count = len(read)
    run_test(config(), cfg.load_from)  # the work dir decides on no test
    assert len(read) == count
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '0')
    cfg.restart = True
    run_training(cfg)
    assert read[-1] == Path(cfg.load_from)


def test_a_missed_validation_is_made_up_for(config, monkeypatch):
    seen = []
    monkeypatch.setattr(
        'ugatit_mm.evaluation.TransStats.evaluate', lambda self, size: seen.append(size) or {}
    )
    run_training(config(**{'train_cfg.max_iters': 2}))
    assert len(seen) == 1
    cfg = config(resume=True, **{'train_cfg.max_iters': 3, 'train_cfg.val_interval': 2})
    run_training(copy.deepcopy(cfg))
    assert len(seen) == 2  # at 3, the last
    (Path(cfg.work_dir) / 'last_validation').unlink()  # killed in the validation at 2
    (Path(cfg.work_dir) / 'iter_3.pth').unlink()
    run_training(cfg)  # what last_checkpoint names is gone
    assert len(seen) == 4


def test_a_score_that_was_made_up_for_is_kept(config, monkeypatch):
    """Also where the run is killed again before its next checkpoint."""
    run_training(config(**{'train_cfg.max_iters': 2}))
    work = Path(config().work_dir)
    (work / 'last_validation').unlink()
    cfg = config(**{'default_hooks.checkpoint.save_best': 'A2B/colour'})
    cfg.resume, cfg.default_hooks.checkpoint.rule = True, 'less'

    def die(self, data_batch):
        raise KeyboardInterrupt

    monkeypatch.setattr('ugatit_mm.engine.UGATITTrainLoop.run_iter', die)
    with pytest.raises(KeyboardInterrupt):
        run_training(cfg)
    assert 'best_score' in read_checkpoint(work / 'iter_2.pth')['message_hub']['runtime_info']


@pytest.mark.slow
def test_what_cannot_be_resumed_is_named(config, tmp_path, monkeypatch):
    run_training(config(**{'train_cfg.max_iters': 2}))
    work = Path(config().work_dir)
    good = read_checkpoint(work / 'iter_2.pth')
    path = tmp_path / 'other.pth'
    for broken, message in (
        ({key: value for key, value in good.items() if key != 'optimizer'}, "lacks 'optimizer'"),
        ({'state_dict': good['state_dict']}, "lacks 'meta'"),
        (good | {'optimizer': {'generators': []}}, 'other.pth does not fit this training'),
        (good | {'state_dict': {}}, 'missing'),
        (good | {'ugatit': good['ugatit'] | {'position': -1}}, 'no such place in a training'),
        (good | {'ugatit': good['ugatit'] | {'random': 3}}, 'lacks the random numbers'),
        (good | {'ugatit': 3}, 'other.pth does not fit this training'),
        (good | {'meta': good['meta'] | {'iter': 'two'}}, 'other.pth does not fit this training'),
    ):
        files.save(path, broken)
        cfg = config('second')
        cfg.resume, cfg.load_from = True, str(path)
        with pytest.raises(CheckpointError, match=message) as error:
            run_training(cfg)
        assert 'other.pth' in str(error.value)
    (work / 'iter_2.pth').write_bytes(b'PK')
    cfg = config(resume=True)
    with pytest.raises(CheckpointError, match=r'none of the checkpoints in .* is whole: .*iter_2'):
        run_training(cfg)


def test_weights_only_start_a_training(config, tmp_path):
    run_training(config(**{'train_cfg.max_iters': 2}))
    state = saved_weights(Path(config().work_dir) / 'iter_2.pth')
    slim = {key: value.half() for key, value in state.items() if key.startswith('generators.')}
    files.write_checkpoint(tmp_path / 'slim.safetensors', slim, {})
    cfg = config('next')
    cfg.load_from = str(tmp_path / 'slim.safetensors')
    runner = RUNNERS.build(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.load_or_resume()
    own = runner.model.state_dict()
    assert all(torch.equal(own[key], value.float()) for key, value in slim.items())
    slim.pop(next(iter(slim)))
    files.write_checkpoint(tmp_path / 'slim.safetensors', slim, {})
    with pytest.raises(CheckpointError, match=r'slim\.safetensors: .*1 missing'):
        run_training(cfg)


def test_a_checkpoint_is_read_once(config, tmp_path):
    """By a resume, a test and ``load_model``; the rest of what they read is small."""
    options = {'train_cfg.val_interval': 100, 'default_hooks.checkpoint.interval': 100}
    run_training(config(**options, **{'train_cfg.max_iters': 2}))
    path = Path(config().work_dir) / 'iter_2.pth'
    files.save(path, read_checkpoint(path) | {'more': torch.zeros(8_000_000)})
    size = path.stat().st_size
    assert size > 32_000_000
    cfg = config(resume=True, **options, **{'train_cfg.max_iters': 3})
    for read in (
        lambda: run_training(copy.deepcopy(cfg)),
        lambda: run_test(config(), path),
        lambda: load_model(path, device='cpu'),
    ):
        assert size <= read_bytes(read) <= 1.1 * size
    assert (Path(cfg.work_dir) / 'iter_3.pth').stat().st_size < size
    results = json.loads((Path(cfg.work_dir) / 'results_iter_2.json').read_text())
    assert results['checkpoint']['sha256'] == sha256(path)


def test_arguments_of_mmengines_runner_are_heard_or_refused(config, tmp_path):
    run_training(config(**{'train_cfg.max_iters': 2}))
    path = Path(config().work_dir) / 'iter_2.pth'
    state = saved_weights(path)
    other = tmp_path / 'other.pth'
    files.save(other, {'state_dict': {f'module.net.{key}': state[key] for key in state}})
    cfg = config('next')
    runner = RUNNERS.build(cfg)
    for call in (runner.load_checkpoint, runner.resume):
        with pytest.raises(ValueError, match="map_location must be 'cpu', got 'cuda'"):
            call(str(path), map_location='cuda')
    with pytest.raises(ValueError, match='file_client_args is not supported: give backend_args'):
        runner.save_checkpoint(cfg.work_dir, 'x.pth', {'backend': 'local'})
    with pytest.raises(CheckpointError, match=r'other\.pth: .* missing'):
        runner.load_checkpoint(str(other))
    runner.load_checkpoint(str(other), revise_keys=[(r'^module\.', ''), (r'^net\.', '')])
    assert_same(dict(unwrap(runner.model).state_dict()), dict(state))


def test_parts_that_only_train_may_be_absent(config, tmp_path):
    """Unless all are asked for; a part that is there is there whole."""
    run_training(config(**{'train_cfg.max_iters': 2}))
    state = saved_weights(Path(config().work_dir) / 'iter_2.pth')
    first = next(key for key in state if key.startswith('discriminators.'))
    runner = RUNNERS.build(config('next'))
    model = unwrap(runner.model)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    cases = {
        'slim': {key: state[key] for key in state if key.startswith('generators.')},
        'no_generators': {key: state[key] for key in state if key.startswith('discriminators.')},
        'torn': {key: state[key] for key in state if key != first},
        'broken': state | {first: state[first] * float('nan')},
    }
    for name, weights in cases.items():
        files.save(tmp_path / f'{name}.pth', weights)
    for name, strict, said in (
        ('slim', True, 'missing'),
        ('no_generators', False, 'missing'),
        ('torn', False, f'1 missing .{first}'),
        ('broken', False, f'{first} is not finite'),
    ):
        with pytest.raises(CheckpointError, match=rf'{name}\.pth: .*{said}'):
            runner.load_checkpoint(str(tmp_path / f'{name}.pth'), strict=strict)
        assert_same(dict(model.state_dict()), own)  # all or none
    runner.load_checkpoint(str(tmp_path / 'slim.pth'))
    assert_same(dict(model.state_dict()), own | cases['slim'])


def test_the_log_history_is_bounded(config, monkeypatch):
    monkeypatch.setattr('ugatit_mm.engine.loop.HISTORY', 3)
    runner = run_training(config(**{'log_processor.window_size': 2}))
    histories = runner.message_hub.log_scalars
    assert {len(histories[key].data[0]) for key in histories if 'loss' in key} == {3}
