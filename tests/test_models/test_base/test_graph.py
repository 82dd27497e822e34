"""Captured and replayed steps give the same results as plain steps.

Without a GPU a stand-in builds the graphs: a capture runs the step and restores what it changed, a
replay runs it again with the tensors of the capture, without its work on the host.
"""

import copy
import math
import random
from types import SimpleNamespace

import pytest
import torch
from helpers import BATCH_OF, TINY_OF, assert_same, batch
from mmagic.registry import MODELS
from mmengine import MessageHub
from mmengine.registry import init_default_scope

from ugatit_mm.config import load_config
from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.engine.speed import how_it_runs
from ugatit_mm.models.base import graph
from ugatit_mm.models.base.graph import CudaRecorder, StepGraphs, refusal

STEPS = 12
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
ADAM = dict(type='Adam', lr=1e-3, betas=(0.5, 0.999), fused=True)
TF_ADAM = ADAM | dict(type='TFAdam', of=4, place=2)


def start(name: str = 'ugatit', wrapper: dict | None = None, **options):
    init_default_scope('mmagic')
    cfg = load_config(f'{name}_custom', TINY_OF[name] | options)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(DEVICE)
    model.init_weights()
    model.graphs = None  # plain steps; a test adds graphs to the model that it compares
    cfg = {key: {'optimizer': ADAM, **(wrapper or {})} for key in model.OPTIMIZED}
    return model.train(), UGATITOptimWrapperConstructor(cfg)(model)


def tensors_of(model, optims) -> list[torch.Tensor]:
    """Everything that a step changes."""
    found = [*model.parameters(), *model.buffers()]
    for optim in optims.values():
        found += [v for state in optim.optimizer.state.values() for v in state.values()]
        scaler = getattr(optim, 'loss_scaler', None)
        found += [scaler._scale, scaler._growth_tracker] if scaler and scaler.is_enabled() else []
    return found + [pool._rows for pool in getattr(model, 'pools', {}).values()]


class StandIn:
    """As :class:`CudaRecorder`, on a CPU."""

    kind = 'cpu'
    captures = replays = 0

    def __init__(self, model, optims) -> None:
        self.model, self.optims = model, optims

    def memory(self) -> int:
        return 0

    def warm_up(self, function):
        return function()

    def capture(self, function):
        StandIn.captures += 1
        moved = tensors_of(self.model, self.optims)
        before = [tensor.detach().clone() for tensor in moved]
        result = function()
        with torch.no_grad():
            for tensor, value in zip(moved, before, strict=True):
                tensor.copy_(value)
        groups = [g for optim in self.optims.values() for g in optim.optimizer.param_groups]
        rates = [group['lr'] for group in groups]  # tensors, while it is captured
        assert all(group.get('capturable', True) for group in groups)

        def replay() -> None:
            StandIn.replays += 1
            counts = [optim._inner_count for optim in self.optims.values()]
            for group, rate in zip(groups, rates, strict=True):
                assert rate.item() == pytest.approx(group['lr'])
            result[1].copy_(function()[1])
            for optim, count in zip(self.optims.values(), counts, strict=True):
                optim._inner_count = count

        return result, replay


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    monkeypatch.setattr(StandIn, 'captures', 0)
    monkeypatch.setattr(StandIn, 'replays', 0)


def graphs_for(model, optims) -> StepGraphs:
    if DEVICE == 'cuda':
        return StepGraphs()

    def make(device: torch.device) -> StandIn:
        return StandIn(model, optims)

    make.kind = 'cpu'
    return StepGraphs(make)


def run(model, optims, count: int, first: int = 0, **fields) -> list[dict]:
    logs = []
    for iteration in range(first, first + count):
        MessageHub.get_current_instance().update_info('iter', iteration)
        for optim in optims.values():
            for group in optim.optimizer.param_groups:
                group['lr'] = 1e-3 * (1 - iteration / 100)  # a schedule
        own = BATCH_OF.get(model.NAME, {}) | fields
        log = model.train_step(batch(seed=iteration, pictures=model.PICTURES, **own), optims)
        logs.append((dict(log), log.updates, log.not_finite))
    return logs


def same_runs(one: list, two: list) -> None:
    for (a, *rest), (b, *others) in zip(one, two, strict=True):
        assert a.keys() == b.keys() and rest == others
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=1e-6 if DEVICE == 'cuda' else 0), name


@pytest.mark.parametrize(
    ('name', 'options', 'kinds'),
    [
        ('ugatit', {'model.discriminator_steps': 2}, 2),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ('cyclegan', {}, 1),
                ('aggan', {'model.switch_iters': 6, 'wrapper': {'optimizer': TF_ADAM}}, 2),
                ('ugatit', {'model.recipe': 'pytorch', 'model.generator.light': False}, 1),
                ('ugatit', {'wrapper': {'type': 'AutocastOptimWrapper', 'dtype': 'float16'}}, 1),
                ('cyclegan', {'model.frozen': ['generators.A.encoder', 'discriminators.B']}, 1),
                ('unit', {}, 1),
                ('munit', {'model.loss_config.cycle': 10.0}, 1),
                ('cartoongan', {'model.init_iters': 6}, 2),
                ('drit', {'model.d_iter': 3}, 2),
            )
        ),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                ('ugatit', {'wrapper': {'type': 'AutocastOptimWrapper'}}, 1),
                ('cyclegan', {'model.loss_config.identity': 0.0}, 1),
                ('ugatit', {'model.frozen': ['generators.A', 'discriminators.B']}, 1),
                ('drit', {'model.second_pass': 'together'}, 1),
                ('cartoongan', {'model.init_iters': 6, 'model.frozen': ['discriminators']}, 2),
            )
        ),
    ],
)
def test_replayed_steps_are_those_of_plain_steps(name, options, kinds):
    model, optims = start(name, **options)
    twin, twins_optims = copy.deepcopy((model, optims))
    twin.graphs = graphs_for(twin, twins_optims)

    state = random.getstate()
    torch.manual_seed(0)  # of styles and noise
    plain = run(model, optims, STEPS)
    random.setstate(state)
    torch.manual_seed(0)
    replayed = run(twin, twins_optims, STEPS)
    same_runs(plain, replayed)
    if DEVICE == 'cpu':
        assert_same(model.state_dict(), twin.state_dict())
        assert_same(optims.state_dict(), twins_optims.state_dict())
        assert_same(model.training_state(), twin.training_state())
        assert StandIn.captures == kinds
        assert StandIn.replays >= STEPS - kinds * graph.WARM_UP - (0 if name == 'ugatit' else 2)
    assert twin.graphs.off is None
    assert [o._inner_count for o in optims.values()] == [
        o._inner_count for o in twins_optims.values()
    ]


@pytest.mark.slow
def test_pictures_that_are_not_finite_spoil_one_replay_only():
    model, optims = start()
    model.graphs = graphs_for(model, optims)
    run(model, optims, 6)
    before = copy.deepcopy(model.state_dict())
    bad = batch(seed=7)
    bad['inputs']['img_B'][..., 2, 2] = math.nan
    log = model.train_step(bad, optims)
    assert log.updates == {'discriminators': False} and 'loss_d' in log.not_finite
    assert_same(before, model.state_dict())
    assert run(model, optims, 1, first=8)[0][1] == {'discriminators': True, 'generators': True}


@pytest.mark.slow
def test_what_changes_the_launches_is_captured_again_and_old_graphs_go(monkeypatch):
    model, optims = start()
    model.graphs = graphs_for(model, optims)
    monkeypatch.setattr(graph, 'MOST', 2)
    run(model, optims, 5)
    assert len(model.graphs._captured) == 1
    run(model, optims, 5, first=5, size=48)
    assert len(model.graphs._captured) == 2  # another size
    run(model, optims, 3, first=10)
    assert len(model.graphs._captured) == 2  # the first one is still there
    model.loss_config['cycle'] = 5.0
    run(model, optims, 5, first=13)
    assert len(model.graphs._captured) == 2  # the oldest has gone
    # A resume gives the optimisers other tensors.
    seen = len(model.graphs._seen)
    for optim in optims.values():
        optim.load_state_dict(copy.deepcopy(optim.state_dict()))
    run(model, optims, 1, first=18)
    assert len(model.graphs._seen) == seen + 1


@pytest.mark.slow
def test_validation_in_between_disturbs_nothing():
    model, optims = start()
    twin, twins_optims = copy.deepcopy((model, optims))
    twin.graphs = graphs_for(twin, twins_optims)
    logs = []
    for first in (0, 5, 10):
        same_runs(run(model, optims, 5, first), run(twin, twins_optims, 5, first))
        for each in (model, twin):
            each.eval()
            with torch.no_grad():
                logs.append(each.translation(torch.zeros(1, 3, 32, 32, device=DEVICE)))
            each.train()
    assert torch.allclose(logs[-1], logs[-2], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ugatit', 'cyclegan'])
def test_an_error_in_a_capture_falls_back_with_one_line(monkeypatch, name):
    model, optims = start(name)
    twin, twins_optims = copy.deepcopy((model, optims))
    twin.graphs = graphs_for(twin, twins_optims)
    said = []
    monkeypatch.setattr(graph, 'print_log', lambda text, *_: said.append(text))
    recorder = CudaRecorder if DEVICE == 'cuda' else StandIn

    def refuse(self, function):
        for optim in twins_optims.values():
            optim._inner_count += 5  # as an interrupted step may leave it
        for pool in getattr(twin, 'pools', {}).values():
            pool._undo.append((torch.zeros(1, dtype=torch.int64), torch.zeros_like(pool._rows[:1])))
        raise RuntimeError('operation not permitted when stream is capturing\nmore')

    monkeypatch.setattr(recorder, 'capture', refuse)
    state = random.getstate()
    plain = run(model, optims, 8)
    random.setstate(state)
    same_runs(plain, run(twin, twins_optims, 8))
    assert len(said) == 1 and '\n' not in said[0]
    assert 'cannot be captured (RuntimeError: operation not permitted when' in said[0]
    assert [o._inner_count for o in twins_optims.values()] == [8, 8]
    groups = [g for optim in twins_optims.values() for g in optim.optimizer.param_groups]
    assert all(isinstance(group['lr'], float) and not group['capturable'] for group in groups)


@pytest.mark.parametrize(
    ('wrapper', 'why'),
    [
        ({'accumulative_counts': 2}, 'accumulative_counts is 2'),
        ({'clip_grad': {'max_norm': 1.0}}, 'clip_grad reads its norm'),
        ({'optimizer': {**ADAM, 'fused': False}}, 'optimizer is Adam without fused=True'),
        ({'optimizer': {'type': 'SGD', 'lr': 0.1}}, 'optimizer is SGD'),
        ({}, None),
    ],
)
def test_what_cannot_be_captured_is_said(wrapper, why):
    model, _ = start()
    cfg = {key: {'optimizer': ADAM, **copy.deepcopy(wrapper)} for key in model.OPTIMIZED}
    optims = UGATITOptimWrapperConstructor(cfg)(model)
    said = refusal(model, optims, SimpleNamespace(kind=DEVICE))
    assert said is None if why is None else why in said


def test_compiled_networks_several_ranks_and_a_cpu_are_not_captured(monkeypatch):
    model, optims = start()
    here = SimpleNamespace(kind=DEVICE)
    if DEVICE == 'cpu':
        assert refusal(model, optims) == 'the model is on cpu'
        model.graphs = StepGraphs()
        run(model, optims, 1)
        assert model.graphs.off == 'the model is on cpu'
    monkeypatch.setattr(graph, 'get_world_size', lambda: 2)
    assert refusal(model, optims, here) == 'several ranks train together'
    monkeypatch.undo()
    model.generators['A'].compile()
    assert refusal(model, optims, here) == 'the networks are compiled'


def test_how_a_training_runs_is_one_line(monkeypatch):
    model, optims = start(wrapper={'type': 'AutocastOptimWrapper'})
    assert how_it_runs(model, optims).endswith('steps: launch by launch (model.graph is off)')
    model.graphs = StepGraphs()
    line = how_it_runs(model, optims)
    assert line.startswith('forward passes in bfloat16; kernels: ')
    if DEVICE == 'cpu':
        assert "kernels: torch's (the device is cpu)" in line
        assert line.endswith('steps: launch by launch (the model is on cpu)')
    else:
        assert line.endswith('steps: one CUDA graph')
