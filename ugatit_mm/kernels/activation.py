"""Bias, activation and padding of a convolution's output in one pass, and its gradient.

The activation is ``y`` where ``y > 0`` and ``slope * y`` elsewhere, or tanh. Its gradient follows
from the result, which the next convolution keeps: the sign of ``y`` is that of the result where the
slope is above 0, the zeros are those where it is 0, and tanh' = 1 - tanh^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.layers.padding import NO_PADDING, Padding, fold, memory_format, reflection
from .places import first_copy, last_copy, shown
from .support import Example, Fused, jit, launch, tl, triton

# Chosen by reasoning, not tuned: 8 elements for each of the 128 threads of a program, as the
# gradient looks at up to nine places for each; and programs enough to fill a GPU several times.
TILE = 1024
PROGRAMS = 512


class Activation(NamedTuple):
    """What follows a convolution.

    Attributes:
        slope: Factor of numbers below 0: 1 is no activation, 0 is ReLU.
        tanh: tanh instead.
    """

    slope: float = 1.0
    tanh: bool = False


IDENTITY = Activation()
TANH = Activation(tanh=True)


def _plain(
    x: Tensor,
    bias: Tensor | None,
    act: Activation,
    padding: Padding,
    dtype: torch.dtype,
    form: torch.memory_format,
) -> Tensor:
    # Of narrow types the sum is not rounded before the activation.
    y = x if bias is None else x.float().add(bias[:, None, None])
    if act.tanh:
        y = y.tanh()
    elif act.slope != 1:
        y = F.leaky_relu(y, act.slope) if act.slope else F.relu(y)
    if padding:
        y = F.pad(y, padding[:4], mode=padding.mode)
    return y.to(dtype=dtype, memory_format=form)


def _kernel(
    x: Tensor,
    bias: Tensor | None,
    act: Activation,
    padding: Padding,
    dtype: torch.dtype,
    form: torch.memory_format,
) -> Tensor:
    batch, channels, height, width = x.shape
    high, wide = height + padding.top + padding.bottom, width + padding.left + padding.right
    out = _empty(x, (batch, channels, high, wide), dtype, form)
    block_c, block_p = _tile(channels, high * wide, form)
    tiles = triton.cdiv(high * wide, block_p)
    launch(
        _bias_act_kernel,
        (batch * triton.cdiv(channels, block_c) * tiles,),
        x,
        x if bias is None else bias,
        out,
        channels,
        height,
        width,
        high,
        wide,
        padding.top,
        padding.left,
        tiles,
        *x.stride(),
        *out.stride(),
        BIAS=bias is not None,
        SLOPE=act.slope,
        HYPERBOLIC=act.tanh,
        PADDED=bool(padding),
        REFLECT=padding.reflect,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out


def _plain_grad(
    grad: Tensor,
    y: Tensor | None,
    act: Activation,
    padding: Padding,
    dtype: torch.dtype,
    form: torch.memory_format,
    of_bias: bool,
) -> tuple[Tensor, Tensor | None]:
    grad = fold(grad, padding) if padding else grad
    if y is not None:
        y = padding.inside(y).contiguous(memory_format=memory_format(grad))
        if act.tanh:
            grad = torch.ops.aten.tanh_backward(grad, y)
        elif act.slope:
            grad = torch.ops.aten.leaky_relu_backward(grad, y, act.slope, True)
        else:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
    of_bias = grad.sum((0, 2, 3), dtype=torch.float32) if of_bias else None
    return grad.to(dtype=dtype, memory_format=form), of_bias


def _kernel_grad(
    grad: Tensor,
    y: Tensor | None,
    act: Activation,
    padding: Padding,
    dtype: torch.dtype,
    form: torch.memory_format,
    of_bias: bool,
) -> tuple[Tensor, Tensor | None]:
    batch, channels, high, wide = grad.shape
    height, width = high - padding.top - padding.bottom, wide - padding.left - padding.right
    out = _empty(grad, (batch, channels, height, width), dtype, form)
    block_c, block_p = _tile(channels, height * width, form)
    blocks, tiles = triton.cdiv(channels, block_c), triton.cdiv(height * width, block_p)
    steps = triton.cdiv(tiles, triton.cdiv(PROGRAMS, batch * blocks)) if of_bias else 1
    slices = triton.cdiv(tiles, steps)
    sums = grad.new_empty((batch * slices, channels), dtype=torch.float32) if of_bias else None
    y = grad if y is None else padding.inside(y)
    launch(
        _bias_act_grad_kernel,
        (batch * blocks * slices,),
        grad,
        y,
        out,
        out if sums is None else sums,
        channels,
        height,
        width,
        padding.top,
        padding.bottom,
        padding.left,
        padding.right,
        slices,
        steps,
        *grad.stride(),
        *y.stride(),
        *out.stride(),
        BIAS=of_bias,
        SLOPE=act.slope,
        HYPERBOLIC=act.tanh,
        PADDED=bool(padding),
        REFLECT=padding.reflect,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out, None if sums is None else add_rows(sums)


def add_rows(rows: Tensor) -> Tensor:
    """Add the rows of (R, C), float32, in a fixed order: (C,); no launch for one row."""
    if rows.size(0) == 1:
        return rows[0]
    count, columns = rows.shape
    out = rows.new_empty(columns)
    block_r = min(64, triton.next_power_of_2(count))
    grid = (triton.cdiv(columns, 16),)
    launch(_add_rows_kernel, grid, rows, out, count, columns, BLOCK_R=block_r, BLOCK_C=16)
    return out


def _empty(
    like: Tensor, shape: tuple[int, ...], dtype: torch.dtype, form: torch.memory_format
) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=form)


def _tile(channels: int, positions: int, form: torch.memory_format) -> tuple[int, int]:
    """Channels and positions of a tile (powers of 2), long where the memory is contiguous."""
    channels, positions = map(triton.next_power_of_2, (channels, positions))
    if form == torch.channels_last:
        block_c = min(64, channels)
        return block_c, min(TILE // block_c, positions)
    block_p = min(TILE, positions)
    return min(TILE // block_p, channels), block_p


# In the kernels a tile is (BLOCK_P, BLOCK_C). Program ids count tiles (or slices) of positions
# fastest, then blocks of channels, then samples.


@jit
def _part(parts, channels, BLOCK_C: tl.constexpr):
    """Sample, channels (1, BLOCK_C), both int64, and number of the tile or slice."""
    program = tl.program_id(0)
    blocks = tl.cdiv(channels, BLOCK_C)
    rest = program // parts
    channel = (rest % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    return (rest // blocks).to(tl.int64), channel.to(tl.int64), program % parts


@jit
def _at(row, column, stride_h, stride_w):
    return row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w


@jit
def _bias_act_kernel(
    x,
    bias,
    out,
    channels,
    height,
    width,
    high,
    wide,
    top,
    left,
    tiles,
    x_n,
    x_c,
    x_h,
    x_w,
    out_n,
    out_c,
    out_h,
    out_w,
    BIAS: tl.constexpr,
    SLOPE: tl.constexpr,
    HYPERBOLIC: tl.constexpr,
    PADDED: tl.constexpr,
    REFLECT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, channel, tile = _part(tiles, channels, BLOCK_C)
    position = tile * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    inside = (position < high * wide) & (channel < channels)
    row, column = position // wide, position % wide
    from_row, from_column = row, column
    if PADDED:
        from_row = shown(row, top, height, REFLECT)
        from_column = shown(column, left, width, REFLECT)
    at = sample * x_n + channel * x_c + _at(from_row, from_column, x_h, x_w)
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        y += tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    if HYPERBOLIC:
        small = tl.exp(-2 * tl.abs(y))
        y = tl.where(y < 0, small - 1, 1 - small) / (1 + small)
    elif SLOPE == 0:
        y = tl.where(y < 0, 0.0, y)  # not maximum(): NaN stays NaN
    elif SLOPE != 1:
        y = tl.where(y > 0, y, SLOPE * y)
    at = sample * out_n + channel * out_c + _at(row, column, out_h, out_w)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=inside)


@jit
def _bias_act_grad_kernel(
    grad,
    y,
    out,
    sums,
    channels,
    height,
    width,
    top,
    bottom,
    left,
    right,
    slices,
    steps,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    y_n,
    y_c,
    y_h,
    y_w,
    out_n,
    out_c,
    out_h,
    out_w,
    BIAS: tl.constexpr,
    SLOPE: tl.constexpr,
    HYPERBOLIC: tl.constexpr,
    PADDED: tl.constexpr,
    REFLECT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, channel, part = _part(slices, channels, BLOCK_C)
    grad += sample * grad_n + channel * grad_c
    y += sample * y_n + channel * y_c
    out += sample * out_n + channel * out_c
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    first = part * steps * BLOCK_P
    last = tl.minimum(first + steps * BLOCK_P, height * width)
    for start in range(first, last, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[:, None]
        inside = (position < height * width) & (channel < channels)
        row, column = position // width, position % width
        at = _at(row + top, column + left, grad_h, grad_w)
        g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        if PADDED:
            for i in tl.static_range(3):
                from_row = row + top
                if i == 1:
                    from_row = first_copy(row, top, height, REFLECT)
                if i == 2:
                    from_row = last_copy(row, top, bottom, height, REFLECT)
                for j in tl.static_range(3):
                    from_column = column + left
                    if j == 1:
                        from_column = first_copy(column, left, width, REFLECT)
                    if j == 2:
                        from_column = last_copy(column, left, right, width, REFLECT)
                    if i + j > 0:
                        there = inside & (from_row >= 0) & (from_column >= 0)
                        at = _at(from_row, from_column, grad_h, grad_w)
                        g += tl.load(grad + at, mask=there, other=0.0).to(tl.float32)
        if HYPERBOLIC or SLOPE != 1:
            result = tl.load(y + _at(row, column, y_h, y_w), mask=inside, other=0.0)
            result = result.to(tl.float32)
            if HYPERBOLIC:
                g *= 1 - result * result
            elif SLOPE == 0:
                g = tl.where(result <= 0, 0.0, g)
            else:
                g = tl.where(result > 0, g, SLOPE * g)
        at = _at(row, column, out_h, out_w)
        tl.store(out + at, g.to(out.dtype.element_ty), mask=inside)
        total += g
    if BIAS:
        line = sample * slices + part
        total = tl.sum(total, 0, keep_dims=True)
        tl.store(sums + line * channels + channel, total, mask=channel < channels)


@jit
def _add_rows_kernel(rows, out, count, columns, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    total = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    for start in range(0, count, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)[:, None]
        inside = (row < count) & (column < columns)
        total += tl.load(rows + row.to(tl.int64) * columns + column, mask=inside, other=0.0)
    tl.store(out + column, tl.sum(total, 0, keep_dims=True), mask=column < columns)


CASES = (
    (Activation(0.2), Padding(1, 2, 1, 2)),
    (Activation(0.0), reflection(1)),
    (TANH, NO_PADDING),
    (IDENTITY, Padding(1, 1, 1, 1, reflect=False)),
)


def _examples(device: torch.device) -> Iterator[Example]:
    for form, dtype in (
        (torch.channels_last, torch.bfloat16),
        (torch.contiguous_format, torch.float32),
    ):
        for act, padding in CASES:
            x = torch.randn(2, 5, 6, 7, device=device, dtype=dtype).to(memory_format=form)
            yield Example((x, torch.randn(5, device=device), act, padding, dtype, form))


def _grad_examples(device: torch.device) -> Iterator[Example]:
    for x, bias, act, padding, dtype, form in (example.args for example in _examples(device)):
        y = _plain(x, bias, act, padding, dtype, form)
        grad = torch.randn_like(y)
        # Of 16 bits the plain formula rounds each sum of the frame: up to four of them.
        atol = 1e-4 if dtype == torch.float32 else 0.1
        yield Example((grad, y, act, padding, dtype, form, True), atol=atol)


BIAS_ACT = Fused('bias and activation', _plain, _kernel, _examples)
"""``P(act(x + b))``: (x (N, C, H, W), bias (C) or None, act, padding, type, memory format)."""

BIAS_ACT_GRAD = Fused("bias and activation's gradient", _plain_grad, _kernel_grad, _grad_examples)
"""Its gradient: (gradient, result (where ``act`` is any), act, padding, type and memory format of
x, whether the bias' is wanted): gradient of x, and of the bias, float32, or None."""
