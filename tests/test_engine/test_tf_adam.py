"""Adam in TensorFlow's form: its formula, shared powers, what is left out, resuming it."""

import copy

import pytest
import torch
from helpers import assert_same
from mmengine.optim import OptimWrapper
from torch import nn

from ugatit_mm.engine import TFAdam
from ugatit_mm.models.base.update import takes_found_inf

FIELDS = dict(lr=1e-2, betas=(0.5, 0.999), eps=1e-3)


def parameters(count: int = 3) -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(4, i + 1)) for i in range(count)]


def gradients(given: list[nn.Parameter], seed: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    made = [torch.randn(p.shape, generator=rng) for p in given]
    for parameter, gradient in zip(given, made, strict=True):
        parameter.grad = gradient.clone()
    return made


def by_formula(
    weights: list[torch.Tensor], steps: list[list[torch.Tensor]], counts: list[int], decay: float
) -> list[torch.Tensor]:
    beta1, beta2 = FIELDS['betas']
    results = []
    for i, start in enumerate(weights):
        w, m, v = start.double(), 0.0, 0.0
        for grads, t in zip(steps, counts, strict=True):
            g = grads[i].double() + decay * w
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            rate = FIELDS['lr'] * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
            w = w - rate * m / (v**0.5 + FIELDS['eps'])
        results.append(w.float())
    return results


@pytest.mark.parametrize(('of', 'place'), [(1, 1), (4, 1), (4, 3)])
@pytest.mark.parametrize('decay', [0.0, 0.1])
def test_the_formula(of, place, decay):
    ours = parameters()
    start = [p.detach().clone() for p in ours]
    optimizer = TFAdam(ours, **FIELDS, of=of, place=place, weight_decay=decay)
    seen = []
    for step in range(4):
        seen.append(gradients(ours, step))
        optimizer.step()
    wanted = by_formula(start, seen, [place + of * n for n in range(4)], decay)
    for parameter, value in zip(ours, wanted, strict=True):
        torch.testing.assert_close(parameter.detach(), value, atol=1e-6, rtol=1e-5)


def test_without_eps_and_sharing_it_is_torchs():
    ours, theirs = parameters(), parameters()
    fields = FIELDS | {'eps': 1e-30}
    optimizers = TFAdam(ours, **fields), torch.optim.Adam(theirs, **fields, fused=True)
    for step in range(5):
        for given, optimizer in zip((ours, theirs), optimizers, strict=True):
            gradients(given, step)
            optimizer.step()
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_what_has_no_gradient_stays_and_what_comes_later_shares_t():
    ours = parameters()
    start = [p.detach().clone() for p in ours]
    optimizer = TFAdam(ours, **FIELDS, of=4, place=2)
    first = gradients(ours, 0)
    ours[1].grad = None
    optimizer.step()
    assert torch.equal(ours[1], start[1]) and not optimizer.state[ours[1]]
    second = gradients(ours, 1)
    optimizer.step()
    wanted = by_formula(start, [first, second], [2, 6], 0.0)
    torch.testing.assert_close(ours[0].detach(), wanted[0])
    (late,) = by_formula([start[1]], [[second[1]]], [6], 0.0)
    torch.testing.assert_close(ours[1].detach(), late)


def test_found_inf_leaves_everything_as_it_is():
    assert takes_found_inf(TFAdam(parameters(), **FIELDS))
    ours = parameters()
    optimizer = TFAdam(ours, **FIELDS, of=4, place=2)
    gradients(ours, 0)
    optimizer.step()
    before = copy.deepcopy([[p.detach() for p in ours], optimizer.state_dict()['state']])
    gradients(ours, 1)
    ours[0].grad[0] = torch.nan
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    after = [[p.detach() for p in ours], optimizer.state_dict()['state']]
    torch.testing.assert_close(after, before, atol=0, rtol=0)
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    assert not torch.equal(ours[1], before[0][1])


def test_a_scale_of_gradients_is_taken_off():
    results = []
    for scale in (None, 8.0):
        ours = parameters()
        optimizer = TFAdam(ours, **FIELDS)
        gradients(ours, 0)
        if scale:
            for parameter in ours:
                parameter.grad *= scale
            optimizer.grad_scale = torch.tensor(scale)
        optimizer.step()
        results.append([p.detach() for p in ours])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('on_device', [False, True])
def test_resuming_and_a_rate_on_the_device(on_device):
    def rate(value: float) -> float | torch.Tensor:
        return torch.tensor(value) if on_device else value

    ours = parameters()
    optimizer = OptimWrapper(TFAdam(ours, **FIELDS, of=4, place=3))
    twins = None
    for step in range(4):
        if step == 2:
            twins = [nn.Parameter(p.detach().clone()) for p in ours]
            other = OptimWrapper(TFAdam(twins, **FIELDS, of=4, place=3))
            other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for given, each in ((ours, optimizer), (twins, other if twins else None)):
            if given:
                each.optimizer.param_groups[0]['lr'] = rate(1e-2 / (step + 1))
                gradients(given, step)
                each.step()
    for one, two in zip(ours, twins, strict=True):
        assert torch.equal(one, two)
    assert {s['step'].item() for s in other.optimizer.state.values()} == {3 + 4 * 3}


def test_what_has_no_gradient_any_more_shares_t_after_resuming_too():
    ours = parameters()
    optimizer = TFAdam(ours, **FIELDS, of=4, place=3)
    gradients(ours, 0)
    optimizer.step()
    twins = [nn.Parameter(p.detach().clone()) for p in ours]
    other = TFAdam(twins, **FIELDS, of=4, place=3)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for given, each in ((ours, optimizer), (twins, other)):
        gradients(given, 1)
        given[1].grad = None
        each.step()
    assert_same(optimizer.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'place': 5, 'of': 4}, 'optimizer.place must be 1 to optimizer.of=4, got 5'),
        ({'betas': (1.0, 0.9)}, r'optimizer.betas must lie in \[0, 1\)'),
        ({'lr': -1.0}, 'optimizer.lr must be 0 or more, got -1.0'),
        ({'fused': False}, 'leave optimizer.fused=True'),
    ],
)
def test_errors(fields, said):
    with pytest.raises(ValueError, match=said):
        TFAdam(parameters(), **fields)
