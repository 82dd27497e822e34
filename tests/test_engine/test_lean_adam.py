"""Adam with moments in 8 bits: its steps, its rounding, its memory, resuming it."""

import copy
import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ugatit_mm.engine import UGATITOptimWrapperConstructor
from ugatit_mm.engine.lean_adam import LeanAdam
from ugatit_mm.engine.optim import parameter_groups
from ugatit_mm.kernels import adam
from ugatit_mm.kernels.adam import BLOCK, ROW

FIELDS = dict(lr=1e-2, betas=(0.5, 0.999), weight_decay=1e-2)


def decoded(state: dict, limit: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The moments that a state stands for, by the definition of the code."""
    if 'exp_avg' in state:
        return state['exp_avg'].clone(), state['exp_avg_sq'].clone()
    code = state['exp_avg_sq_code']
    bits = code.int()
    v = (1 + bits % 8 / 8) * 2.0 ** (bits // 8 - 31)
    # The memory's order; the rest after the last row is one block unless blocks divide it.
    flat = v.as_strided((v.numel(),), (1,))
    whole = flat.numel() // ROW * ROW
    rest = flat.numel() - whole
    sizes = [BLOCK] * (whole // BLOCK)
    sizes += [BLOCK] * (rest // BLOCK) if rest % BLOCK == 0 else [rest]
    flat *= state['exp_avg_sq_scale'].repeat_interleave(torch.tensor(sizes))
    return state['exp_avg_code'].float() * v.sqrt() * limit / 127, v


LIMIT = 0.5 / math.sqrt(0.001 * (1 - 0.25 / 0.999))  # of betas 0.5 and 0.999


def noisy(shape: tuple, seed: int, like: torch.Tensor | None = None) -> torch.Tensor:
    """Gradients whose sizes differ by a thousand between elements."""
    rng = torch.Generator().manual_seed(seed)
    sizes = 10 ** (3 * torch.rand(shape, generator=torch.Generator().manual_seed(99)) - 2)
    value = torch.randn(shape, generator=rng) * sizes
    return value if like is None else torch.empty_like(like).copy_(value)


def some_parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    shapes = [(3,), (130, 520), (256, 256), (64, 128, 3, 3), (2, ROW + 4)]  # rests of each kind
    parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    parameters[3].data = parameters[3].data.to(memory_format=torch.channels_last)
    return parameters


def test_a_step_is_adams_from_the_stored_moments():
    """From the same weights and moments to the same weights; the step counts for the bias."""
    ours = some_parameters()
    optimizer = LeanAdam(ours, **FIELDS)
    for step in range(4):
        theirs = [nn.Parameter(p.detach().clone()) for p in ours]
        exact = torch.optim.Adam(theirs, **FIELDS)
        for mine, twin in zip(ours, theirs, strict=True):
            mine.grad = noisy(mine.shape, step, mine if step < 3 else None)  # any strides
            twin.grad = mine.grad.clone()
            if step:
                m, v = decoded(optimizer.state[mine], LIMIT)
                count = torch.tensor(float(step))
                exact.state[twin] = {'step': count, 'exp_avg': m, 'exp_avg_sq': v}
        optimizer.step(), exact.step()
        for mine, twin in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, twin, rtol=1e-6, atol=1e-7)


def test_small_parameters_are_adams_to_the_last_bit(tiny):
    """Every parameter of the tiny model, with decayed and other groups."""
    model = tiny()
    twin = copy.deepcopy(model)
    cfg = dict(lr=1e-4, betas=(0.5, 0.999), weight_decay=1e-4)
    build = UGATITOptimWrapperConstructor
    names = ('generators', 'discriminators')
    lean = build({n: dict(optimizer=dict(type='LeanAdam', fused=True, **cfg)) for n in names})(
        model
    )
    adam = build({n: dict(optimizer=dict(type='Adam', fused=True, **cfg)) for n in names})(twin)
    for step in range(3):
        for net, wrappers in ((model, lean), (twin, adam)):
            torch.manual_seed(step)
            for name in names:
                parameters = getattr(net, name).parameters()
                loss = sum((torch.randn_like(p) * p).sum() for p in parameters)
                wrappers[name].update_params(loss)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def moments_after(sizes: list[float]) -> tuple:
    """Ours and float32's moments after gradients of the given sizes, of either sign."""
    parameter = nn.Parameter(torch.zeros(ROW))
    optimizer = LeanAdam([parameter], lr=0.0, betas=(0.5, 0.999))
    exact = [torch.zeros(ROW), torch.zeros(ROW)]
    rng = torch.Generator().manual_seed(0)
    factor = 10 ** torch.rand(ROW, generator=rng)
    factor[::BLOCK] = 100.0  # the block's scale is that of an element whose size stays
    for step, size in enumerate(sizes):
        parameter.grad = size * (-1) ** (step // 3) * factor
        parameter.grad[::BLOCK] = 100.0
        exact[0].lerp_(parameter.grad, 0.5)
        exact[1].lerp_(parameter.grad.square(), 0.001)
        optimizer.step()
    return decoded(optimizer.state[parameter], LIMIT), exact


def test_the_second_moment_follows_where_nearest_rounding_stalls():
    """Gradients of 1, then of 0.5, times a factor of the element: v comes near to 0.25."""
    (m, v), (exact_m, exact_v) = moments_after([1.0] * 40 + [0.5] * 1000)

    nearest = torch.tensor(1.0 - 0.999**40).bfloat16()
    for _ in range(1000):
        nearest = (0.999 * nearest.float() + 0.001 * 0.25).bfloat16()
    assert nearest < 0.5 * (0.25 - (0.25 - 1 + 0.999**40) * 0.999**1000)  # it stopped on the way

    ratio = v / exact_v
    assert abs(ratio.mean() - 1) < 0.01
    assert ratio.std() < 0.35
    error = (m - exact_m) / exact_v.sqrt()
    assert abs(error.mean()) < 2e-3
    assert error.std() < 0.175


def test_rounding_has_no_bias():
    """An element meets every number of 16 bits once in 2^16 steps, for either moment."""
    table = adam.tables(torch.device('cpu'))[0]
    for which in (0, 1):
        met = [
            int(adam.random(table, 5 * ROW, 5 * ROW + 9, step, which)[0, 7]) for step in range(ROW)
        ]
        assert sorted(met) == list(range(ROW))
    rows = adam.random(table, 0, 4 * ROW, step=3, which=0)
    assert rows.shape == (4, ROW)
    assert (rows[1:] == rows[:-1]).float().mean() < 1e-3  # rows differ
    assert torch.equal(rows[2:3], adam.random(table, 2 * ROW, 3 * ROW, 3, 0))
    for start, stop, step in ((0, 4 * ROW, 3), (5 * ROW, 5 * ROW + 9, 2**24 - 1)):
        of_number, of_tensor = (
            adam.random(table, start, stop, kind, 1) for kind in (step, torch.tensor(float(step)))
        )
        assert torch.equal(of_number, of_tensor)


def test_zero_gradients_leave_everything():
    parameter = nn.Parameter(torch.randn(ROW + 5))
    before = parameter.detach().clone()
    parameter.grad = torch.zeros_like(parameter)
    optimizer = LeanAdam([parameter], lr=1.0)
    for _ in range(3):
        optimizer.step()
    assert torch.equal(parameter, before)
    m, v = decoded(optimizer.state[parameter], LIMIT)
    assert not m.any() and v.max() < 1e-30


def test_tiny_and_huge_gradients():
    """No overflow over 30 decades; what is far below its block's largest takes shorter steps."""
    parameter = nn.Parameter(torch.zeros(ROW))
    order = torch.randperm(ROW, generator=torch.Generator().manual_seed(0))
    size = torch.logspace(-18, 12, ROW)[order]
    optimizer = LeanAdam([parameter], lr=1.0, betas=(0.5, 0.999), eps=0.0)
    for _ in range(20):
        parameter.grad = size.clone()
        optimizer.step()
    exact = (1 - 0.999**20) * size.square()
    _, v = decoded(optimizer.state[parameter], LIMIT)
    largest = v.view(-1, BLOCK).amax(1).repeat_interleave(BLOCK)
    floor = largest / 1.875 * 2.0**-31
    assert (v >= floor).all() and (v >= exact / 2).all()
    assert (v <= torch.maximum(2 * exact, floor)).all()
    # Adam moves by 1 in each step.
    assert (parameter < 0).all() and parameter.min() > -23
    assert parameter[exact > 100 * floor].mean().item() == pytest.approx(-20, abs=0.2)


def fit(make) -> float:
    """Error of a network that learns from another one, with a falling rate."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(256, 257), nn.Tanh(), nn.Linear(257, 8))
    teacher = nn.Sequential(nn.Linear(256, 64), nn.Tanh(), nn.Linear(64, 8)).requires_grad_(False)
    optimizer = make(parameter_groups([net], 'kernels'))
    for step in range(200):
        for group in optimizer.param_groups:
            group['lr'] = 2e-3 * min(1, 2 * (1 - step / 200))
        x = torch.randn(32, 256)
        optimizer.zero_grad()
        (net(x) - teacher(x)).square().mean().backward()
        optimizer.step()
    x = torch.randn(2000, 256)
    with torch.no_grad():
        return (net(x) - teacher(x)).square().mean().item()


@pytest.mark.parametrize('beta1', [0.5, 0.9])
def test_learns_as_adam(beta1):
    fields = dict(lr=1.0, betas=(beta1, 0.999), weight_decay=1e-4)
    adam = fit(lambda groups: torch.optim.Adam(groups, **fields))
    start = fit(lambda groups: torch.optim.SGD(groups, lr=0.0))
    assert adam < start / 2
    assert fit(lambda groups: LeanAdam(groups, **fields)) == pytest.approx(adam, rel=0.01)


def test_resumes_to_the_last_bit(tmp_path):
    """Through MMEngine's wrapper and a file that is read without running code."""

    def build() -> tuple[list[nn.Parameter], OptimWrapper]:
        parameters = some_parameters()
        groups = [{'params': parameters[:2]}, {'params': parameters[2:], 'weight_decay': 0.0}]
        return parameters, OptimWrapper(LeanAdam(groups, **FIELDS))

    def run(parameters, wrapper, steps):
        for step in steps:
            gradients = [noisy(p.shape, step) for p in parameters]
            loss = sum((g * p).sum() for g, p in zip(gradients, parameters, strict=True))
            wrapper.update_params(loss)

    whole, wrapper = build()
    run(whole, wrapper, range(5))
    first, wrapper = build()
    run(first, wrapper, range(2))
    torch.save([wrapper.state_dict(), [p.data for p in first]], tmp_path / 'checkpoint.pth')
    saved, weights = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
    second, wrapper = build()
    for parameter, weight in zip(second, weights, strict=True):
        parameter.data = weight
    wrapper.load_state_dict(saved)
    run(second, wrapper, range(2, 5))
    assert all(torch.equal(*pair) for pair in zip(whole, second, strict=True))
    state = wrapper.optimizer.state[second[-1]]
    types = {v.dtype for v in state.values() if torch.is_tensor(v)}
    assert types == {torch.int8, torch.uint8, torch.float32}


def test_bytes_of_the_state():
    parameter = nn.Parameter(torch.zeros(512, 1024))
    parameter.grad = torch.ones_like(parameter)
    optimizer = LeanAdam([parameter])
    optimizer.step()
    size = sum(v.nbytes for v in optimizer.state[parameter].values() if torch.is_tensor(v))
    assert size == (2 + 4 / BLOCK) * parameter.numel() + 4  # and the step


class Allocated(TorchDispatchMode):
    """Sums the bytes of the new tensors that operations made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given = (*args, *(kwargs or {}).values())
        known = {t.untyped_storage().data_ptr() for t in given if torch.is_tensor(t)}
        for tensor in out if isinstance(out, (list, tuple)) else (out,):
            if torch.is_tensor(tensor) and tensor.untyped_storage().data_ptr() not in known:
                storage = tensor.untyped_storage()
                self.seen[storage.data_ptr()] = storage  # held, so that no address comes twice
        return out

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.seen.values())


def test_temporary_memory_does_not_grow_with_the_parameter(monkeypatch):
    """All that a step allocates: three buffers of a chunk, and a few numbers for each block."""
    monkeypatch.setattr(adam, 'CPU_CHUNK', ROW)
    for rows in (1, 20):
        parameter = nn.Parameter(torch.zeros(rows * ROW + 1))
        parameter.grad = torch.ones_like(parameter)
        optimizer = LeanAdam([parameter])
        optimizer.step()
        with Allocated() as allocated:
            optimizer.step()
        assert 3 * 4 * ROW <= allocated.bytes < 3 * 4 * ROW + 200 * (rows + 1)


def test_the_chunk_changes_nothing(monkeypatch):
    results = []
    for chunk in (ROW, 3 * ROW):
        monkeypatch.setattr(adam, 'CPU_CHUNK', chunk)
        parameter = nn.Parameter(torch.zeros(7 * ROW + 100))
        optimizer = LeanAdam([parameter], **FIELDS)
        for step in range(2):
            parameter.grad = noisy(parameter.shape, step)
            optimizer.step()
        results.append([parameter, *decoded(optimizer.state[parameter], LIMIT)])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=0)


def test_loss_scaling():
    """The scaler takes its factor out of the gradients, and leaves out a step with infinities."""
    one, two = some_parameters(), some_parameters()
    plain, scaled = (LeanAdam(p, **FIELDS) for p in (one, two))
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**10)
    for step in range(3):
        for parameter in one:
            parameter.grad = noisy(parameter.shape, step, parameter)
        plain.step()
        scaled.zero_grad()
        loss = sum((p.grad * twin).sum() for p, twin in zip(one, two, strict=True))
        scaler.scale(loss).backward()
        scaler.step(scaled), scaler.update()
    assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))
    two[0].grad[0] = torch.inf
    scaler.scale(torch.tensor(1.0))
    scaler.step(scaled), scaler.update()
    assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


def copied(optimizer: LeanAdam) -> list[torch.Tensor]:
    """Parameters and state, as they are now."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    states = [value for p in parameters for value in optimizer.state[p].values()]
    return [tensor.detach().clone() for tensor in (*parameters, *states)]


def test_an_update_that_is_left_out_leaves_everything():
    """Without a synchronisation: weights, moments and step are what they were."""
    one, two = (LeanAdam(some_parameters(), **FIELDS) for _ in range(2))
    for step, found_inf in enumerate((0.0, 1.0, 0.0)):
        for optimizer in (one, two):
            for parameter in optimizer.param_groups[0]['params']:
                parameter.grad = noisy(parameter.shape, step)
                if found_inf:
                    parameter.grad[0] = torch.nan
        before = copied(one)
        one.found_inf = torch.tensor(found_inf)
        one.step()
        if found_inf:
            assert all(map(torch.equal, before, copied(one)))
        else:
            two.step()
    assert all(map(torch.equal, copied(one), copied(two)))


def test_a_scale_and_a_learning_rate_on_the_device():
    one, two = (LeanAdam(some_parameters(), **FIELDS) for _ in range(2))
    two.param_groups[0]['lr'] = torch.tensor(FIELDS['lr'], dtype=torch.float64)
    two.grad_scale = torch.tensor(4.0)
    for step in range(2):
        for optimizer, scale in ((one, 1), (two, 4)):
            for parameter in optimizer.param_groups[0]['params']:
                parameter.grad = scale * noisy(parameter.shape, step)
            optimizer.step()
    assert all(map(torch.equal, copied(one), copied(two)))


def test_goes_on_from_a_step_that_is_a_number():
    """As in checkpoints of older versions."""
    optimizers = [LeanAdam(some_parameters(), **FIELDS) for _ in range(2)]
    for parameter in optimizers[0].param_groups[0]['params']:
        parameter.grad = noisy(parameter.shape, 0)
    optimizers[0].step()
    saved = copy.deepcopy(optimizers[0].state_dict())
    for state in saved['state'].values():
        state['step'] = int(state['step'])
    with torch.no_grad():
        for old, new in zip(*(o.param_groups[0]['params'] for o in optimizers), strict=True):
            new.copy_(old)
    optimizers[1].load_state_dict(saved)
    for optimizer in optimizers:
        for parameter in optimizer.param_groups[0]['params']:
            parameter.grad = noisy(parameter.shape, 1)
        optimizer.step()
    assert all(map(torch.equal, *map(copied, optimizers)))


def test_parameters_without_a_gradient_stay():
    one, two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(ROW))
    optimizer = LeanAdam([one, two], lr=0.1)

    def closure() -> torch.Tensor:
        loss = one.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3
    torch.testing.assert_close(one, torch.full((3,), 0.9))
    assert torch.equal(two, torch.ones(ROW)) and two not in optimizer.state
    two.grad = torch.ones(ROW)
    optimizer.step()
    assert (optimizer.state[one]['step'], optimizer.state[two]['step']) == (2, 1)
    torch.testing.assert_close(two, torch.full((ROW,), 0.9))


def test_errors():
    parameter = nn.Parameter(torch.ones(3))
    for fields, message in (
        (dict(lr=-1.0), 'optimizer.lr must be 0 or more, got -1.0'),
        (dict(lr=math.nan), 'optimizer.lr must be 0 or more, got nan'),
        (dict(eps=-1.0), 'optimizer.eps must be 0 or more'),
        (dict(weight_decay=-1.0), 'optimizer.weight_decay must be 0 or more'),
        (dict(betas=(0.5, 1.0)), r'optimizer.betas must lie in \[0, 1\), got \(0.5, 1.0\)'),
        (dict(fused=False), "only torch's fused kernel"),
        (dict(betas=(0.9, 0.5)), r'LeanAdam needs beta1\^2 < beta2'),
    ):
        with pytest.raises(ValueError, match=message):
            LeanAdam([parameter], **fields)
    for wrong in (torch.ones(3).bfloat16(), torch.ones(3, 4)[:, :2]):
        with pytest.raises(ValueError, match='takes float32 parameters without gaps'):
            LeanAdam([nn.Parameter(wrong)])
    embedding = nn.Embedding(3, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match='dense gradients'):
        LeanAdam(embedding.parameters()).step()


def test_another_state_is_an_error():
    conv = nn.Conv2d(128, 64, 3)
    conv(torch.ones(1, 128, 3, 3)).sum().backward()
    optimizer = LeanAdam(conv.parameters())
    optimizer.step()
    adam = torch.optim.Adam(conv.parameters())
    with pytest.raises(ValueError, match='cannot go on from a state of another optimizer'):
        optimizer.load_state_dict(adam.state_dict())
    conv.to(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match='keep the memory format'):
        optimizer.step()
