"""CAM by kernels against float64, including ties of the maximum."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ugatit_mm.kernels import cam as cam_kernels
from ugatit_mm.kernels import maps
from ugatit_mm.kernels.cam import CAM_GRAD, CAM_GRAD_INPUT, CAM_HEAD
from ugatit_mm.models import CAM
from ugatit_mm.models.layers.activation import Activation
from ugatit_mm.models.layers.padding import NO_PADDING, Padding

# Each kernel is compared with its formula in the fast tier, too: test_first_use.py.
pytestmark = pytest.mark.slow

LAST, FIRST = torch.channels_last, torch.contiguous_format


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def features(channels: int = 6) -> torch.Tensor:
    x = random(2, channels, 7, 5)
    x[:, 1:4] = x[:, 1:4].clamp(max=0.5)  # ties
    x[1, 4] = 0.0
    return x


def build(shared: bool, bias: bool, raw: bool, channels: int = 6) -> CAM:
    torch.manual_seed(0)
    fields = {'spectral': raw, 'raw_weight': raw}
    return CAM(channels, Activation(0.2), shared=shared, bias=bias, **fields)


@pytest.mark.parametrize(
    'form', [pytest.param(FIRST, marks=pytest.mark.slow, id='NCHW'), pytest.param(LAST, id='NHWC')]
)
@pytest.mark.parametrize('raw', [False, True])
@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('shared', [False, True])
def test_values_and_gradients(kernels, monkeypatch, shared, bias, raw, form):
    monkeypatch.setattr(maps, 'TILE', 64)  # several slices of several tiles
    monkeypatch.setattr(cam_kernels, 'PROGRAMS', 12)
    ours = build(shared, bias, raw).to(kernels)
    plain = copy.deepcopy(ours).double()
    padding = Padding(1, 2, 1, 2)
    x = features().to(kernels).to(memory_format=form).requires_grad_()
    wide = x.detach().double().requires_grad_()
    results = [cam(value, padding) for cam, value in ((ours, x), (plain, wide))]
    for one, two in zip(*results, strict=True):
        assert_close(one.double(), two, rtol=1e-5, atol=1e-5)
    assert results[0][0].shape == (2, 6, 10, 8) and results[0][2].shape == (2, 1, 7, 5)
    for out, leaf in zip(results, (x, wide), strict=True):
        weights = [random(*value.shape).to(kernels).to(value.dtype) for value in out[:2]]
        sum((value * w).sum() for value, w in zip(out[:2], weights, strict=True)).backward()
        assert leaf.grad is not None
    assert_close(x.grad.double(), wide.grad, rtol=1e-4, atol=1e-5)
    for one, two in zip(ours.parameters(), plain.parameters(), strict=True):
        assert_close(one.grad.double(), two.grad, rtol=1e-4, atol=1e-4)


def test_a_cut_out_of_a_padded_map_and_no_heatmap(kernels):
    cam = build(True, True, False).to(kernels)
    x = features().to(kernels)
    cut_out = F.pad(x, (1, 1, 1, 1)).contiguous(memory_format=LAST)[:, :, 1:-1, 1:-1]
    for one, two in zip(cam(cut_out, NO_PADDING, False), cam(x, NO_PADDING, False), strict=True):
        assert (one is two is None) or torch.allclose(one, two, atol=1e-6)


def test_many_channels_in_bfloat16(kernels):
    cam = build(False, False, False, channels=150).to(kernels)
    x = features(150).to(kernels).bfloat16().float().to(memory_format=LAST)
    out = []
    for enabled in (False, True):
        value = x.clone().requires_grad_()
        with torch.autocast(kernels.type, torch.bfloat16, enabled=enabled):
            got, logit, _ = cam(value.bfloat16() if enabled else value)
        assert got.dtype == (torch.bfloat16 if enabled else torch.float32)
        assert logit.dtype == torch.float32
        (got.float().square().mean() + logit.sum()).backward()
        out.append((got, logit, value.grad))
    for one, two in zip(*out, strict=True):
        assert (one - two).norm() < 0.03 * one.norm()


def test_frozen_classifiers_give_the_features_a_gradient(kernels):
    cam = build(True, True, False).to(kernels)
    x = features().to(kernels).requires_grad_()
    (expected,) = torch.autograd.grad(sum(v.sum() for v in cam(x)[:2]), x)
    cam.requires_grad_(False)
    out = cam(x)
    (grad,) = torch.autograd.grad(sum(v.sum() for v in out[:2]), x)
    assert torch.equal(grad, expected)


def test_nan_reaches_its_channels_logits(kernels):
    x = features().to(kernels)
    x[0, 2, 3, 1] = torch.nan
    weights = (torch.ones(1, 6, device=kernels),) * 2
    kernel = random(6, 12, 1, 1).to(kernels)
    _, logits, pooled = CAM_HEAD(x, kernel, weights, weights, None, torch.float32)
    assert logits.isnan().tolist() == [[True, True], [False, False]]
    assert pooled[:2].isnan().sum((1, 2)).tolist() == [1, 1]


def test_the_checks_at_the_first_use_pass(kernels):
    assert all(f._check(kernels) for f in (CAM_HEAD, CAM_GRAD, CAM_GRAD_INPUT))
