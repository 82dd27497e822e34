"""Bias, activation and padding of a convolution's output in one pass, and its gradient.

The activation is ``y`` where ``y > 0`` and ``slope * y`` elsewhere, or tanh. Its gradient follows
from the result, which the next convolution saves: with a slope above 0 the result has the sign of
``y``, with slope 0 its zeros are where the gradient is 0, and tanh' = 1 - tanh^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .maps import (
    NO_PADDING,
    Padding,
    at,
    empty,
    grid,
    load,
    load_folded,
    place,
    reflection,
    split,
    tile_at,
    tile_of,
)
from .places import shown
from .shuffle import fold, plain_pad
from .support import REGISTERS, Example, Fused, cut, jit, launch, tl, triton

# Programs of the gradient with sums, enough to fill a GPU several times by estimate.
PROGRAMS = 512


class Activation(NamedTuple):
    """Activation after a convolution.

    Attributes:
        slope: Factor of values below 0: 1 is no activation, 0 is ReLU.
        tanh: Use tanh instead.
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
    # With 16-bit types the sum is not rounded before the activation.
    y = x if bias is None else x.float().add(bias[:, None, None])
    if act.tanh:
        y = y.tanh()
    elif act.slope != 1:
        y = F.leaky_relu(y, act.slope) if act.slope else F.relu(y)
    return plain_pad(y, padding).to(dtype=dtype, memory_format=form)


def _kernel(
    x: Tensor,
    bias: Tensor | None,
    act: Activation,
    padding: Padding,
    dtype: torch.dtype,
    form: torch.memory_format,
) -> Tensor:
    _, channels, height, width = x.shape
    out = empty(x, padding.around(x.shape), dtype, form)
    high, wide = out.shape[2:]
    block_c, block_p = tile_of(out)
    launch(
        _bias_act_kernel,
        grid(out, block_c, block_p),
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
        *x.stride(),
        *out.stride(),
        BIAS=bias is not None,
        maxnreg=REGISTERS,
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
        y = padding.inside(y)
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
    out = empty(grad, padding.within(grad.shape), dtype, form)
    batch, channels, height, width = out.shape
    block_c, block_p = tile_of(out, grad, folded=bool(padding))
    blocks, tiles = triton.cdiv(channels, block_c), triton.cdiv(height * width, block_p)
    slices, steps = cut(tiles, triton.cdiv(PROGRAMS, batch * blocks) if of_bias else tiles)
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
        maxnreg=REGISTERS,
        SLOPE=act.slope,
        HYPERBOLIC=act.tanh,
        PADDED=bool(padding),
        REFLECT=padding.reflect,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out, None if sums is None else add_rows(sums)


def add_rows(rows: Tensor) -> Tensor:
    """Add the rows of (R, C), float32, in a fixed order to (C,); one row needs no kernel launch."""
    if rows.size(0) == 1:
        return rows[0]
    count, columns = rows.shape
    out = rows.new_empty(columns)
    block_r = min(64, triton.next_power_of_2(count))
    programs = (triton.cdiv(columns, 16),)
    launch(_add_rows_kernel, programs, rows, out, count, columns, BLOCK_R=block_r, BLOCK_C=16)
    return out


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
    sample, line, position, inside = tile_at(high * wide, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    row, column = position // wide, position % wide
    from_row, from_column = row, column
    if PADDED:
        from_row = shown(row, top, height, REFLECT)
        from_column = shown(column, left, width, REFLECT)
    y = load(x, at(sample, channel, from_row, from_column, x_n, x_c, x_h, x_w), inside)
    if BIAS:
        y += load(bias, line, line < channels)[:, None]
    if HYPERBOLIC:
        small = tl.exp(-2 * tl.abs(y))
        y = tl.where(y < 0, small - 1, 1 - small) / (1 + small)
    elif SLOPE == 0:
        y = tl.where(y < 0, 0.0, y)  # not maximum(): NaN stays NaN
    elif SLOPE != 1:
        y = tl.where(y > 0, y, SLOPE * y)
    out += at(sample, channel, row, column, out_n, out_c, out_h, out_w)
    tl.store(out, y.to(out.dtype.element_ty), mask=inside)


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
    sample, line, part = split(slices, channels, BLOCK_C)
    channel = line[:, None]
    total = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    first = part * steps * BLOCK_P
    last = tl.minimum(first + steps * BLOCK_P, height * width)
    for start in range(first, last, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        inside = (position < height * width) & (channel < channels)
        if PADDED:
            row, column = position // width, position % width
            g = load_folded(
                *(grad, sample, channel, row, column, inside, grad_n, grad_c, grad_h, grad_w),
                *(left, right, top, bottom, height, width, REFLECT),
            )
        else:
            g = load(
                grad,
                place(sample, channel, position, grad_n, grad_c, grad_h, grad_w, width, True),
                inside,
            )
        if HYPERBOLIC or SLOPE != 1:
            offset = place(sample, channel, position, y_n, y_c, y_h, y_w, width, True)
            result = load(y, offset, inside)
            if HYPERBOLIC:
                g *= 1 - result * result
            elif SLOPE == 0:
                g = tl.where(result <= 0, 0.0, g)
            else:
                g = tl.where(result > 0, g, SLOPE * g)
        offset = place(sample, channel, position, out_n, out_c, out_h, out_w, width, True)
        tl.store(out + offset, g.to(out.dtype.element_ty), mask=inside)
        total += g
    if BIAS:
        sums += (sample * slices + part) * channels + channel
        tl.store(sums, tl.sum(total, 1, keep_dims=True), mask=channel < channels)


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
            x = torch.randn(2, 5, 5, 6, device=device, dtype=dtype).to(memory_format=form)
            yield Example((x, torch.randn(5, device=device), act, padding, dtype, form))


def _grad_examples(device: torch.device) -> Iterator[Example]:
    for x, bias, act, padding, dtype, form in (example.args for example in _examples(device)):
        y = _plain(x, bias, act, padding, dtype, form)
        grad = torch.randn_like(y)
        # In 16 bits the plain formula rounds each sum of the padding: up to four of them.
        atol = 1e-4 if dtype == torch.float32 else 0.1
        yield Example((grad, y, act, padding, dtype, form, True), atol=atol)


BIAS_ACT = Fused('bias and activation', _plain, _kernel, _examples)
"""``P(act(x + b))``: (x (N, C, H, W), bias (C) or None, act, padding, dtype, memory format)."""

BIAS_ACT_GRAD = Fused("bias and activation's gradient", _plain_grad, _kernel_grad, _grad_examples)
"""Its gradient: (gradient, result (if there is an ``act``), act, padding, dtype and memory format
of x, whether the bias needs one): gradient of x, and of the bias, float32, or None."""
