"""Linear layers for few rows by kernels against float64."""

import copy

import pytest
import torch
from counting import Count
from torch import Tensor, nn

from ugatit_mm.kernels import linear as kernels_of_linear
from ugatit_mm.kernels import support
from ugatit_mm.models.layers import JointLinear, average, joint_gradients, linears
from ugatit_mm.models.ugatit.ugatit_generator import StyleMLP

# Each kernel is compared with its formula in the fast tier, too: test_first_use.py.
pytestmark = pytest.mark.slow

TYPES = [torch.float32, torch.bfloat16, torch.float16]


def close(found: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """float32 up to rounding, 16-bit types up to theirs."""
    wide = found.dtype == torch.float32
    rtol = 1e-5 if wide else torch.finfo(found.dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=scale * rtol)


def maps(kind: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Two samples of 6 channels, 10 x 7, in a memory format."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 14, 10).to(dtype)
    if kind != 'nchw':
        x = x.to(memory_format=torch.channels_last)
    x = x[..., 2:-2, 1:-2]
    if kind == 'nhwc':
        x = x.contiguous(memory_format=torch.channels_last)
    return x.to(device)


@pytest.mark.parametrize('dtype', TYPES, ids=str)
@pytest.mark.parametrize('kind', ['nchw', 'nhwc', 'cut-out'])
def test_average(kernels, kind, dtype):
    x = maps(kind, dtype, kernels).requires_grad_()
    out = average(x, torch.float32)
    assert out.dtype is torch.float32
    torch.testing.assert_close(out.double(), x.double().mean((2, 3)), rtol=1e-6, atol=1e-7)
    (grad,) = torch.autograd.grad(out, x, torch.arange(12.0, device=kernels).view(2, 6))
    assert grad.dtype is dtype
    close(grad, torch.arange(12.0).double().view(2, 6, 1, 1).expand(x.shape).to(kernels) / 70)


def chained(layer: nn.Module, x: Tensor, lift: Tensor, relu: bool) -> Tensor:
    """Three uses, one of them on another's output."""

    def use(rows: Tensor) -> Tensor:
        if isinstance(layer, JointLinear):
            return layer(rows, relu=relu)
        return layer(rows).relu() if relu else layer(rows)

    first = use(x).tanh()
    return use((first @ lift).to(x.dtype)).square().sum() + use(x[:1]).sin().sum()


@pytest.mark.parametrize(
    'inputs', [21, pytest.param(kernels_of_linear.LARGE + 70, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('bias', [True, False])
def test_joint_gradients(kernels, inputs, bias):
    torch.manual_seed(0)
    layer = JointLinear(inputs, 19, bias=bias).to(kernels)
    plain = nn.Linear(inputs, 19, bias=bias).to(kernels).double()
    plain.load_state_dict(layer.state_dict())
    x, lift = torch.randn(5, inputs, device=kernels), torch.randn(19, inputs, device=kernels)
    rows = x.clone().requires_grad_(), x.double().requires_grad_()
    with joint_gradients(layer):
        loss = chained(layer, rows[0], lift, relu=True)
        loss.backward()
    expected = chained(plain, rows[1], lift.double(), relu=True)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    pairs = [(rows[0].grad, rows[1].grad)]
    pairs += [(p.grad, q.grad) for p, q in zip(layer.parameters(), plain.parameters(), strict=True)]
    for found, wanted in pairs:
        close(found, wanted, wanted.abs().max().item())


def test_two_uses_of_the_large_layer(kernels):
    """As in a step: translation and identity, then the cycle, without copying the rows."""
    torch.manual_seed(0)
    layer = JointLinear(kernels_of_linear.LARGE + 4, 5).to(kernels)
    rows = [torch.randn(n, layer.in_features, device=kernels).bfloat16() for n in (2, 1)]
    with joint_gradients(layer):
        outs = [layer(x, relu=True) for x in rows]
        (outs[0].square().sum() + outs[1].square().sum()).backward()
    weight = layer.weight.detach().double().requires_grad_()
    wide = [(x.double() @ weight.t() + layer.bias.double()).relu() for x in rows]
    (wide[0].square().sum() + wide[1].square().sum()).backward()
    for found, wanted in zip(outs, wide, strict=True):
        close(found.detach(), wanted.detach())
    close(layer.weight.grad, weight.grad, weight.grad.abs().max().item())


@pytest.mark.parametrize('dtype', TYPES, ids=str)
@pytest.mark.parametrize(
    ('count', 'relu', 'bias'), [(1, True, True), (2, False, True), (2, True, False)]
)
def test_small_layers(kernels, count, relu, bias, dtype):
    torch.manual_seed(0)
    layers = [nn.Linear(37, outputs, bias=bias).to(kernels) for outputs in (19, 70)[:count]]
    wide = [copy.deepcopy(layer).double() for layer in layers]
    x = torch.randn(7, 37, device=kernels).to(dtype).requires_grad_()
    y = x.detach().double().requires_grad_()
    outs = linears(x, *layers, relu=relu)
    expected = [layer(y).relu() if relu else layer(y) for layer in wide]
    for found, wanted in zip(outs, expected, strict=True):
        assert found.dtype is torch.float32
        close(found.detach(), wanted.detach())
    sum(out.square().sum() for out in outs).backward()
    sum(out.square().sum() for out in expected).backward()
    close(x.grad, y.grad, y.grad.abs().max().item())
    for layer, other in zip(layers, wide, strict=True):
        for found, wanted in zip(layer.parameters(), other.parameters(), strict=True):
            close(found.grad, wanted.grad, wanted.grad.abs().max().item())


def test_nan_passes_relu_and_many_rows_go_by_the_formula(kernels):
    layer = JointLinear(3, 4).to(kernels)
    x = torch.ones(2, 3, device=kernels)
    x[1, 0] = torch.nan
    with joint_gradients(layer), torch.no_grad():
        out = layer(x, relu=True)
        assert out[1].isnan().all() and out[0].isfinite().all()
    many = torch.randn(kernels_of_linear.MAX_ROWS + 1, 3, device=kernels)
    with joint_gradients(layer):
        out = layer(many, relu=True)
        out.sum().backward()
    torch.testing.assert_close(out, nn.functional.linear(many, layer.weight, layer.bias).relu())
    expected = (out > 0).float().t() @ many
    torch.testing.assert_close(layer.weight.grad, expected)


@pytest.mark.parametrize('kind', ['nchw', 'nhwc', 'cut-out'])
@pytest.mark.parametrize('light', [True, False])
def test_the_mlp(kernels, light, kind):
    torch.manual_seed(0)
    mlp = StyleMLP(6, 12, None if light else (10, 10), bias=True).to(kernels)
    wide = copy.deepcopy(mlp).double()
    size = slice(None) if light else slice(0, 7)
    x = maps(kind, torch.bfloat16, kernels)[..., size, :]
    if not light:
        mlp, wide = (StyleMLP(6, 12, (7, 7), bias=True).to(kernels) for _ in range(2))
        wide.load_state_dict(mlp.state_dict())
        wide = wide.double()
    x, y = x.requires_grad_(), x.detach().double().requires_grad_()
    with joint_gradients(nn.ModuleList([mlp, wide])):
        for net, image in ((mlp, x), (wide, y)):
            gamma, beta = net(image)
            (gamma.square().sum() + beta.sin().sum()).backward()
    for found, wanted in zip(mlp(x), wide(y), strict=True):
        assert found.dtype is torch.float32
        close(found.detach(), wanted.detach())
    close(x.grad, y.grad, y.grad.abs().max().item())
    for found, wanted in zip(mlp.parameters(), wide.parameters(), strict=True):
        close(found.grad, wanted.grad, wanted.grad.abs().max().item())


@pytest.mark.parametrize('light', [True, False])
def test_launches_of_the_mlp(kernels, monkeypatch, light):
    """For two uses in a step, as in a generator."""
    mlp = StyleMLP(6, 12, None if light else (30, 30), bias=True).to(kernels)
    parameters = list(mlp.parameters())
    uses = []
    for rows in (2, 1):
        x = torch.randn(rows, 6, 30, 30, device=kernels).to(memory_format=torch.channels_last)
        uses.append(x.bfloat16().requires_grad_())
    grads = [torch.ones(len(x), 6, device=kernels) for x in uses for _ in range(2)]

    def forwards() -> list[Tensor]:
        return [out for x in uses for out in mlp(x)]

    with joint_gradients(mlp):
        torch.autograd.grad(forwards(), [*uses, *parameters], grads)  # the checks at the first use
    count = Count()
    monkeypatch.setattr(kernels_of_linear, 'launch', count.launch)
    with joint_gradients(mlp), count:
        outs = forwards()
        first, count.seen = count.seen, []
        torch.autograd.grad(outs, [*uses, *parameters], grads)
    # A full layer has its rows copied from NHWC, and a second launch for the slices.
    assert len(first) == 2 * (4 if light else 5), first
    launches = [name for name in count.seen if name == 'launch']
    assert len(launches) == 2 * 3 + 1
    # In addition: gradients of both uses added for 7 parameters, and the average's scale.
    others = [name for name in count.seen if name != 'launch']
    assert sorted(others) == ['add'] * 7 + ['mul'] * (2 if light else 0)


def test_a_broken_kernel_is_left(kernels, monkeypatch):
    lines = []
    monkeypatch.setattr(support, 'print_log', lambda text, *_: lines.append(text))
    monkeypatch.setattr(kernels_of_linear.outputs, 'sound', {})
    monkeypatch.setattr(
        kernels_of_linear.outputs, 'kernel', lambda *args: [torch.zeros(1, device=kernels)]
    )
    layer = nn.Linear(3, 4).to(kernels)
    x = torch.ones(2, 3, device=kernels)
    torch.testing.assert_close(linears(x, layer)[0], layer(x))
    assert len(lines) == 1 and 'linear layers' in lines[0]
