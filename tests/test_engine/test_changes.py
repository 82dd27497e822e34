"""A resume with changed settings: the config's new values count, and the log says what changed."""

import copy
from pathlib import Path

import pytest
import torch
from helpers import assert_same, tiny_config
from mmagic.registry import PARAM_SCHEDULERS
from mmengine.optim import OptimWrapper

from ugatit_mm.apis import run_training
from ugatit_mm.apis.arguments import apply_speed
from ugatit_mm.converters import CheckpointError, read_checkpoint
from ugatit_mm.engine.changes import go_on
from ugatit_mm.engine.runner import plain_schedule

ADAM = {'lr': 1e-4, 'betas': (0.5, 0.999), 'weight_decay': 1e-4}
DECAY = {'type': 'LinearDecayLR', 'end': 40}
STEPS = {'type': 'MultiStepLR', 'milestones': [5, 15], 'gamma': 0.5, 'by_epoch': False}
COSINE = {'type': 'CosineAnnealingLR', 'T_max': 40, 'eta_min': 1e-6, 'by_epoch': False}
WARM_UP = {'type': 'LinearLR', 'start_factor': 0.1, 'end': 10, 'by_epoch': False}
MOMENTUM = {'type': 'LinearMomentum', 'start_factor': 0.5, 'end': 30, 'by_epoch': False}


class Training:
    """An optimiser of two groups, and schedules."""

    def __init__(self, schedules: list[dict], steps: int = 0, **fields) -> None:
        groups = [
            {'params': [torch.ones(3, requires_grad=True)]},
            {'params': [torch.ones(2, requires_grad=True)], 'weight_decay': 0.0},
        ]
        self.wrapper = OptimWrapper(torch.optim.Adam(groups, **{**ADAM, **fields}))
        self.schedules = [
            PARAM_SCHEDULERS.build({**copy.deepcopy(schedule), 'optimizer': self.wrapper})
            for schedule in schedules
        ]
        self.settings: list[list[dict]] = []
        self.go(steps)

    def go(self, steps: int) -> None:
        for _ in range(steps):
            for group in self.wrapper.param_groups:
                for parameter in group['params']:
                    parameter.grad = torch.ones_like(parameter)
            self.wrapper.step()
            for schedule in self.schedules:
                schedule.step()
            self.settings.append(self.now())

    def now(self) -> list[dict]:
        return [
            {key: group[key] for key in ('lr', 'betas', 'eps', 'weight_decay')}
            for group in self.wrapper.param_groups
        ]

    def state(self) -> tuple[dict, list[dict]]:
        return copy.deepcopy(
            (
                self.wrapper.state_dict(),
                [plain_schedule(each.state_dict()) for each in self.schedules],  # as saved
            )
        )

    def resume(self, of: 'Training', steps: int) -> list[str]:
        state, saved = of.state()
        return go_on('generators', self.wrapper, state, self.schedules, saved, steps)


@pytest.mark.parametrize(
    'schedules',
    [[], [DECAY], [STEPS], [COSINE], [WARM_UP, STEPS], [DECAY, MOMENTUM]],
    ids=lambda schedules: '+'.join(each['type'] for each in schedules),
)
@pytest.mark.parametrize('steps', [1, 20, 40])
def test_the_same_settings_go_on_to_the_bit_and_others_count(schedules, steps):
    of = Training(schedules, steps)
    same = Training(schedules)
    assert same.resume(of, steps) == []  # progress is not a change
    assert_same(same.state(), of.state())

    other = {'lr': 5e-5, 'weight_decay': 2e-4, 'eps': 1e-7}
    whole, changed = Training(schedules, 45, **other), Training(schedules, **other)
    lines = changed.resume(of, steps)
    field = 'optim_wrapper.generators.optimizer'
    assert {line for line in lines if 'goes on' not in line} == {
        f'{field}.lr was 0.0001 and is 5e-05',
        f'{field}.weight_decay was 0.0001 and is 0.0002',
        f'{field}.eps was 1e-08 and is 1e-07',
    }
    assert changed.now() == whole.settings[steps - 1]
    state = of.state()[0]['state']
    assert_same(changed.state()[0]['state'], state)  # the moments go on
    changed.go(45 - steps)
    assert changed.settings == whole.settings[steps:]


@pytest.mark.parametrize(
    ('before', 'now', 'said'),
    [
        ([DECAY], [DECAY | {'end': 60}], 'param_scheduler.end was 40 and is 60'),
        ([DECAY], [DECAY | {'end': 30}], 'param_scheduler.end was 40 and is 30'),
        ([DECAY], [DECAY | {'constant': 0.25}], 'param_scheduler.constant was 0.5 and is 0.25'),
        ([STEPS], [STEPS | {'gamma': 0.1}], 'param_scheduler.gamma was 0.5 and is 0.1'),
        ([DECAY], [STEPS], 'param_scheduler has changed: MultiStepLR'),
        ([DECAY], [WARM_UP, DECAY], 'param_scheduler: there were 1 schedules, now 2'),
        ([], [STEPS], 'param_scheduler: there were 0 schedules, now 1'),
        ([STEPS], [], 'param_scheduler: there were 1 schedules, now 0'),
    ],
)
@pytest.mark.parametrize('steps', [10, 25, 40])
def test_another_schedule_counts_as_if_it_had_been_there(before, now, said, steps):
    """Also of a training that had ended; MMEngine would stay at the last rate."""
    of, whole, changed = Training(before, steps), Training(now, 60), Training(now)
    lines = changed.resume(of, steps)
    assert lines[0] == f'{said} (generators)'
    assert changed.now() == whole.settings[steps - 1]
    changed.go(60 - steps)
    assert changed.settings == whole.settings[steps:]


def test_a_schedule_that_goes_by_metrics_keeps_what_it_has_done():
    plateau = {'type': 'ReduceOnPlateauLR', 'monitor': 'kid', 'patience': 0, 'factor': 0.1}
    of = Training([plateau])
    for _ in range(3):
        of.schedules[0].step({'kid': 1.0})
    assert of.now()[0]['lr'] == pytest.approx(1e-6)
    changed = Training([plateau | {'factor': 0.5}], lr=5e-5)
    changed.resume(of, 3)
    assert changed.now()[0]['lr'] == pytest.approx(5e-7)
    assert (changed.schedules[0].best, changed.schedules[0].factor) == (1.0, 0.5)


def test_what_the_state_lacks_is_an_error():
    with pytest.raises(ValueError, match=r'generators\.optimizer\.amsgrad was off'):
        Training([DECAY], amsgrad=True).resume(Training([DECAY], 2), 2)
    one = Training([DECAY])
    one.wrapper.optimizer.param_groups.pop()
    with pytest.raises(ValueError, match='has 1 groups of parameters, it had 2'):
        one.resume(Training([DECAY], 2), 2)
    with pytest.raises(ValueError, match='has 2 groups of parameters, it had 1'):
        Training([DECAY]).resume(one, 2)


# ------------------------------------------------------------------------- a training


@pytest.fixture
def config(data_root: Path, tmp_path: Path):
    def build(iterations: int, **options):
        options = {
            'train_cfg.max_iters': iterations,
            'train_cfg.val_interval': 100,
            'param_scheduler.end': 8,
        } | options
        return tiny_config(data_root, tmp_path / 'work', **options)

    return build


def test_resume_with_another_learning_rate(config, tmp_path, capfd):
    run_training(config(2))
    capfd.readouterr()
    rate = {
        'optim_wrapper.generators.optimizer.lr': 5e-5,
        'optim_wrapper.discriminators.optimizer.betas': (0.6, 0.99),
        'optim_wrapper.weight_decay_scope': 'all',
        'optim_wrapper.generators.clip_grad': {'max_norm': 0.5},
        'model.loss_config.cycle': 5.0,
        'load_size': 40,
        'model.graph': False,  # changes no step
    }
    cfg = config(4, **rate)
    apply_speed(cfg, amp='bfloat16')
    cfg.resume = True
    run_training(cfg)
    said = capfd.readouterr().err
    field = 'optim_wrapper.{}.optimizer'.format
    for line in (
        f'{field("generators")}.lr was 0.0001 and is 5e-05',
        f'{field("discriminators")}.betas was (0.5, 0.999) and is (0.6, 0.99)',
        'generators: forward passes were in float32 and are in bfloat16',
        'optim_wrapper.weight_decay_scope has changed',
        'optim_wrapper.generators.clip_grad.max_norm was None and is 0.5',
        'model.loss_config.cycle was 10.0 and is 5.0',
        'train_dataloader.dataset.pipeline.0.scale was (36, 36) and is (40, 40)',
    ):
        assert line in said, line
    assert f'{field("discriminators")}.lr' not in said
    assert 'graph was' not in said and 'scope was' not in said
    before, after = (read_checkpoint(tmp_path / 'work' / f'iter_{n}.pth') for n in (2, 4))
    for name, lr, betas in (
        ('generators', 5e-5, (0.5, 0.999)),
        ('discriminators', 1e-4, (0.6, 0.99)),
    ):
        kernels, rest = before['optimizer'][name]['param_groups']
        (group,) = after['optimizer'][name]['param_groups']
        assert (group['lr'], group['initial_lr'], tuple(group['betas'])) == (lr, lr, betas)
        assert len(group['params']) == len(kernels['params']) + len(rest['params'])
        states = after['optimizer'][name]['state'].values()
        assert {int(state['step']) for state in states} == {4}  # each parameter has its own
    assert after['param_schedulers']['generators'][0]['base_values'] == [5e-5]


@pytest.mark.slow
def test_resume_with_another_optimizer_is_refused(config):
    run_training(config(2))
    for lean, said in (
        (True, 'was Adam and is LeanAdam'),
        (False, 'was Adam and is SGD'),
    ):
        cfg = config(4)
        cfg.resume = True
        if lean:
            apply_speed(cfg, lean=True)
        else:
            cfg.optim_wrapper.generators.optimizer = dict(type='SGD', lr=1e-4)
        with pytest.raises(CheckpointError, match=rf'iter_2\.pth does not fit .*{said}'):
            run_training(cfg)
