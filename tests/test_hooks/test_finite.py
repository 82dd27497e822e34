"""Losses and gradients that are not finite: nothing of the step remains, and it is said why."""

import copy
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from helpers import TINY, batch, in_ranks
from mmengine import MessageHub
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ugatit_mm.config import load_config
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.hooks import FiniteHook, NotFiniteError, finite


def wrappers(model, **fields):
    optimizer = dict(type='Adam', lr=1e-3, betas=(0.5, 0.999))
    cfg = {name: dict(optimizer=optimizer, **fields) for name in ('generators', 'discriminators')}
    return UGATITOptimWrapperConstructor(cfg)(model)


def state(model, optim) -> dict:
    """Everything that a step may change: weights, rho, vectors; moments, step counts, scale."""
    found = {f'model.{name}': value for name, value in model.state_dict().items()}
    for name, wrapper in optim.items():
        saved = wrapper.state_dict()
        for index, values in saved['state'].items():
            found |= {f'{name}.{index}.{key}': value for key, value in values.items()}
        found |= {f'{name}.{k}': v for k, v in saved.get('loss_scaler', {}).items()}
    return {name: copy.deepcopy(value) for name, value in found.items()}


def changed(before: dict, after: dict) -> set[str]:
    """Names of what is not the same to the last bit."""
    assert set(before) == set(after)
    equal = (
        torch.equal(value, after[name]) if torch.is_tensor(value) else value == after[name]
        for name, value in before.items()
    )
    return {name for name, same in zip(before, equal, strict=True) if not same}


def poisoned(data: dict) -> dict:
    data['inputs']['img_A'][..., 3, 3] = math.nan
    return data


@pytest.fixture(autouse=True)
def first_iteration():
    MessageHub.get_current_instance().update_info('iter', 0)


@pytest.fixture(
    params=[
        {},
        pytest.param({'recipe': 'pytorch'}, marks=pytest.mark.slow),
        {'generator': {'light': False}},
    ]
)
def trained(tiny, request):
    """A model and its wrappers after one step, so that the optimisers have a state."""
    model = tiny(**request.param).train()
    optim = wrappers(model)
    log = model.train_step(batch(), optim)
    assert log.updates == {'discriminators': True, 'generators': True}
    return model, optim


def test_a_loss_that_is_not_finite_leaves_everything_as_it_was(trained):
    model, optim = trained
    before, counts = state(model, optim), [w._inner_count for w in optim.values()]
    log = model.train_step(poisoned(batch(seed=1)), optim)
    assert changed(before, state(model, optim)) == set()
    assert all(p.grad is None for p in model.parameters())
    assert log.updates == {'discriminators': False}
    assert {'loss_d', 'loss_gan_d_A', 'loss_gan_d_B'} <= set(log.not_finite)
    assert all(map(math.isfinite, log.values())) and not set(log) & set(log.not_finite)
    assert [w._inner_count for w in optim.values()] == [count + 1 for count in counts]
    # The next step is that of a model which never saw the batch.
    twin, twins_optim = copy.deepcopy((model, optim))
    twin.load_state_dict({n[6:]: v for n, v in before.items() if n.startswith('model.')})
    log = model.train_step(batch(seed=2), optim)
    assert log == twin.train_step(batch(seed=2), twins_optim)
    assert changed(state(model, optim), state(twin, twins_optim)) == set()
    assert len(changed(before, state(model, optim))) > 100
    assert log.not_finite == [] and log.updates == {'discriminators': True, 'generators': True}


def test_only_generators_are_left_out_where_the_discriminators_are_finite(trained):
    model, optim = trained
    twin, twins_optim = copy.deepcopy((model, optim))
    twin.train_step(batch(seed=1), twins_optim)
    before = state(model, optim)
    model.cam_loss.forward = lambda *_: torch.tensor(math.nan)
    log = model.train_step(batch(seed=1), optim)
    assert log.updates == {'discriminators': True, 'generators': False}
    assert log.not_finite == ['loss_cam_A', 'loss_cam_B', 'loss_g'] and 'loss_cycle_A' in log
    moved = changed(before, state(model, optim))
    assert moved and all('discriminators' in name for name in moved)
    assert all('generators' in n for n in changed(state(model, optim), state(twin, twins_optim)))


@pytest.mark.parametrize('value', [math.nan, math.inf, 1e30], ids=str)
@pytest.mark.parametrize('pair', ['discriminators', 'generators'])
def test_a_gradient_that_is_not_finite_after_finite_losses(tiny, pair, value):
    """1e30 is finite, and its square in Adam's second moment is not."""
    model = tiny().train()
    optim = wrappers(model)
    model.train_step(batch(), optim)
    before = state(model, optim)
    last = list(getattr(model, pair).parameters())[-1]
    last.register_hook(lambda gradient: gradient * 0 + value)
    log = model.train_step(batch(seed=1), optim)
    assert log.not_finite == [] and log.updates[pair] is False
    moved = changed(before, state(model, optim))
    assert all('discriminators' in name for name in moved) and bool(moved) == (pair == 'generators')


def test_of_accumulated_batches_one_spoils_the_update_and_nothing_more(tiny):
    model = tiny().train()
    optim = wrappers(model, accumulative_counts=2)
    for seed in (0, 1):
        model.train_step(batch(seed=seed), optim)
    twin, twins_optim = copy.deepcopy((model, optim))
    before = state(model, optim)
    log = model.train_step(poisoned(batch(seed=2)), optim)
    assert log.updates == {} and 'loss_d' in log.not_finite
    log = model.train_step(batch(seed=3), optim)
    assert log.updates == {'discriminators': False} and log.not_finite == []
    assert changed(before, state(model, optim)) == set()
    for seed in (4, 5):
        model.train_step(batch(seed=seed), optim)
        twin.train_step(batch(seed=seed), twins_optim)
    assert changed(state(model, optim), state(twin, twins_optim)) == set()
    assert changed(before, state(model, optim))


@pytest.mark.slow
def test_float16_leaves_overflows_to_the_scaler_and_losses_to_us(tiny):
    def start(scale: float):
        model = tiny().train()
        fields = {'type': 'AutocastOptimWrapper', 'dtype': 'float16', 'loss_scale': scale}
        optim = wrappers(model, **fields)
        model.train_step(batch(), optim)
        return model, optim, state(model, optim)

    model, optim, before = start(64.0)
    log = model.train_step(poisoned(batch(seed=1)), optim)
    assert changed(before, state(model, optim)) == set()  # the scale too
    assert log.updates == {'discriminators': False}

    for scale, after, taken in ((64.0, 32.0, True), (0.5, 0.5, False)):
        model, optim, before = start(scale)
        last = list(model.generators.parameters())[-1]
        last.register_hook(lambda gradient: gradient * math.inf)
        log = model.train_step(batch(seed=1), optim)
        moved = changed(before, state(model, optim))
        assert not any('model.generators' in name for name in moved)
        assert optim['generators'].loss_scaler.get_scale() == after
        assert log.updates == {'discriminators': True, 'generators': taken}


def test_the_hook_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match='patience must be 1 or more'):
        FiniteHook(0)


def outcome(updates: dict, not_finite: tuple = ()) -> SimpleNamespace:
    return SimpleNamespace(
        updates=updates,
        not_finite=list(not_finite),
        pending=not updates,
    )


@pytest.fixture
def runner():
    """A stand-in for the runner whose warnings are kept; and the calls of its hook."""
    said = []
    logger = SimpleNamespace(warning=said.append)
    model = SimpleNamespace(OPTIMIZED=('discriminators', 'generators'))
    runner = SimpleNamespace(logger=logger, said=said, hooks=[], iter=0, model=model)

    def feed(hook: FiniteHook, *outcomes: SimpleNamespace) -> None:
        for log in outcomes:
            sample = SimpleNamespace(metainfo={'img_A_path': f'/d/{runner.iter}.png'})
            hook.after_train_iter(runner, runner.iter, {'data_samples': [sample]}, log)
            runner.iter += 1

    runner.feed = feed
    return runner


TAKEN = {'discriminators': True, 'generators': True}


def test_updates_in_a_row_are_counted_for_each_pair_of_networks(runner):
    """One of the two that is well does not hide the other; a good update resets the count."""
    hook = FiniteHook(patience=3)
    bad = outcome({'discriminators': True, 'generators': False}, ['loss_g'])
    runner.feed(hook, bad, bad, outcome(TAKEN), bad, outcome({'discriminators': True}), bad)
    assert [re.search(r'\((\d) in', said)[1] for said in runner.said] == ['1', '2', '1', '2']
    with pytest.raises(NotFiniteError, match=r'iteration 7: 3 updates of the generators'):
        runner.feed(hook, bad)


def test_files_are_those_of_the_accumulated_batches_that_were_not_finite(runner):
    accumulates, spoilt = outcome({}), outcome({}, ['loss_d', 'loss_gan_d_A'])
    left_out = outcome({'discriminators': False})
    runner.feed(FiniteHook(), outcome(TAKEN), accumulates, spoilt, accumulates, left_out, left_out)
    assert len(runner.said) == 2
    assert "not finite: loss_d, loss_gan_d_A; pictures: '/d/2.png'" in runner.said[0]
    assert "gradient of discriminators; pictures: '/d/5.png'" in runner.said[1]


def test_each_rank_names_its_own_files(runner, monkeypatch):
    names = [f'loss_{number}' for number in range(8)]
    other_rank = [finite.Suspect(names, ['/other/x.png', '/other/y.png'])]
    monkeypatch.setattr(finite, 'all_gather_object', lambda mine: [mine, other_rank])
    runner.feed(FiniteHook(), outcome({'discriminators': False}))
    assert 'rank 0' not in runner.said[0]
    assert "loss_5 and 2 more on rank 1; pictures: '/other/x.png', '/other/y.png'" in runner.said[0]


class Poison(Hook):
    """Makes the pictures of A not finite from an iteration on; notes the files and the state."""

    def __init__(self, start: int, rank: int | None = None) -> None:
        self.start, self.rank = start, rank
        self.files: list[str] = []
        self.state: dict | None = None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.start:
            model = getattr(runner.model, 'module', runner.model)
            self.state = state(model, runner.optim_wrapper)
        if runner.iter >= self.start and self.rank in (None, runner.rank):
            images = data_batch['inputs']['img_A']
            data_batch['inputs']['img_A'] = images.float() * math.nan
            metainfo = data_batch['data_samples'][0].metainfo
            self.files = [metainfo[f'img_{domain}_path'] for domain in 'AB']


def test_a_run_stops_with_the_last_good_state(data_root: Path, tmp_path: Path):
    options = {
        **TINY,
        'data_root': str(data_root),
        'train_cfg.max_iters': 20,
        'default_hooks.checkpoint.interval': 20,
        'work_dir': str(tmp_path / 'work'),
    }
    cfg = load_config('ugatit_custom', options)
    cfg.default_hooks.finite.patience = 3
    runner = Runner.from_cfg(cfg)
    poison = Poison(start=2)
    runner.register_hook(poison)
    with pytest.raises(NotFiniteError) as stopped:
        runner.train()
    message = str(stopped.value)
    saved = tmp_path / 'work' / 'iter_5.pth'
    for words in ('iteration 5', 'lr', '--amp', '--resume', str(saved), 'loss_gan_d_A_global'):
        assert words in message
    assert all(repr(file) in message and Path(file).is_file() for file in poison.files)
    assert changed(poison.state, state(runner.model, runner.optim_wrapper)) == set()
    content = torch.load(saved, weights_only=True)
    assert content['meta']['iter'] == 5
    for name, value in content['state_dict'].items():
        assert torch.equal(value, poison.state[f'model.{name}']), name
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert log.count('update of the discriminators was left out') == 3
    # Means in the log go on; neither they nor the curves hold what is not finite.
    assert re.search(r'\[5/20\].*loss_g: \d', log.replace(' 5/', '5/'))
    assert not re.search(r'\b(nan|inf)\b', log, re.I)
    lines = next((tmp_path / 'work').glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [row for row in map(json.loads, lines) if 'loss_g' in row]
    assert [row['step'] for row in losses] == [1, 2, 3, 4, 5]
    assert all(map(math.isfinite, (value for row in losses for value in row.values())))


def train_and_spoil_rank_1(folder: Path, options: dict) -> None:
    dist.init_process_group('gloo')
    cfg = load_config('ugatit_custom', options)
    cfg.work_dir, cfg.launcher, cfg.model_wrapper_cfg.device_ids = str(folder), 'pytorch', None
    cfg.default_hooks.finite.patience = 2
    runner = Runner.from_cfg(cfg)
    poison = Poison(start=2, rank=1)
    runner.register_hook(poison)
    with pytest.raises(NotFiniteError) as stopped:
        runner.train()
    report = {
        'error': str(stopped.value),
        'changed': sorted(changed(poison.state, state(runner.model.module, runner.optim_wrapper))),
        'files': poison.files,
    }
    (folder / f'rank{dist.get_rank()}.json').write_text(json.dumps(report))


@pytest.mark.slow
def test_all_ranks_leave_out_what_one_of_them_spoils(data_root: Path, tmp_path: Path):
    options = {**TINY, 'data_root': str(data_root), 'train_cfg.max_iters': 9}
    in_ranks(train_and_spoil_rank_1, tmp_path, tmp_path, options)
    first, second = (json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in (0, 1))
    assert first['error'] == second['error'] and 'iteration 4' in first['error']
    assert first['changed'] == second['changed'] == []
    assert 'on rank 1' in first['error'] and 'on rank 0' not in first['error']
    assert not first['files'] and all(repr(file) in first['error'] for file in second['files'])
