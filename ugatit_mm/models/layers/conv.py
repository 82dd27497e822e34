"""Convolutions: without their bias, with up-sampling, and for small maps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.shuffle import (
    PARITIES,
    interleaved,
    plain_quarters,
    quarter_gradients,
    quarter_kernels,
    separated,
)
from .activation import IDENTITY, TANH, Activation, bias_act, product_type, takes_bias
from .padding import NO_PADDING, Padding, repad


def without_bias(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Convolve (N, C_in, H, W) and leave the bias to the next norm."""
    if isinstance(conv, (UpConv2d, SameConv2d, SameConvTranspose2d)):
        return conv.without_bias(x)
    padding: Any = conv.padding
    if isinstance(conv, nn.ConvTranspose2d):
        return F.conv_transpose2d(x, conv.weight, None, conv.stride, padding, conv.output_padding)
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding)


def convolve(
    conv: nn.Conv2d, x: Tensor, act: Activation = IDENTITY, padding: Padding = NO_PADDING
) -> Tensor:
    """Convolve (N, C_in, H, W), add the bias, activate, and pad for the next convolution."""
    bias, later = (None, conv.bias) if takes_bias(x) else (conv.bias, None)
    return bias_act(F.conv2d(x, conv.weight, bias, conv.stride, conv.padding), later, act, padding)


class ImageConv2d(nn.Conv2d):
    """The last convolution of a generator, without padding, followed by tanh."""

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C_in, H, W) to an image."""
        return convolve(self, x, TANH)


class UpConv2d(nn.Conv2d):
    """Nearest up-sampling to twice the size, then a 3x3 convolution with reflection padding.

    Computed exactly at the size before up-sampling: two of the three rows under the kernel are the
    same row of ``x``, so each of the four results around a pixel (even or odd row, even or odd
    column) is a 2x2 convolution of ``x`` whose kernels are sums of the 3x3 one. That is 4 products
    instead of 9. Reflection after up-sampling equals replication before it, so the input comes
    padded by :func:`replication`.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
        bias: Add a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H + 2, W + 2) to (N, C_out, 2 H, 2 W)."""
        x = self.without_bias(x)
        return x if self.bias is None else x + self.bias[:, None, None]

    def without_bias(self, x: Tensor) -> Tensor:
        """As :meth:`forward`, without the bias."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return _traced_interleave(F.conv2d(x, plain_quarters(self.weight, self.weight.dtype)))
        kernels = QuarterKernels.apply(self.weight, product_type(self.weight))
        return Interleave.apply(F.conv2d(x, kernels))

    def plain(self, x: Tensor) -> Tensor:
        """Convolve (N, C_in, H, W) as the official programs do; reference of the tests."""
        x = F.interpolate(x, scale_factor=2, mode='nearest')
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), self.weight, self.bias)


class SameConv2d(nn.Conv2d):
    """3x3 convolution of stride 2, padded as TensorFlow's ``SAME``: zeros only after the map.

    For even sizes, which it halves. It convolves with zero padding of 2 on all sides and drops the
    first results: no padded copy of the map is written.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
    """

    cut = Padding(left=1, top=1)

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, 2 H, 2 W) to (N, C_out, H, W)."""
        return with_bias(self, x)

    def without_bias(self, x: Tensor) -> Tensor:
        """As :meth:`forward`, without the bias."""
        return repad(F.conv2d(x, self.weight, None, 2, 2), self.cut, NO_PADDING)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed 3x3 convolution of stride 2, ``SAME``: the gradient of :class:`SameConv2d`.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
    """

    cut = Padding(right=1, bottom=1)

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, 2 H, 2 W)."""
        return with_bias(self, x)

    def without_bias(self, x: Tensor) -> Tensor:
        """As :meth:`forward`, without the bias."""
        return repad(F.conv_transpose2d(x, self.weight, None, 2), self.cut, NO_PADDING)


def with_bias(conv: SameConv2d | SameConvTranspose2d, x: Tensor) -> Tensor:
    """Convolve and add the bias."""
    out = conv.without_bias(x)
    return out if conv.bias is None else out + conv.bias[:, None, None]


class QuarterKernels(torch.autograd.Function):
    """See :data:`ugatit_mm.kernels.shuffle.quarter_kernels`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Sum a 3x3 kernel into four 2x2 kernels of type ``dtype``."""
        ctx.dtype = weight.dtype
        return quarter_kernels(weight, dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Add up the gradients of all sums that each weight is part of."""
        return quarter_gradients(grad, ctx.dtype), None


class Interleave(torch.autograd.Function):
    """See :data:`ugatit_mm.kernels.shuffle.interleaved`."""

    @staticmethod
    def forward(ctx: Any, quarters: Tensor) -> Tensor:
        """Copy every map's window into the result."""
        return interleaved(quarters)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Copy the gradient into every map's window, with 0 around it."""
        return separated(grad)


def _traced_interleave(quarters: Tensor) -> Tensor:
    """:class:`Interleave` in plain operators."""
    height, width = quarters.size(2) - 1, quarters.size(3) - 1
    maps = [
        part[:, :, a : a + height, b : b + width]
        for part, (a, b) in zip(quarters.chunk(4, 1), PARITIES, strict=True)
    ]
    rows = [torch.stack(maps[a : a + 2], 4).flatten(3) for a in (0, 2)]
    return torch.stack(rows, 3).flatten(2, 3)


class PatchConv2d(nn.Conv2d):
    """``nn.Conv2d`` without padding that uses a matrix product where that is faster on a CPU.

    If the kernel is larger than its input (deep layers of a discriminator: 33M weights, 121
    pixels), a CPU's convolution spends its time on reordering the kernel. One product of the kernel
    and the unfolded patches takes half the time.
    """

    def forward(
        self, x: Tensor, act: Activation = IDENTITY, padding: Padding = NO_PADDING
    ) -> Tensor:
        """Convolve (N, C_in, H, W), activate, and pad for the next convolution."""
        weight = self.weight  # read once: a parametrisation may change at each read
        if takes_bias(x):
            out = F.conv2d(x, weight, None, self.stride)
            return bias_act(out, self.bias, act, padding)
        return bias_act(self._convolve(x, weight), None, act, padding)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if x.device.type != 'cpu' or weight.numel() <= x.numel() or torch.jit.is_tracing():
            return F.conv2d(x, weight, self.bias, self.stride)
        (height, width), stride = self.kernel_size, self.stride[0]
        size = ((x.size(2) - height) // stride + 1, (x.size(3) - width) // stride + 1)
        patches = F.unfold(x, self.kernel_size, stride=stride)  # (N, C_in * k * k, L)
        out = weight.flatten(1) @ patches.transpose(0, 1).flatten(1)  # (C_out, N * L)
        out = out.unflatten(1, (x.size(0), *size)).transpose(0, 1)
        return out if self.bias is None else out + self.bias[:, None, None]
