"""Convolutions: reflection padded, up-sampling, and for maps of few pixels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activation import IDENTITY, Activation, bias_act, takes_bias
from .padding import NO_PADDING, Padding, memory_format, pad, reflection, replication


class ReflectConv2d(nn.Conv2d):
    """A convolution with reflection padding that keeps the size (over the stride).

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
        kernel_size: An odd number.
        stride: Of the convolution.
        bias: Add a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            padding_mode='reflect',
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C_in, H, W)."""
        return F.conv2d(
            pad(x, reflection(self.kernel_size[0] // 2)), self.weight, self.bias, self.stride
        )


class UpConv2d(nn.Conv2d):
    """Nearest up-sampling to twice the size, then a 3x3 convolution with reflection padding.

    Computed at the size before the up-sampling, exactly: of the three rows under the kernel two are
    the same row of ``x``, so each of the four results around a pixel (even or odd row, even or odd
    column) is a 2x2 convolution of ``x`` whose kernels are sums of the 3x3 one. That is 4 products
    instead of 9. Reflection after the up-sampling repeats the border pixel before it.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
        bias: Add a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, 2 H, 2 W)."""
        x = pad(x, replication())
        bias = None if self.bias is None else self.bias.repeat(4)
        quarters = F.conv2d(x, quarter_kernels(self.weight), bias)
        return interleave(quarters)

    def plain(self, x: Tensor) -> Tensor:
        """As the official programs compute it; the tests' reference."""
        x = F.interpolate(x, scale_factor=2, mode='nearest')
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode='reflect'), self.weight, self.bias)


def quarter_kernels(weight: Tensor) -> Tensor:
    """Sum a 3x3 kernel (C_out, C_in, 3, 3) up to four of 2x2, (4 C_out, C_in, 2, 2).

    In each direction an even place sees (w0, w1 + w2), an odd one (w0 + w1, w2).
    """
    quarters = []
    for rows in _pairs(weight, 2):
        quarters += [torch.stack(columns, 3) for columns in _pairs(torch.stack(rows, 2), 3)]
    kernels = torch.cat(quarters)
    nhwc = weight.is_contiguous(memory_format=torch.channels_last)
    return kernels.contiguous(
        memory_format=torch.channels_last if nhwc else torch.contiguous_format
    )


def _pairs(weight: Tensor, dim: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    first, middle, last = weight.unbind(dim)
    return (first, middle + last), (first + middle, last)


def interleave(quarters: Tensor) -> Tensor:
    """Put four maps (N, 4 C, H + 1, W + 1), one for each parity, into one (N, C, 2 H, 2 W).

    Place (2 i + a, 2 j + b) is place (i + a, j + b) of map 2 a + b.
    """
    if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        return Interleave.apply(quarters)
    height, width = quarters.size(2) - 1, quarters.size(3) - 1
    maps = [
        part[:, :, a : a + height, b : b + width]
        for part, (a, b) in zip(quarters.chunk(4, 1), PARITIES, strict=True)
    ]
    rows = [torch.stack(maps[a : a + 2], 4).flatten(3) for a in (0, 2)]
    return torch.stack(rows, 3).flatten(2, 3)


PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))


class Interleave(torch.autograd.Function):
    """As :func:`interleave`, with one pass over each side."""

    @staticmethod
    def forward(ctx: Any, quarters: Tensor) -> Tensor:
        """Take every map's window."""
        batch, channels, height, width = ctx.shape = quarters.shape
        ctx.format = memory_format(quarters)
        out = torch.empty(
            (batch, channels // 4, 2 * height - 2, 2 * width - 2),
            dtype=quarters.dtype,
            device=quarters.device,
            memory_format=ctx.format,
        )
        for whole, window in _windows(out, quarters):
            whole.copy_(window)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Give every map's window its gradient, 0 around it."""
        quarters = torch.empty(
            ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=ctx.format
        ).zero_()
        for whole, window in _windows(grad, quarters):
            window.copy_(whole)
        return quarters


def _windows(whole: Tensor, quarters: Tensor) -> list[tuple[Tensor, Tensor]]:
    height, width = whole.size(2) // 2, whole.size(3) // 2
    return [
        (whole[:, :, a::2, b::2], part[:, :, a : a + height, b : b + width])
        for part, (a, b) in zip(quarters.chunk(4, 1), PARITIES, strict=True)
    ]


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
