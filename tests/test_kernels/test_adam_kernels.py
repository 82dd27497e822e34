"""The 8-bit update by one kernel against the plain formula."""

import copy

import pytest
import torch
from counting import Count
from torch import nn

from ugatit_mm.engine.lean_adam import LeanAdam
from ugatit_mm.kernels import adam
from ugatit_mm.kernels.adam import BLOCK, ROW
from ugatit_mm.kernels.support import SWITCH

# Each kernel is compared with its formula in the fast tier, too: test_first_use.py.
pytestmark = pytest.mark.slow

FIELDS = dict(lr=1e-2, betas=(0.5, 0.999), weight_decay=1e-2)
COUNTS = (3, ROW + BLOCK, ROW + BLOCK + 7)  # float32 moments, and each kind of remainder


def pair(device: torch.device, counts: tuple[int, ...] = COUNTS) -> list[LeanAdam]:
    torch.manual_seed(0)
    weights = [torch.randn(count, device=device) for count in counts]
    return [LeanAdam([nn.Parameter(w.clone()) for w in weights], **FIELDS) for _ in range(2)]


def step_both(optimizers: list[LeanAdam], monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The first with kernels, the second with the plain formula, on the same gradients."""
    for switch, optimizer in zip('10', optimizers, strict=True):
        rng = torch.Generator().manual_seed(seed)
        scale = getattr(optimizer, 'grad_scale', 1)
        for parameter in optimizer.param_groups[0]['params']:
            sizes = 10 ** (3 * torch.rand(parameter.shape, generator=rng) - 2)
            gradient = torch.randn(parameter.shape, generator=rng) * sizes
            parameter.grad = gradient.to(parameter.device) * scale
        monkeypatch.setenv(SWITCH, switch)
        optimizer.step()


def assert_close(optimizers: list[LeanAdam]) -> None:
    """Weights up to rounding; few codes are neighbours."""
    parameters = [o.param_groups[0]['params'] for o in optimizers]
    for ours, plain in zip(*parameters, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-6, atol=0)
        states = [o.state[p] for o, p in zip(optimizers, (ours, plain), strict=True)]
        for name, value in states[1].items():
            mine = states[0][name]
            if value.is_floating_point():
                torch.testing.assert_close(mine, value, rtol=1e-6, atol=0)
            else:
                distance = (mine.int() - value.int()).abs()
                assert distance.max() <= 1 and (distance > 0).float().mean() < 1e-3, name


def go_on_alike(optimizers: list[LeanAdam]) -> None:
    """The second step continues from the codes of the first."""
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    with torch.no_grad():
        for ours, plain in zip(*(o.param_groups[0]['params'] for o in optimizers), strict=True):
            plain.copy_(ours)


def test_steps_are_those_of_the_formula(kernels, monkeypatch):
    optimizers = pair(kernels)
    for step in range(2):
        step_both(optimizers, monkeypatch, step)
        assert_close(optimizers)
        go_on_alike(optimizers)
    parameter = optimizers[0].param_groups[0]['params'][-1]
    assert adam.update.sound[parameter.device]


def test_late_steps_and_another_beta(kernels, monkeypatch):
    """The bias corrections' two branches, and a step beyond the random numbers' period."""
    optimizers = pair(kernels)
    for optimizer in optimizers:
        optimizer.param_groups[0]['betas'] = (0.0, 0.99)
    step_both(optimizers, monkeypatch, 0)
    assert_close(optimizers)
    go_on_alike(optimizers)
    for optimizer in optimizers:
        for state in optimizer.state.values():
            state['step'].fill_(70_000)
    step_both(optimizers, monkeypatch, 1)
    assert_close(optimizers)


def test_scalars_on_the_device(kernels, monkeypatch):
    """Learning rate and loss scale as tensors; a skipped update changes nothing."""
    optimizers = pair(kernels)
    for optimizer in optimizers:
        optimizer.param_groups[0]['lr'] = torch.tensor(1e-2, device=kernels)
        optimizer.grad_scale = torch.tensor(8.0, device=kernels)
        optimizer.found_inf = torch.zeros((), device=kernels)
    step_both(optimizers, monkeypatch, 0)
    assert_close(optimizers)
    before = copy.deepcopy(optimizers[0].state_dict()['state'])
    weights = [p.detach().clone() for p in optimizers[0].param_groups[0]['params']]
    for optimizer in optimizers:
        optimizer.found_inf.fill_(1)
    step_both(optimizers, monkeypatch, 1)
    for index, state in optimizers[0].state_dict()['state'].items():
        assert all(torch.equal(value, before[index][name]) for name, value in state.items())
    assert all(map(torch.equal, weights, optimizers[0].param_groups[0]['params']))


def test_bias_corrections_keep_their_digits(kernels, monkeypatch):
    """A first step of Adam moves by the learning rate, whatever the gradient."""
    parameter = nn.Parameter(torch.zeros(ROW, device=kernels))
    optimizer = LeanAdam([parameter], lr=1.0, betas=(0.9, 0.9999), eps=0.0)
    parameter.grad = torch.linspace(1, 5, ROW, device=kernels)
    optimizer.step()
    torch.testing.assert_close(parameter, torch.full_like(parameter, -1.0), rtol=1e-6, atol=0)


def test_launches_and_no_question_to_the_host(kernels, monkeypatch):
    """One for each large parameter, and one operator each for steps and small parameters."""
    optimizer = pair(kernels)[0]
    optimizer.found_inf = torch.zeros((), device=kernels)
    for parameter in optimizer.param_groups[0]['params']:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    count = Count()
    monkeypatch.setattr(adam, 'launch', count.launch)
    with count:
        optimizer.step()
    assert sorted(name for name in count.seen if 'record_function' not in name) == [
        '_foreach_add_',
        '_foreach_sub_',
        '_fused_adam_',
        *['launch'] * 2,
    ]


def test_resumes_to_the_last_bit(kernels):
    whole, first = pair(kernels, COUNTS[-1:])

    def run(optimizer: LeanAdam, steps: range) -> None:
        for step in steps:
            rng = torch.Generator().manual_seed(step)
            for parameter in optimizer.param_groups[0]['params']:
                parameter.grad = torch.randn(parameter.shape, generator=rng).to(kernels)
            optimizer.step()

    run(whole, range(3))
    run(first, range(1))
    second = pair(kernels, COUNTS[-1:])[1]
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    parameters = [optimizer.param_groups[0]['params'] for optimizer in (whole, first, second)]
    with torch.no_grad():
        for old, new in zip(*parameters[1:], strict=True):
            new.copy_(old)
    run(second, range(1, 3))
    assert all(map(torch.equal, parameters[0], parameters[2]))
