"""Averages of the weights that translate: what counts as a step, files, resumes, who uses them."""

import copy
import logging
import math
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import BATCH_OF, assert_same, batch, load_tool, same_weights, tiny_config, write_images
from mmagic.registry import HOOKS, MODELS
from mmengine import MessageHub
from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from ugatit_mm.apis import load_model, run_training
from ugatit_mm.converters import CheckpointError, read_checkpoint
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.engine.averages import take_average
from ugatit_mm.fields import ConfigError
from ugatit_mm.hooks import TranslationEMAHook
from ugatit_mm.models.base import TRANSLATION_MODELS, UnpairedTranslation, unwrap
from ugatit_mm.visualization import translation_sheet

KINDS = {kind.NAME: kind for kind in TRANSLATION_MODELS.values()}


class Stub(nn.Module):
    """A part that translates, with a buffer and weights that are frozen, and one that judges."""

    TRANSLATES = ('generators',)
    OPTIMIZED = {'generators': ('generators',)}

    def __init__(self) -> None:
        super().__init__()
        self.generators = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.discriminators = nn.Linear(2, 1)
        self.generators[1].bias.requires_grad_(False)

    def optimized(self, name: str) -> list[nn.Module]:
        return [self.generators]

    def is_turn(self, name: str, optims: Any) -> bool:
        return True


def hooked(model: nn.Module, optims: Any, **fields: Any) -> tuple[TranslationEMAHook, Any]:
    """A hook that has begun, and the runner that it sees."""
    hook, logger = TranslationEMAHook(**fields), logging.getLogger()
    runner = SimpleNamespace(model=model, optim_wrapper=optims, iter=0, max_iters=50, logger=logger)
    hook.before_train(runner)
    return hook, runner


def stubbed(**fields: Any) -> tuple[Stub, TranslationEMAHook, Any]:
    torch.manual_seed(0)
    model = Stub()
    updates = SimpleNamespace(should_update=lambda: True)
    return model, *hooked(model, {'generators': updates}, **fields)


def move(model: nn.Module, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(torch.randn(parameter.shape, generator=rng))


@pytest.mark.parametrize(
    ('gamma', 'theirs'), [(0, ExponentialMovingAverage), (9, MomentumAnnealingEMA)]
)
def test_it_is_mmengines_average(gamma: int, theirs: type):
    model, hook, runner = stubbed(momentum=0.3, gamma=gamma)
    more = {'gamma': gamma} if gamma else {}
    average = theirs(model, momentum=0.3, **more)
    for runner.iter in range(30):
        move(model, runner.iter)
        hook.after_train_iter(runner, runner.iter)
        average.update_parameters(model)
    with hook.shown():
        assert_same(
            dict(model.generators.state_dict()), dict(average.module.generators.state_dict())
        )


def test_its_warm_up_is_tensorflows():
    """``tf.train.ExponentialMovingAverage(decay, num_updates)``: min(decay, (1 + n) / (10 + n))."""
    model, hook, runner = stubbed(momentum=0.002)
    weight = model.generators[0].weight
    with torch.no_grad():
        weight.fill_(1.0)
    hook.after_train_iter(runner, 0)
    expected = 1.0
    for number in range(20):
        decay = min(1 - 0.002, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * number
        with torch.no_grad():
            weight.fill_(number)
        hook.after_train_iter(runner, number + 1)
    with hook.shown():
        assert weight[0, 0].item() == pytest.approx(expected, rel=1e-6)
    assert weight[0, 0].item() == 19 and hook.steps == 21


def test_iterations_before_the_first_that_counts_are_copied():
    model, hook, runner = stubbed(momentum=0.5, gamma=0, begin_iter=3)
    values = []
    for runner.iter in range(4):
        move(model, runner.iter)
        hook.after_train_iter(runner, runner.iter)
        values.append(model.generators[0].weight.detach().clone())
        with hook.shown():
            found = model.generators[0].weight.detach().clone()
        expected = values[-1] if runner.iter < 3 else (values[-2] + values[-1]) / 2
        torch.testing.assert_close(found, expected)
    assert hook.steps == 2


def test_what_is_frozen_and_what_judges_has_no_average():
    model, hook, runner = stubbed(momentum=0.5)
    for runner.iter in range(3):
        move(model, runner.iter)
        hook.after_train_iter(runner, runner.iter)
    before = copy.deepcopy(model.state_dict())
    with hook.shown():
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    names = {'generators.0.weight', 'generators.0.bias', 'generators.1.weight'}
    assert moved == names == set(hook.averaged(model))
    assert_same(before, model.state_dict())


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'momentum': 2}, r'momentum must lie between 0 and 1, got 2 \(None is off\)'),
        ({'momentum': 0}, 'momentum must lie between 0 and 1, got 0'),
        ({'momentum': math.nan}, 'momentum must lie between 0 and 1, got nan'),
        ({'gamma': -1}, 'gamma must be 0 or more, got -1'),
        ({'begin_iter': -1}, 'begin_iter must be 0 or more, got -1'),
    ],
)
def test_what_is_out_of_range_is_refused(fields: dict, said: str):
    with pytest.raises(ValueError, match=said):
        TranslationEMAHook(**fields)


# ----------------------------------------------------------------------- what counts as a step


def counted(name: str, iterations: int, poison: int = -1, accumulate: int = 1, **fields: Any):
    """Steps after each iteration of a tiny model, the hook and the model."""
    init_default_scope('mmagic')
    cfg = tiny_config('data', Path('work'), name, **fields)
    torch.manual_seed(0)
    model: UnpairedTranslation = MODELS.build(cfg.model).train()
    adam = dict(type='Adam', lr=1e-3, fused=True)
    wrapper = dict(optimizer=adam, accumulative_counts=accumulate)
    optims = UGATITOptimWrapperConstructor(dict.fromkeys(model.OPTIMIZED, wrapper))(model)
    hook, runner = hooked(model, optims, momentum=0.5, gamma=0)
    steps, states = [], []
    for runner.iter in range(iterations):
        MessageHub.get_current_instance().update_info('iter', runner.iter)
        pictures = KINDS[name].PICTURES
        data = batch(seed=runner.iter, pictures=pictures, **BATCH_OF.get(name, {}))
        if runner.iter == poison:
            data['inputs']['img_A'][..., 3, 3] = math.nan
        model.train_step(data, optims)
        hook.after_train_iter(runner, runner.iter)
        steps.append(hook.steps)
        states.append({k: v.detach().clone() for k, v in hook.averaged(model).items()})
    return steps, states, hook, model


@pytest.mark.parametrize(
    ('name', 'fields', 'steps'),
    [
        ('cyclegan', {'accumulate': 2}, [0, 1, 1, 2]),
        ('cyclegan', {'model.disc_init_steps': 1, 'model.discriminator_steps': 2}, [0, 1, 1, 2]),
        ('cartoongan', {'model.init_iters': 2}, [1, 2, 3]),  # the first phase trains the generator
        ('drit', {'model.d_iter': 3}, [0, 0, 1, 1]),  # its content discriminator in between
        pytest.param('aggan', {}, [1, 2, 3, 4], marks=pytest.mark.slow),  # the second phase from 3
    ],
)
def test_steps_are_updates_of_what_is_averaged(name: str, fields: dict, steps: list[int]):
    assert counted(name, len(steps), **fields)[0] == steps


def test_an_update_that_is_left_out_counts():
    """The average moves to the weights, which have not changed."""
    steps, (first, _, third, fourth), hook, model = counted('cyclegan', 4, poison=2)
    assert steps == [1, 2, 3, 4]
    with hook.shown():
        found = {k: v.detach().clone() for k, v in hook.averaged(model).items()}
    for key, value in found.items():
        second = third[key]  # not moved
        expected = ((first[key] + second) / 2 + second) / 4 + fourth[key] / 2
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)


# ----------------------------------------------------------------------------------- trainings

EMA = {'default_hooks.ema.momentum': 0.3}


@HOOKS.register_module()
class Seen(Hook):
    """Which weights the model has when a validation runs."""

    weights: ClassVar[list[dict]] = []

    def after_val_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        self.weights.append(translating(unwrap(runner.model).state_dict()))


def translating(state: dict) -> dict:
    return {key: value.clone() for key, value in state.items() if key.startswith('generators.')}


def trains(file: dict) -> dict:
    """The weights that training goes on with."""
    return {key: file['ema_state_dict'][f'module.{key}'] for key in translating(file['state_dict'])}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A training of CycleGAN by name: plain, or one with averages."""
    folder, done = tmp_path_factory.mktemp('ema'), {}
    write_images(folder / 'data')

    def config(work: str, resume: str | None = None, **options: Any):
        cfg = tiny_config(folder / 'data', folder / work, 'cyclegan', **options)
        if resume is not None:
            (folder / work).mkdir()
            shutil.copy(folder / resume / 'iter_2.pth', folder / work)
            cfg.resume = True
        return cfg

    def run(work: str, resume: str | None = None, **options: Any) -> dict:
        if work not in done:
            run_training(config(work, resume, **options))
            done[work] = folder / work
        return read_checkpoint(done[work] / 'iter_4.pth')

    run.config, run.folder = config, folder
    return run


@pytest.mark.slow
def test_a_file_has_the_average_and_what_learns(runs, data_root, tmp_path: Path):
    """A plain training has the same weights; everything that reads files takes the average."""
    plain, both = runs('plain'), runs('both', **EMA)
    assert_same(trains(both), translating(plain['state_dict']))
    assert not same_weights(translating(both['state_dict']), translating(plain['state_dict']))
    assert_same(both['optimizer'], plain['optimizer'])
    for key, value in both['state_dict'].items():
        assert key.startswith('generators.') or torch.equal(value, plain['state_dict'][key]), key
    assert 'ema_state_dict' not in plain and both['ema_state_dict']['steps'] == 4
    file = runs.folder / 'both' / 'iter_4.pth'
    model, _ = load_model(file, device='cpu')
    assert_same(dict(model.state_dict()), dict(both['state_dict']))
    publish = load_tool('model_converters/publish_model')
    assert publish.main([str(file), str(tmp_path / 'slim.pth'), '--generator-only']) == 0
    slim = read_checkpoint(tmp_path / 'slim.pth')
    assert slim.keys() == {'state_dict', 'meta'}
    assert same_weights(slim['state_dict'], translating(both['state_dict']))
    # A training that begins with them, by file and by part.
    for options in ({'load_from': str(file)}, {'load_from.generators.A': str(file)}):
        cfg = tiny_config(data_root, tmp_path / 'work', 'cyclegan', **options)
        cfg.restart, cfg.train_cfg.max_iters = True, 1
        for wrapper in ('generators', 'discriminators'):
            cfg.optim_wrapper[wrapper].optimizer.lr = 0.0
        run_training(cfg)
        found = read_checkpoint(tmp_path / 'work' / 'iter_1.pth')['state_dict']
        for key, value in found.items():
            if key.startswith('generators.A.'):
                assert torch.equal(value, both['state_dict'][key])


@pytest.mark.slow
def test_validation_sheets_and_interrupted_files_are_of_the_average(
    runs, data_root, tmp_path: Path, monkeypatch
):
    in_sheets = []

    def sheet(model: nn.Module, *words: Any) -> np.ndarray:
        in_sheets.append(translating(model.state_dict()))
        return translation_sheet(model, *words)

    monkeypatch.setattr('ugatit_mm.hooks.sheets.translation_sheet', sheet)
    cfg = tiny_config(data_root, tmp_path, 'cyclegan', **EMA)
    cfg.default_hooks.checkpoint.update(save_best='A2B/colour', rule='less')
    cfg.custom_hooks = [dict(type='Seen')]
    Seen.weights.clear()
    run_training(cfg)
    file = read_checkpoint(tmp_path / 'iter_4.pth')
    best = next(tmp_path.glob('best_*.pth'))
    of_best = read_checkpoint(best)
    assert_same(Seen.weights[-1], translating(file['state_dict']))
    assert_same(in_sheets[-1], translating(file['state_dict']))
    number = best.stem.rpartition('_')[2]
    same = read_checkpoint(tmp_path / f'iter_{number}.pth')
    for key in ('state_dict', 'ema_state_dict'):
        assert_same(of_best[key], same[key])


@HOOKS.register_module()
class CtrlC(Hook):
    """Ctrl-C in the validation after iteration 2."""

    def before_val_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        if runner.iter == 2:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_in_a_validation_saves_both(runs):
    whole = runs('both', **EMA)
    cfg = runs.config('interrupted', **EMA)
    cfg.custom_hooks = [dict(type='CtrlC')]
    cfg.default_hooks.checkpoint.interval = 100
    with pytest.raises(KeyboardInterrupt):
        run_training(cfg)
    one, two = (read_checkpoint(runs.folder / f / 'iter_2.pth') for f in ('both', 'interrupted'))
    for key in ('state_dict', 'ema_state_dict'):
        assert_same(one[key], two[key])
    end = runs('gone_on', resume='interrupted', **EMA)
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(end[key], whole[key])


@pytest.mark.slow
def test_switched_on_and_off_on_the_way(runs, capfd):
    """What learns goes on to the bit, and the log says what changed."""
    plain, both = runs('plain'), runs('both', **EMA)
    capfd.readouterr()
    off = runs('off', resume='both')
    said = capfd.readouterr().err
    assert 'default_hooks.ema.momentum was 0.3 and is None' in said
    assert 'training goes on with the training weights' in said
    for key in ('state_dict', 'optimizer'):
        assert_same(off[key], plain[key])
    assert 'ema_state_dict' not in off
    on = runs('on', resume='plain', **EMA)
    said = capfd.readouterr().err
    assert 'default_hooks.ema.momentum was None and is 0.3' in said
    assert 'the average begins here' in said
    assert_same(trains(on), translating(plain['state_dict']))
    assert on['ema_state_dict']['steps'] == 2
    other = runs('other', resume='both', **{'default_hooks.ema.momentum': 0.4})
    assert 'default_hooks.ema.momentum was 0.3 and is 0.4' in capfd.readouterr().err
    assert_same(trains(other), trains(both))


@pytest.mark.slow
def test_files_of_mmengines_hook(runs, capfd):
    """Its averages are taken, and it still takes its own."""
    plain = runs('plain')
    theirs = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.3)

    def with_theirs(work: str, resume: str | None = None) -> dict:
        cfg = runs.config(work, resume)
        cfg.custom_hooks = [theirs]
        run_training(cfg)
        return read_checkpoint(runs.folder / work / 'iter_4.pth')

    whole = with_theirs('theirs')
    assert_same(trains(whole), translating(plain['state_dict']))
    model, _ = load_model(runs.folder / 'theirs' / 'iter_4.pth', device='cpu')
    assert_same(dict(model.state_dict()), dict(whole['state_dict']))
    again = with_theirs('theirs_again', resume='theirs')
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(again[key], whole[key])
    capfd.readouterr()
    ours = runs('ours', resume='theirs', **EMA | {'default_hooks.ema.gamma': 0})
    assert_same(trains(ours), translating(plain['state_dict']))
    for key, value in translating(whole['state_dict']).items():
        torch.testing.assert_close(ours['state_dict'][key], value, atol=1e-7, rtol=1e-6)
    off = runs('theirs_off', resume='theirs')
    assert_same(off['state_dict'], plain['state_dict'])
    assert 'custom_hooks.0.momentum was 0.3 and is None' in capfd.readouterr().err


def of_stub() -> tuple[TranslationEMAHook, Any, dict]:
    """A hook, its runner, and a file with averages that fits them."""
    model, hook, runner = stubbed(momentum=0.5)
    file = {'state_dict': model.state_dict()}
    hook.before_save_checkpoint(runner, file)
    return hook, runner, file


def test_a_file_gives_back_what_it_was_given():
    hook, runner, _ = of_stub()
    for runner.iter in range(3):
        move(runner.model, runner.iter)
        hook.after_train_iter(runner, runner.iter)
    in_training = {'state_dict': runner.model.state_dict()}
    before = copy.deepcopy(in_training['state_dict'])
    hook.before_save_checkpoint(runner, in_training)
    in_training = copy.deepcopy(in_training)
    with hook.shown():  # in a validation that is interrupted
        shown = copy.deepcopy(runner.model.state_dict())
        in_validation = {'state_dict': runner.model.state_dict()}
        hook.before_save_checkpoint(runner, in_validation)
        assert_same(in_validation, in_training)
        in_validation = copy.deepcopy(in_validation)
    assert_same(in_validation['state_dict'], shown)
    average = take_average(in_validation)
    assert_same(dict(in_validation['state_dict']), dict(before))
    other, its = stubbed(momentum=0.5)[1:]
    its.model.load_state_dict(before)
    other.after_resume(its, average)
    for each, seen in ((hook, runner), (other, its)):
        move(seen.model, 3)
        each.after_train_iter(seen, 3)
    with hook.shown(), other.shown():
        assert_same(dict(runner.model.state_dict()), dict(its.model.state_dict()))
    assert other.steps == hook.steps == 4


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda file: file.update(ema_state_dict=[1]), 'ema_state_dict must hold weights by name'),
        (lambda file: file['ema_state_dict'].update({'module.x': torch.ones(1)}), 'lacks: x'),
        (lambda file: file['ema_state_dict'].update(steps=-1), 'must be a number of steps, got -1'),
        (lambda file: file['ema_state_dict'].update(steps=torch.tensor(math.inf)), 'got tensor'),
        (lambda file: file['ema_state_dict'].pop('steps'), 'steps must be a number of steps'),
        (lambda file: spoil(file['state_dict'], lambda _: torch.ones(2)), 'of another shape'),
        (lambda file: spoil(file['state_dict'], lambda v: v * math.nan), 'is not finite'),
        (lambda file: spoil(file['state_dict'], lambda _: 'text'), 'is not a weight'),
    ],
)
def test_averages_that_are_none_are_refused(change, said: str):
    hook, runner, file = of_stub()
    change(file)
    with pytest.raises(ValueError, match=said):
        hook.after_resume(runner, take_average(file))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('part', 'said'),
    [
        ('state_dict', 'does not fit this training: generators.A'),
        ('ema_state_dict', 'generators.A.* is not finite'),
    ],
)
def test_a_resume_looks_at_both_kinds_of_weights(part: str, said: str, runs, tmp_path: Path):
    """The line names the file."""
    runs('both', **EMA)
    file = read_checkpoint(runs.folder / 'both' / 'iter_2.pth')
    spoil(file[part], lambda value: value * math.nan)
    torch.save(file, tmp_path / 'iter_2.pth')
    cfg = runs.config('refused', **EMA)
    cfg.work_dir, cfg.resume = str(tmp_path), True
    with pytest.raises(CheckpointError, match=said) as caught:
        run_training(cfg)
    assert str(caught.value).startswith(str(tmp_path / 'iter_2.pth'))
    assert '\n' not in str(caught.value)


def spoil(weights: dict, change: Any) -> None:
    key = next(key for key in weights if 'generators.' in key)
    weights[key] = change(weights[key])


@pytest.mark.slow
def test_a_begin_beyond_the_end_is_refused(data_root, tmp_path: Path):
    options = EMA | {'default_hooks.ema.begin_iter': 5}
    said = 'default_hooks.ema: begin_iter must be 4 or less, the iterations of the training, got 5'
    with pytest.raises(ConfigError, match=said):
        run_training(tiny_config(data_root, tmp_path, 'cyclegan', **options))
