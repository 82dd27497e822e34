"""Padding, interleaving, kernels of up-sampling: one launch per pass, against the formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ugatit_mm.kernels import shuffle
from ugatit_mm.kernels.maps import NO_PADDING, Padding, reflection, replication
from ugatit_mm.kernels.support import Fused
from ugatit_mm.models.layers.conv import Interleave, QuarterKernels, _traced_interleave
from ugatit_mm.models.layers.padding import repad

# Each kernel is compared with its formula in the fast tier, too: test_first_use.py.
pytestmark = pytest.mark.slow

KINDS = [
    (NO_PADDING, reflection(3)),
    (NO_PADDING, replication()),
    (reflection(1), replication()),
    (reflection(1), NO_PADDING),
    (Padding(0, 1, 2, 0), Padding(1, 2, 1, 2)),
]
FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture
def launched(monkeypatch) -> list[str]:
    """Names of the kernels that ran; the checks at the first use run before."""
    names: list[str] = []
    launch = shuffle.launch

    def told(kernel, *args, **options):
        names.append(kernel.fn.__name__)
        launch(kernel, *args, **options)

    for function in Fused.known.values():
        monkeypatch.setattr(function, 'sound', {torch.device(d): True for d in ('cpu', 'cuda:0')})
    monkeypatch.setattr(shuffle, 'launch', told)
    return names


def compare(function, formula, x: Tensor, launched: list[str], kernels: list[str]) -> Tensor:
    """Result and gradient of a function against those of a formula in float64."""
    x = x.requires_grad_()
    out = function(x)
    weights = torch.sin(torch.arange(out.numel(), device=x.device)).view(out.shape)
    (grad,) = torch.autograd.grad(out, x, weights.to(out.dtype))
    assert launched == kernels
    wide = x.detach().double().requires_grad_()
    expected = formula(wide)
    (expected_grad,) = torch.autograd.grad(expected, wide, weights.to(out.dtype).double())
    for got, number in ((out, expected), (grad, expected_grad)):
        tolerance = torch.finfo(got.dtype).eps
        torch.testing.assert_close(got.double(), number, rtol=2 * tolerance, atol=4 * tolerance)
    return out


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize(('old', 'new'), KINDS, ids=str)
def test_paddings(kernels, launched, old, new, form, dtype):
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    x = x.to(kernels, dtype, memory_format=form)

    def formula(x: Tensor) -> Tensor:
        inside = old.inside(x)
        return F.pad(inside, new[:4], mode=new.mode) if new else inside

    names = (['_pad_kernel'] if new else []) + ['_repad_grad_kernel']
    out = compare(lambda x: repad(x, old, new), formula, x, launched, names)
    if new:
        assert out.is_contiguous(memory_format=form)


@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize('size', [(3, 3), (4, 7)])
def test_interleaving(kernels, launched, size, form):
    x = torch.randn(2, 12, *size, generator=torch.Generator().manual_seed(0))
    x = x.to(kernels, memory_format=form)
    names = ['_interleave_kernel', '_separate_kernel']
    out = compare(Interleave.apply, _traced_interleave, x, launched, names)
    assert out.is_contiguous(memory_format=form)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('form', FORMATS)
def test_kernels_of_upsampling(kernels, launched, form, dtype):
    """They equal a convolution after nearest up-sampling, rounded to autocast's dtype."""
    weight = torch.randn(5, 70, 3, 3, generator=torch.Generator().manual_seed(0))
    weight = weight.to(kernels, memory_format=form)

    def formula(weight: Tensor) -> Tensor:
        first, middle, last = weight.unbind(2)
        quarters = []
        for rows in ((first, middle + last), (first + middle, last)):
            left, centre, right = torch.stack(rows, 2).unbind(3)
            quarters += [
                torch.stack((left, centre + right), 3),
                torch.stack((left + centre, right), 3),
            ]
        return torch.cat(quarters)

    function = QuarterKernels.apply
    names = ['_quarters_kernel', '_quarters_grad_kernel']
    if dtype == torch.float32:
        out = compare(lambda x: function(x, dtype), formula, weight, launched, names)
    else:
        out = function(weight, dtype)
        # Triton's interpreter truncates, where a GPU rounds.
        expected = formula(weight).to(dtype)
        torch.testing.assert_close(out, expected, rtol=torch.finfo(dtype).eps, atol=0)
    assert out.dtype == dtype and out.is_contiguous(memory_format=form)
