"""AdaLIN and LIN against closed forms."""

import pytest
import torch
import torch.nn.functional as F

from ugatit_mm.kernels.norm import Factors, Norm
from ugatit_mm.models import LIN, AdaLIN
from ugatit_mm.models.layers import (
    GroupNorm,
    InstanceNorm,
    Padding,
    clip_rho,
    instance_layer_norm,
    reflection,
    replication,
)
from ugatit_mm.models.layers.adalin import plain_instance_layer_norm


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0)) * 3 + 2


def style(n: int, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, c, generator=rng), torch.randn(n, c, generator=rng)


def written_out(x, rho, gamma, beta, unbiased):
    """Equation 1 as in the paper."""
    count_i, count_l = x[0, 0].numel(), x[0].numel()
    mean_i = x.sum((2, 3), keepdim=True) / count_i
    var_i = (x - mean_i).square().sum((2, 3), keepdim=True) / (count_i - unbiased)
    mean_l = x.sum((1, 2, 3), keepdim=True) / count_l
    var_l = (x - mean_l).square().sum((1, 2, 3), keepdim=True) / (count_l - unbiased)
    hat_i = (x - mean_i) / (var_i + 1e-5).sqrt()
    hat_l = (x - mean_l) / (var_l + 1e-5).sqrt()
    return gamma[:, :, None, None] * (rho * hat_i + (1 - rho) * hat_l) + beta[:, :, None, None]


def test_rho_one_is_instance_norm(features):
    layer = AdaLIN(6, rho_init=1.0, rho_smoothing=0.0)
    gamma, beta = style(2, 6)
    expected = F.instance_norm(features) * gamma[:, :, None, None] + beta[:, :, None, None]
    torch.testing.assert_close(layer(features, gamma, beta), expected, atol=1e-5, rtol=1e-5)


def test_rho_zero_is_layer_norm(features):
    layer = AdaLIN(6, rho_init=0.0, rho_smoothing=0.0)
    gamma, beta = style(2, 6)
    normal = F.layer_norm(features, features.shape[1:])
    expected = normal * gamma[:, :, None, None] + beta[:, :, None, None]
    torch.testing.assert_close(layer(features, gamma, beta), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('unbiased', [False, True])
def test_equation_one(features, unbiased):
    layer = AdaLIN(6, rho_smoothing=0.0, unbiased=unbiased).double()
    rho = torch.linspace(0, 1, 6, dtype=torch.float64).view(1, 6, 1, 1)
    layer.rho.data.copy_(rho)
    x, (gamma, beta) = features.double(), (s.double() for s in style(2, 6))
    expected = written_out(x, rho, gamma, beta, unbiased)
    torch.testing.assert_close(layer(x, gamma, beta), expected, atol=1e-12, rtol=1e-12)


def test_smoothing_uses_rho_less_a_tenth_without_gradient_below(features):
    layer = AdaLIN(6, rho_smoothing=0.1)
    layer.rho.data.copy_(torch.tensor([0.0, 0.05, 0.1, 0.5, 0.9, 1.0]).view(1, 6, 1, 1))
    gamma, beta = style(2, 6)
    effective = torch.tensor([0.0, 0.0, 0.0, 0.4, 0.8, 0.9]).view(1, 6, 1, 1)
    expected = written_out(features, effective, gamma, beta, False)
    out = layer(features, gamma, beta)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    out.square().sum().backward()
    assert (layer.rho.grad.flatten() == 0).tolist()[:2] == [True, True]
    assert (layer.rho.grad.flatten()[3:] != 0).all()


def test_lin_starts_as_layer_norm_and_uses_its_parameters(features):
    layer = LIN(6)
    expected = F.layer_norm(features, features.shape[1:])
    torch.testing.assert_close(layer(features), expected, atol=1e-5, rtol=1e-5)
    layer.gamma.data.fill_(2)
    layer.beta.data.fill_(-1)
    torch.testing.assert_close(layer(features), 2 * expected - 1, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('unbiased', [False, True])
def test_lin_fields(features, unbiased):
    layer = LIN(6, eps=0.5, rho_init=0.25, unbiased=unbiased)
    n = features[0].numel()
    plane = features[0, 0].numel()
    mean_i, mean_l = features.mean((2, 3), keepdim=True), features.mean((1, 2, 3), keepdim=True)
    var_i = (features - mean_i).square().sum((2, 3), keepdim=True) / (plane - unbiased)
    var_l = (features - mean_l).square().sum((1, 2, 3), keepdim=True) / (n - unbiased)
    expected = 0.25 * (features - mean_i) / (var_i + 0.5).sqrt()
    expected = expected + 0.75 * (features - mean_l) / (var_l + 0.5).sqrt()
    torch.testing.assert_close(layer(features), expected, atol=1e-5, rtol=1e-5)


LAYOUTS = [torch.contiguous_format, torch.channels_last]
KINDS = [
    Norm(unbiased=True),
    Norm(slope=0.0, padding=reflection(1)),
    Norm(smoothing=0.2, slope=0.2, padding=Padding(1, 2, 0, 1)),
    Norm(smoothing=0.2, unbiased=True, padding=replication()),
]


def inputs_of(x: torch.Tensor, norm: Norm, kind: str) -> list[torch.Tensor | None]:
    """x, bias, rho, gamma, beta and a residual."""
    rng = torch.Generator().manual_seed(2)
    batch, channels = x.shape[:2]

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size, dtype=x.dtype, generator=rng)

    rho = torch.rand(1, channels, dtype=x.dtype, generator=rng)
    rows = {'instance': 0, 'lin': 1, 'adalin': batch}[kind]
    style = (random(rows, channels), random(rows, channels)) if rows else (None, None)
    residual = random(*norm.padding.around(x.shape)).to(memory_format=torch.channels_last)
    return [x, random(channels), rho if rows else None, *style, residual]


def run(function, inputs, norm, weights):
    """The result and all gradients."""
    inputs = [t if t is None else t.detach().clone().requires_grad_() for t in inputs]
    out = function(inputs[0], Factors(*inputs[1:5]), norm, inputs[5])
    out.backward(weights)
    return [out.detach(), *(t.grad for t in inputs if t is not None)]


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('kind', ['instance', 'lin', 'adalin'])
@pytest.mark.parametrize('norm', KINDS, ids=str)
def test_gradients_are_those_of_the_formula(features, norm, kind, layout):
    x = features.double().contiguous(memory_format=layout)
    inputs = inputs_of(x, norm, kind)
    weights = torch.sin(torch.arange(inputs[5].numel()).double()).view(inputs[5].shape)
    ours, plain = (
        run(function, inputs, norm, weights)
        for function in (instance_layer_norm, plain_instance_layer_norm)
    )
    for got, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-11, rtol=1e-11)
    assert ours[0].is_contiguous(memory_format=layout)
    assert ours[1].is_contiguous(memory_format=layout)
    if kind == 'instance':
        assert (ours[2] == 0).all()  # the bias: exactly zero, where the formula has noise
    else:
        assert (ours[2] != 0).all()


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('slope', [0.0, 1.0])
def test_float32_is_the_plain_formula_forwards_and_backwards(slope, layout):
    features = torch.randn(2, 6, 9, 16, generator=torch.Generator().manual_seed(2))
    norm = Norm(slope=slope, padding=reflection(1))
    inputs = inputs_of(features.contiguous(memory_format=layout), norm, 'adalin')
    weights = torch.randn(inputs[5].shape, generator=torch.Generator().manual_seed(3))
    ours = run(instance_layer_norm, inputs, norm, weights)
    wide = run(plain_instance_layer_norm, [t.double() for t in inputs], norm, weights.double())
    for got, expected in zip(ours, wide, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(got / scale, (expected / scale).float(), atol=1e-6, rtol=0)


def test_nothing_but_the_input_is_kept(features):
    norm = Norm(slope=0.0, padding=reflection(1))
    inputs = inputs_of(features, norm, 'adalin')
    inputs = [t.requires_grad_() for t in inputs]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()), lambda kept: kept
    ):
        instance_layer_norm(inputs[0], Factors(*inputs[1:5]), norm, inputs[5])
    assert sorted(kept)[-2:] == [features[:, :, 0, 0].numel(), features.numel()]


def test_every_norm_takes_the_bias_the_activation_the_padding_and_the_residual(features):
    rng = torch.Generator().manual_seed(3)
    bias, residual = torch.randn(6, generator=rng), torch.randn(2, 6, 7, 9, generator=rng)
    gamma, beta = style(2, 6)
    norms = [
        (AdaLIN(6, rho_init=0.5), (gamma, beta)),
        (LIN(6, rho_init=0.5), ()),
        (InstanceNorm(6), ()),
        (InstanceNorm(6, affine=True), ()),
        (GroupNorm(2, 6), ()),
    ]
    for norm, words in norms:
        expected = norm(features + bias[:, None, None], *words)
        torch.testing.assert_close(
            norm(features, *words, bias=bias), expected, atol=2e-6, rtol=1e-5
        )
        expected = F.pad(F.leaky_relu(expected, 0.2), (1, 1, 1, 1), mode='reflect') + residual
        found = norm(features, *words, bias=bias, slope=0.2, pad=reflection(1), residual=residual)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_instance_norm_is_torchs(features):
    ours, theirs = InstanceNorm(6, affine=True), torch.nn.InstanceNorm2d(6, affine=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(torch.rand(6) - 0.3)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(features), theirs(features), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours(features, slope=0.0), theirs(features).relu(), atol=1e-5, rtol=1e-5
    )
    plain = torch.nn.InstanceNorm2d(6)
    torch.testing.assert_close(InstanceNorm(6)(features), plain(features), atol=1e-5, rtol=1e-5)


def test_large_means_do_not_spoil_the_result(features):
    layer = LIN(6, rho_init=1.0)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = features.contiguous(memory_format=layout)
        torch.testing.assert_close(layer(x + 1000), layer(features), atol=2e-3, rtol=0)


def test_bfloat16_keeps_its_type_and_float32_statistics(features):
    layer = LIN(6, rho_init=0.5)
    x = features.bfloat16()
    out = layer(x)
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out, layer(x.float()).bfloat16())


def test_bfloat16_gradients_are_float32s_rounded(features):
    layer = LIN(6, rho_init=0.5)
    grads = []
    for dtype in (torch.bfloat16, torch.float32):
        x = features.bfloat16().to(dtype).requires_grad_()
        layer(x, slope=0.0).backward(torch.ones_like(x))
        assert x.grad.dtype is dtype
        grads.append((x.grad.float(), layer.rho.grad, layer.gamma.grad))
        layer.zero_grad()
    for got, expected in zip(*grads, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-2)


def test_fixed_rho_is_no_parameter_and_not_saved():
    layer = AdaLIN(6, rho_init=1.0, rho_smoothing=0.0, learn_rho=False)
    assert not list(layer.parameters()) and not layer.state_dict()


def test_clip_rho_reaches_every_layer():
    net = torch.nn.Sequential(AdaLIN(2), torch.nn.Sequential(LIN(2)))
    net[0].rho.data.copy_(torch.tensor([1.5, -0.5]).view(1, 2, 1, 1))
    net[1][0].rho.data.copy_(torch.tensor([0.25, 7.0]).view(1, 2, 1, 1))
    clip_rho(net)
    assert net[0].rho.flatten().tolist() == [1.0, 0.0]
    assert net[1][0].rho.flatten().tolist() == [0.25, 1.0]


def test_rho_init_out_of_range_is_refused():
    with pytest.raises(ValueError, match='rho_init must lie in'):
        AdaLIN(4, rho_init=1.1)
