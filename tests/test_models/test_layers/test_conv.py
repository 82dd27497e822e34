"""The convolutions against the plain forms that they replace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ugatit_mm.kernels.shuffle import plain_quarters
from ugatit_mm.models.layers import (
    InstanceNorm,
    PatchConv2d,
    ResBlock,
    SameConv2d,
    SameConvTranspose2d,
    UpConv2d,
    spectral_norm,
    without_bias,
)
from ugatit_mm.models.layers.padding import Padding, pad, reflection, repad, replication

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def run(function, x: torch.Tensor, module: nn.Module) -> list[torch.Tensor]:
    """A function's result for ``x``, and all gradients of a weighted sum over positions."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    out = function(x)
    weights = torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape)
    (out * weights).sum().backward()
    return [out.detach(), x.grad, *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('size', [(2, 2), (3, 5), (8, 4)])
def test_upsampling_before_the_convolution_is_exact(size, bias, layout):
    torch.manual_seed(0)
    up = UpConv2d(3, 4, bias).double().to(memory_format=layout)
    x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=layout)
    ours = run(lambda x: up(pad(x, replication())), x, up)
    for got, expected in zip(ours, run(up.plain, x, up), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    assert ours[0].is_contiguous(memory_format=layout)


def test_upsampling_in_float32_and_as_torchs_modules():
    torch.manual_seed(0)
    up = UpConv2d(8, 5)
    modules = nn.Sequential(nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(8, 5, 3))
    modules[2].load_state_dict(up.state_dict())
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(up(pad(x, replication())), modules(x), atol=1e-6, rtol=1e-5)


def test_kernels_of_upsampling_are_summed_in_float32():
    """Under autocast they are rounded once, to the dtype of the convolution."""
    torch.manual_seed(0)
    up = UpConv2d(8, 5).to(memory_format=torch.channels_last)
    x = torch.randn(1, 8, 4, 4)
    with torch.autocast('cpu', torch.bfloat16):
        out = up.without_bias(x)
    kernels = plain_quarters(up.weight.detach(), torch.float32).bfloat16()
    expected = F.conv2d(x.bfloat16(), kernels)
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out[..., ::2, ::2], expected[:, :5, :-1, :-1])
    assert plain_quarters(up.weight, torch.float32).is_contiguous(memory_format=torch.channels_last)


def test_convolutions_without_their_bias():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 6, 7)
    for conv in (
        nn.Conv2d(3, 4, 3, 2, padding=1),
        nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=1),
        UpConv2d(3, 4),
    ):
        expected = without_bias(conv, x) + conv.bias[:, None, None]
        torch.testing.assert_close(conv(x), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('normed', [False, True])
def test_a_small_map_by_matrices_is_the_convolution(stride, normed):
    torch.manual_seed(0)
    conv = PatchConv2d(6, 12, 4, stride)
    if normed:
        spectral_norm(conv).eval()
    conv.double()
    x = torch.randn(2, 6, 7, 6, dtype=torch.float64)
    assert conv.weight.numel() > x.numel()  # by a matrix product

    def plain(x):
        return F.conv2d(x, conv.weight, conv.bias, stride)

    for got, expected in zip(run(conv, x, conv), run(plain, x, conv), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_traced_and_compiled_forms_are_the_same():
    torch.manual_seed(0)
    up = UpConv2d(4, 3)
    x = torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        expected = up.plain(x)
        x = pad(x, replication())
        torch.testing.assert_close(torch.jit.trace(up, x)(x), expected)
        torch.testing.assert_close(torch.compile(up, backend='eager')(x), expected)


def test_a_large_map_takes_torchs_convolution(monkeypatch):
    monkeypatch.setattr(F, 'unfold', None)  # would fail if it were called
    conv = PatchConv2d(2, 2, 4)
    x = torch.randn(1, 2, 16, 16)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias))


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(
    'padding',
    [reflection(1), reflection(3), replication(), Padding(1, 2, 1, 2), Padding(0, 2, 1, 0)],
    ids=str,
)
def test_padding_is_torchs_and_keeps_nothing(padding, layout):
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64).contiguous(memory_format=layout)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda kept: kept):
        pad(x.clone().requires_grad_(), padding)
    assert not kept
    none = nn.Identity()
    ours = run(lambda x: pad(x, padding), x, none)
    theirs = run(lambda x: F.pad(x, padding[:4], mode=padding.mode), x, none)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected)
        assert got.is_contiguous(memory_format=layout)


def test_another_padding():
    x = torch.randn(1, 2, 5, 6)
    padded = pad(x, reflection(1))
    assert repad(padded, reflection(1), reflection(1)) is padded
    assert torch.equal(repad(padded, reflection(1), replication()), pad(x, replication()))
    assert torch.equal(repad(padded, reflection(1), Padding()), x)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('size', [(2, 2), (6, 10)])
def test_tensorflows_same_is_zeros_after_the_map(size, layout):
    torch.manual_seed(0)
    conv = SameConv2d(3, 4).double().to(memory_format=layout)
    x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=layout)

    def plain(x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)

    ours = run(conv, x, conv)
    assert ours[0].shape == (2, 4, size[0] // 2, size[1] // 2)
    for got, expected in zip(ours, run(plain, x, conv), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(without_bias(conv, x) + conv.bias.view(-1, 1, 1), ours[0])


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_transposed_one_is_its_gradient(layout):
    torch.manual_seed(0)
    up, down = SameConvTranspose2d(3, 4).double().to(memory_format=layout), SameConv2d(4, 3)
    down = down.double()
    down.weight.data, down.bias.data = up.weight.detach(), torch.zeros(3).double()
    y = torch.randn(2, 3, 3, 5, dtype=torch.float64).contiguous(memory_format=layout)
    x = torch.randn(2, 4, 6, 10, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(down(x), x, y)
    torch.testing.assert_close(without_bias(up, y), expected)
    torch.testing.assert_close(up(y), expected + up.bias.view(-1, 1, 1))
    for got, wanted in zip(
        run(up, y, up),
        run(lambda y: F.conv_transpose2d(y, up.weight, up.bias, 2)[..., :-1, :-1], y, up),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize('zeros', [True, False])
def test_a_block_that_ends_with_a_relu(zeros):
    torch.manual_seed(0)
    norms = (InstanceNorm(3, affine=True), InstanceNorm(3, affine=True))
    block = ResBlock(3, norms, True, Padding(), zeros=zeros, relu=True)
    x, mode = torch.randn(2, 3, 4, 6), 'constant' if zeros else 'reflect'

    def plain(x):
        y = x
        for conv, norm in ((block.conv1, norms[0]), (block.conv2, norms[1])):
            y = F.conv2d(F.pad(y, (1, 1, 1, 1), mode=mode), conv.weight, conv.bias)
            y = F.instance_norm(y, weight=norm.weight, bias=norm.bias)
            y = y.relu() if conv is block.conv1 else y
        return (x + y).relu()

    def ours(x):
        return block(x if zeros else pad(x, reflection(1)))

    for got, expected in zip(run(ours, x, block), run(plain, x, block), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
