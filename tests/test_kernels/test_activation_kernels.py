"""Bias, activation and padding in one kernel, and its gradient, against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ugatit_mm.kernels import activation, maps
from ugatit_mm.kernels.activation import (
    BIAS_ACT,
    BIAS_ACT_GRAD,
    IDENTITY,
    TANH,
    Activation,
    add_rows,
)
from ugatit_mm.kernels.support import Fused
from ugatit_mm.models.layers.activation import bias_act
from ugatit_mm.models.layers.padding import NO_PADDING, Padding, reflection, replication

# Each kernel is compared with its formula in the fast tier, too: test_first_use.py.
pytestmark = pytest.mark.slow

LAST, FIRST = torch.channels_last, torch.contiguous_format
ACTS = {'none': IDENTITY, 'relu': Activation(0.0), 'leaky': Activation(0.2), 'tanh': TANH}
PADDINGS = (NO_PADDING, reflection(1), reflection(3), Padding(1, 2, 1, 2), replication())


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def formula(x, bias, act, padding):
    y = x if bias is None else x + bias[:, None, None]
    y = y.tanh() if act.tanh else F.leaky_relu(y, act.slope) if act.slope else y.relu()
    return F.pad(y, padding[:4], mode=padding.mode) if padding else y


def cut_out(x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, (1, 2, 1, 0)).contiguous(memory_format=LAST)[:, :, 1:, 1:-2]


@pytest.mark.parametrize(
    ('act', 'padding'),
    [
        *(('leaky', padding) for padding in PADDINGS),
        ('none', reflection(1)),
        ('relu', Padding(2, 0, 0, 1)),
        ('tanh', NO_PADDING),
    ],
    ids=str,
)
@pytest.mark.parametrize(('dtype', 'form'), [(torch.float32, FIRST), (torch.bfloat16, LAST)])
def test_values_and_gradients(kernels, monkeypatch, act, padding, dtype, form):
    monkeypatch.setattr(maps, 'TILE', 128)  # several slices of several tiles
    monkeypatch.setattr(activation, 'PROGRAMS', 4)
    act = ACTS[act]
    x = random(2, 5, 6, 7).to(device=kernels, dtype=dtype).to(memory_format=form)
    bias = random(5).to(kernels)
    x, bias = x.requires_grad_(), bias.requires_grad_()
    out = bias_act(x, bias, act, padding)
    assert out.dtype == dtype and out.is_contiguous(memory_format=form)
    wide = [tensor.detach().double().requires_grad_() for tensor in (x, bias)]
    expected = formula(*wide, act, padding)
    rtol = max(1e-5, torch.finfo(dtype).eps)
    assert_close(out.double(), expected, rtol=rtol, atol=1e-6)
    grad = random(*expected.shape).to(kernels).to(dtype)
    grads = torch.autograd.grad(out, (x, bias), grad)
    wanted = torch.autograd.grad(expected, wide, grad.double())
    assert grads[0].dtype == dtype and grads[1].dtype == torch.float32
    loose = 1e-5 if dtype == torch.float32 else 0.2  # tanh' comes from the rounded result
    for ours, theirs in zip(grads, wanted, strict=True):
        assert_close(ours.double(), theirs, rtol=rtol, atol=loose)


def test_an_image_becomes_what_the_first_convolution_takes(kernels):
    """Padded, in NHWC, in its dtype, in one launch; the gradient has the image's layout."""
    image = random(2, 3, 8, 9).to(kernels).requires_grad_()
    out = bias_act(image, None, IDENTITY, reflection(1), torch.bfloat16, LAST)
    assert out.is_contiguous(memory_format=LAST)
    expected = F.pad(image, (1, 1, 1, 1), mode='reflect')
    assert_close(out.float(), expected, rtol=2**-7, atol=0)  # the interpreter truncates
    (grad,) = torch.autograd.grad(out, image, torch.ones_like(out))
    assert grad.dtype == torch.float32 and grad.is_contiguous()
    assert grad.sum() == out.numel() and grad[0, 0, 1, 1] == 4 and grad[0, 0, 0, 0] == 1


def test_cut_outs_and_expanded_gradients(kernels):
    x = cut_out(random(2, 5, 6, 7).to(kernels))
    bias, act = random(5).to(kernels), Activation(0.2)
    out = BIAS_ACT(x, bias, act, reflection(2), x.dtype, LAST)
    assert_close(out, formula(x, bias, act, reflection(2)))
    grad = random(1, 5, 1, 1).to(kernels).expand_as(out)
    ours = BIAS_ACT_GRAD(grad, out, act, reflection(2), x.dtype, FIRST, True)
    theirs = BIAS_ACT_GRAD.plain(grad, out, act, reflection(2), x.dtype, FIRST, True)
    for one, two in zip(ours, theirs, strict=True):
        assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('act', ACTS.values(), ids=ACTS.keys())
def test_nan_and_infinity_pass(kernels, act):
    x = torch.tensor([torch.nan, -torch.inf, torch.inf, 1.0]).view(1, 1, 2, 2).to(kernels)
    out = BIAS_ACT(x, torch.zeros(1, device=kernels), act, NO_PADDING, x.dtype, FIRST)
    assert_close(out, formula(x, None, act, NO_PADDING), equal_nan=True)


@pytest.mark.parametrize('rows', [1, 3, 200])
def test_rows_are_added(kernels, rows):
    x = random(rows, 37).to(kernels)
    assert_close(add_rows(x).double(), x.double().sum(0), rtol=1e-6, atol=1e-5)


def test_the_checks_at_the_first_use_pass(kernels):
    for function in (BIAS_ACT, BIAS_ACT_GRAD):
        assert isinstance(function, Fused) and function._check(kernels)


def test_nothing_to_do_launches_nothing():
    x = random(1, 2, 3, 3)
    assert bias_act(x, None) is x


def test_plain_form_gives_the_same(monkeypatch):
    monkeypatch.delenv('UGATIT_MM_TRITON', raising=False)
    x, bias = random(2, 3, 5, 5).requires_grad_(), random(3).requires_grad_()
    for act in ACTS.values():
        out, expected = bias_act(x, bias, act, reflection(1)), formula(x, bias, act, reflection(1))
        assert torch.equal(out, expected)
        grad = random(*out.shape)
        for ours, theirs in zip(
            torch.autograd.grad(out, (x, bias), grad),
            torch.autograd.grad(expected, (x, bias), grad),
            strict=True,
        ):
            assert_close(ours, theirs)
