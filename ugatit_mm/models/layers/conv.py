"""Convolutions: without their bias, up-sampling, and for maps of few pixels."""

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
    """Convolve (N, C_in, H, W) and leave the bias to the norm that follows."""
    if isinstance(conv, (UpConv2d, SameConv2d, SameConvTranspose2d)):
        return conv.without_bias(x)
    padding: Any = conv.padding
    if isinstance(conv, nn.ConvTranspose2d):
        return F.conv_transpose2d(x, conv.weight, None, conv.stride, padding, conv.output_padding)
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding)


def convolve(
    conv: nn.Conv2d, x: Tensor, act: Activation = IDENTITY, padding: Padding = NO_PADDING
) -> Tensor:
    """Convolve (N, C_in, H, W), with the bias, activate, and pad for the next convolution."""
    bias, later = (None, conv.bias) if takes_bias(x) else (conv.bias, None)
    return bias_act(F.conv2d(x, conv.weight, bias, conv.stride, conv.padding), later, act, padding)


class ImageConv2d(nn.Conv2d):
    """The last convolution of a generator, without padding, and tanh."""

    def forward(self, x: Tensor) -> Tensor:
        """Make an image of (N, C_in, H, W)."""
        return convolve(self, x, TANH)


class UpConv2d(nn.Conv2d):
    """Nearest up-sampling to twice the size, then a 3x3 convolution with reflection padding.

    Computed at the size before the up-sampling, exactly: of the three rows under the kernel two are
    the same row of ``x``, so each of the four results around a pixel (even or odd row, even or odd
    column) is a 2x2 convolution of ``x`` whose kernels are sums of the 3x3 one. That is 4 products
    instead of 9. Reflection after the up-sampling repeats the border pixel before it, so the input
    comes padded by :func:`replication`.

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
        """As :meth:`forward`, less the bias."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return _traced_interleave(F.conv2d(x, plain_quarters(self.weight, self.weight.dtype)))
        kernels = QuarterKernels.apply(self.weight, product_type(self.weight))
        return Interleave.apply(F.conv2d(x, kernels))

    def plain(self, x: Tensor) -> Tensor:
        """As the official programs compute it, of (N, C_in, H, W); the tests' reference."""
        x = F.interpolate(x, scale_factor=2, mode='nearest')
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), self.weight, self.bias)


class SameConv2d(nn.Conv2d):
    """3x3, stride 2, padded as TensorFlow's ``SAME``: zeros after the map, none before it.

    For even sides, which it halves. Convolved with two lines of zeros all round, whose first
    results are left out: no padded copy of the map is written.

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
        """As :meth:`forward`, less the bias."""
        return repad(F.conv2d(x, self.weight, None, 2, 2), self.cut, NO_PADDING)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """Transposed 3x3 convolution of stride 2, cut as TensorFlow's ``SAME``: the gradient of
    :class:`SameConv2d`.

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
        """As :meth:`forward`, less the bias."""
        return repad(F.conv_transpose2d(x, self.weight, None, 2), self.cut, NO_PADDING)


def with_bias(conv: SameConv2d | SameConvTranspose2d, x: Tensor) -> Tensor:
    """Convolve and add the bias."""
    out = conv.without_bias(x)
    return out if conv.bias is None else out + conv.bias[:, None, None]


class QuarterKernels(torch.autograd.Function):
    """See :data:`ugatit_mm.kernels.shuffle.quarter_kernels`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Sum a 3x3 kernel up to four of 2x2, of type ``dtype``."""
        ctx.dtype = weight.dtype
        return quarter_kernels(weight, dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Add up what each weight is part of."""
        return quarter_gradients(grad, ctx.dtype), None


class Interleave(torch.autograd.Function):
    """See :data:`ugatit_mm.kernels.shuffle.interleaved`."""

    @staticmethod
    def forward(ctx: Any, quarters: Tensor) -> Tensor:
        """Take every map's window."""
        return interleaved(quarters)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Give every map's window its gradient, 0 around it."""
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
    """``nn.Conv2d`` without padding that multiplies matrices where a CPU gains by it.

    Where the kernel is larger than its input (deep layers of a discriminator: 33M weights, 121
    pixels), a CPU's convolution spends its time on rearranging the kernel. The same sums as one
    product of the kernel and the unfolded patches take half of the time.
    """

    def forward(
        self, x: Tensor, act: Activation = IDENTITY, padding: Padding = NO_PADDING
    ) -> Tensor:
        """Convolve (N, C_in, H, W), activate, and pad for the next convolution."""
        weight = self.weight  # one reading: a parametrisation may move at each
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
