"""The learning rate of the paper and of both programs."""

import pytest
import torch
from mmengine.config import Config

from ugatit_mm.engine import LinearDecayLR, length_options


def rates(total: int, **fields) -> list[float]:
    """The rate of every iteration."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    schedule = LinearDecayLR(optimizer, end=total, **fields)
    seen = []
    for _ in range(total):
        seen.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    return seen


def test_constant_then_linear_to_zero():
    seen = rates(1000)
    assert seen[:501] == [1e-4] * 501
    for i in range(500, 1000):
        assert seen[i] == pytest.approx(1e-4 * (1000 - i) / 500)
    assert seen[-1] == pytest.approx(1e-4 / 500)


def test_steps_of_the_tensorflow_program():
    """100 epochs; here of 10 instead of 10,000 iterations: lr * (100 - epoch) / 50 from 50 on."""
    seen = rates(1000, interval=10)
    for i, rate in enumerate(seen):
        epoch = i // 10
        assert rate == pytest.approx(1e-4 if epoch < 50 else 1e-4 * (100 - epoch) / 50)
    assert seen[-1] == pytest.approx(1e-4 / 50)


@pytest.mark.parametrize('total', [150, 400, 30])
def test_a_short_run_has_the_rates_of_a_long_one(total):
    """Of an epoch of 1334 iterations it would never see the second, and keep its rate."""
    seen = rates(total, constant=0.495, interval=1334)
    step = max(1, total // 100)
    for i, rate in enumerate(seen):
        at = step * (i // step)
        assert rate == pytest.approx(1e-4 * min(1, (total - at) / (total * 0.505)))
    assert seen[-1] < 4e-6 * max(1, 100 / total)
    whole = rates(2000, constant=0.495, interval=10)  # 200 epochs: as it says
    assert whole[1990] == whole[1999] != whole[1989]


def test_constant_share():
    seen = rates(100, constant=0.9)
    assert seen[90] == pytest.approx(1e-4) and seen[95] == pytest.approx(0.5e-4)


def test_state_goes_on_where_it_stopped():
    whole = rates(40)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    schedule = LinearDecayLR(optimizer, end=40)
    for _ in range(30):
        optimizer.step()
        schedule.step()
    state, groups = schedule.state_dict(), optimizer.state_dict()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    schedule = LinearDecayLR(optimizer, end=40)
    schedule.load_state_dict(state)
    optimizer.load_state_dict(groups)
    for i in range(30, 40):
        assert optimizer.param_groups[0]['lr'] == pytest.approx(whole[i])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'constant': 1.0}, 'constant must lie in'),
        ({'interval': 0}, 'interval must be 1 or more'),
        ({'by_epoch': True}, 'set param_scheduler.by_epoch=False'),
    ],
)
def test_errors(fields, said):
    with pytest.raises(ValueError, match=said):
        rates(10, **fields)


def test_what_counts_iterations_follows_a_training_of_another_length():
    cfg = Config(
        {
            'train_cfg': {'max_iters': 11_000},
            'model': {'init_iters': 1_000, 'switch_iters': 0, 'pool_size': 50},
            'param_scheduler': {
                'type': 'MultiStepLR',
                'by_epoch': False,
                'milestones': [6_000, 8_500],
                'gamma': 0.1,
            },
        }
    )
    expected = {'train_cfg.max_iters': 1_100, 'model.init_iters': 100}
    assert length_options(cfg, 1_100) == expected | {'param_scheduler.milestones': [600, 850]}
    cfg.param_scheduler = [
        {'type': 'StepLR', 'by_epoch': False, 'step_size': 2_000},
        {'type': 'StepLR', 'by_epoch': True, 'step_size': 3},
    ]
    assert length_options(cfg, 1_100) == expected | {'param_scheduler.0.step_size': 200}
    assert length_options(cfg, 1)['param_scheduler.0.step_size'] == 1
    # Where a training stops before its decay ends, the share stays.
    cfg.param_scheduler = {'type': 'LinearDecayLR', 'by_epoch': False, 'end': 13_200, 'begin': 0}
    assert length_options(cfg, 1_100) == expected | {'param_scheduler.end': 1_320}
