"""Moving elements and adding up their copies: padding, interleaving, kernels of up-sampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .maps import (
    NO_PADDING,
    Padding,
    at,
    empty,
    grid,
    layout,
    load,
    load_folded,
    memory_format,
    place,
    reflection,
    replication,
    tile_at,
    tile_of,
)
from .places import shown
from .support import Example, Fused, jit, launch, tl, triton


def plain_pad(x: Tensor, padding: Padding) -> Tensor:
    """Pad (N, C, H, W); return ``x`` itself if there is nothing to pad."""
    return F.pad(x, padding[:4], mode=padding.mode) if padding else x


def plain_repad(x: Tensor, old: Padding, new: Padding) -> Tensor:
    """See :data:`repadded`."""
    return plain_pad(old.inside(x), new)


def plain_repad_grad(grad: Tensor, old: Padding, new: Padding) -> Tensor:
    """See :data:`repad_gradient`."""
    if new:  # several values are added, and rounded once
        wide = torch.promote_types(grad.dtype, torch.float32)
        grad = fold(grad.to(wide), new).to(grad.dtype)
    return F.pad(grad, old[:4]) if old else grad


def fold(grad: Tensor, padding: Padding) -> Tensor:
    """Add each padding line to the line that it copies: the backward pass of padding.

    Args:
        grad: Gradient of the padded map.
        padding: Padding of the map.

    Returns:
        Gradient of the map, in new memory.
    """
    out = padding.inside(grad).clone(memory_format=memory_format(grad))
    rows = _bands(padding.top, padding.bottom, grad.size(2), padding.reflect)
    columns = _bands(padding.left, padding.right, grad.size(3), padding.reflect)
    for frame_rows, shown_rows, flip_rows in rows:
        for frame_columns, shown_columns, flip_columns in columns:
            dims = [dim for dim, flip in ((2, flip_rows), (3, flip_columns)) if flip]
            if dims:
                frame = grad[:, :, frame_rows, frame_columns].flip(dims)
                out[:, :, shown_rows, shown_columns].add_(frame)
    return out


def _bands(before: int, after: int, padded: int, reflect: bool) -> list[tuple[slice, slice, bool]]:
    """Padding lines, the lines that they copy, whether mirrored; then the lines of the map."""
    edge, size = int(reflect), padded - before - after
    bands = [(slice(before, before + size), slice(None), False)]
    if before:
        bands.append((slice(None, before), slice(edge, edge + before), True))
    if after:
        last = size - edge
        bands.append((slice(padded - after, None), slice(last - after, last), True))
    return bands


def plain_interleave(quarters: Tensor) -> Tensor:
    """Copy every map's window into the result."""
    batch, channels, height, width = quarters.shape
    out = empty(quarters, (batch, channels // 4, 2 * height - 2, 2 * width - 2))
    for whole, window in _windows(out, quarters):
        whole.copy_(window)
    return out


def plain_separate(grad: Tensor) -> Tensor:
    """Copy the gradient into every map's window, with 0 around it."""
    batch, channels, height, width = grad.shape
    quarters = empty(grad, (batch, 4 * channels, height // 2 + 1, width // 2 + 1)).zero_()
    for whole, window in _windows(grad, quarters):
        window.copy_(whole)
    return quarters


def _windows(whole: Tensor, quarters: Tensor) -> list[tuple[Tensor, Tensor]]:
    height, width = whole.size(2) // 2, whole.size(3) // 2
    return [
        (whole[:, :, a::2, b::2], part[:, :, a : a + height, b : b + width])
        for part, (a, b) in zip(quarters.chunk(4, 1), PARITIES, strict=True)
    ]


PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))


def plain_quarters(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum the kernels; see :data:`quarter_kernels`."""
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    quarters = []
    for rows in _pairs(wide, 2):
        quarters += [torch.stack(columns, 3) for columns in _pairs(torch.stack(rows, 2), 3)]
    return torch.cat(quarters).to(dtype, memory_format=memory_format(weight))


def _pairs(weight: Tensor, dim: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    first, middle, last = weight.unbind(dim)
    return (first, middle + last), (first + middle, last)


def plain_quarters_grad(grad: Tensor, dtype: torch.dtype) -> Tensor:
    """Add up the gradients of the sums with each weight; see :data:`quarter_gradients`."""
    wide = grad.to(torch.promote_types(grad.dtype, torch.float32)).unflatten(0, (2, 2, -1))
    # (rows' parity, columns' parity, C_out, C_in, 2, 2): first over the columns, then the rows
    columns = torch.stack(_shares(wide[:, 0], wide[:, 1], 4), 4)
    return torch.stack(_shares(columns[0], columns[1], 2), 2).to(
        dtype, memory_format=memory_format(grad)
    )


def _shares(even: Tensor, odd: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    (even_0, even_1), (odd_0, odd_1) = even.unbind(dim), odd.unbind(dim)
    return even_0 + odd_0, even_1 + odd_0, even_1 + odd_1


def triton_repad(x: Tensor, old: Padding, new: Padding) -> Tensor:
    """Pad in one launch."""
    x = old.inside(x)
    out = empty(x, new.around(x.shape))
    block_c, block_p = tile_of(out, x)
    launch(
        _pad_kernel,
        grid(out, block_c, block_p),
        x,
        out,
        x.size(1),
        out.size(2) * out.size(3),
        new.left,
        new.top,
        x.size(2),
        *layout(x),
        *layout(out),
        REFLECT=new.reflect,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out


def triton_repad_grad(grad: Tensor, old: Padding, new: Padding) -> Tensor:
    """Fold, and pad with zeros, in one launch."""
    shape = new.within(grad.shape)
    out = empty(grad, old.around(shape))
    block_c, block_p = tile_of(out, grad, folded=bool(new))
    launch(
        _repad_grad_kernel,
        grid(out, block_c, block_p),
        grad,
        out,
        out.size(1),
        out.size(2) * out.size(3),
        *new[:4],
        *shape[2:],
        old.left,
        old.top,
        *grad.stride(),
        *layout(out),
        PAD=bool(new),
        REFLECT=new.reflect,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out


def triton_interleave(quarters: Tensor) -> Tensor:
    """Interleave in one launch."""
    batch, channels, height, width = quarters.shape
    out = empty(quarters, (batch, channels // 4, 2 * height - 2, 2 * width - 2))
    block_c, block_p = tile_of(out, quarters)
    launch(
        _interleave_kernel,
        grid(out, block_c, block_p),
        quarters,
        out,
        out.size(1),
        out.size(2) * out.size(3),
        *quarters.stride(),
        *layout(out),
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out


def triton_separate(grad: Tensor) -> Tensor:
    """Separate in one launch."""
    batch, channels, height, width = grad.shape
    quarters = empty(grad, (batch, 4 * channels, height // 2 + 1, width // 2 + 1))
    block_c, block_p = tile_of(grad, quarters)
    positions = 4 * quarters.size(2) * quarters.size(3)
    launch(
        _separate_kernel,
        (batch * triton.cdiv(channels, block_c) * triton.cdiv(positions, block_p),),
        grad,
        quarters,
        channels,
        positions,
        height,
        width,
        *grad.stride(),
        *quarters.stride(),
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return quarters


KERNELS = 256  # of a program, 25 values each


def triton_quarters(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum the kernels in one launch."""
    c_out, c_in = weight.shape[:2]
    quarters = empty(weight, (4 * c_out, c_in, 2, 2), dtype)
    _launch_quarters(_quarters_kernel, weight, quarters, c_out, c_in)
    return quarters


def triton_quarters_grad(grad: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum the gradients in one launch."""
    c_out, c_in = grad.size(0) // 4, grad.size(1)
    weight = empty(grad, (c_out, c_in, 3, 3), dtype)
    _launch_quarters(_quarters_grad_kernel, grad, weight, c_out, c_in)
    return weight


def _launch_quarters(kernel, source: Tensor, out: Tensor, c_out: int, c_in: int) -> None:
    count = c_out * c_in
    programs = triton.cdiv(count, KERNELS)
    strides = (*source.stride(), *out.stride())
    launch(kernel, (programs,), source, out, count, c_out, c_in, *strides, BLOCK=KERNELS)


@jit
def _pad_kernel(
    x,
    out,
    channels,
    positions,
    left,
    top,
    height,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    width,
    out_n,
    out_c,
    out_h,
    out_w,
    out_width,
    REFLECT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    row = shown(position // out_width, top, height, REFLECT)
    column = shown(position % out_width, left, width, REFLECT)
    source = at(sample, channel, row, column, stride_n, stride_c, stride_h, stride_w)
    value = tl.load(x + source, mask=inside)
    out += place(sample, channel, position, out_n, out_c, out_h, out_w, out_width, False)
    tl.store(out, value, mask=inside)


@jit
def _repad_grad_kernel(
    grad,
    out,
    channels,
    positions,
    left,
    right,
    top,
    bottom,
    height,
    width,
    out_left,
    out_top,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    out_n,
    out_c,
    out_h,
    out_w,
    out_width,
    PAD: tl.constexpr,
    REFLECT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    row = position // out_width - out_top
    column = position % out_width - out_left
    known = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    strides = (grad_n, grad_c, grad_h, grad_w)
    if PAD:
        frame = (left, right, top, bottom, height, width)
        value = load_folded(grad, sample, channel, row, column, known, *strides, *frame, REFLECT)
    else:
        value = load(grad, at(sample, channel, row, column, *strides), known)
    out += place(sample, channel, position, out_n, out_c, out_h, out_w, out_width, False)
    tl.store(out, value.to(out.dtype.element_ty), mask=inside)


@jit
def _interleave_kernel(
    quarters,
    out,
    channels,
    positions,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    out_n,
    out_c,
    out_h,
    out_w,
    width,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    row = position // width
    column = position % width
    a, b = row % 2, column % 2
    quarter = ((2 * a + b) * channels).to(tl.int64) * stride_c
    source = at(
        sample, channel, row // 2 + a, column // 2 + b, stride_n, stride_c, stride_h, stride_w
    )
    value = tl.load(quarters + source + quarter, mask=inside)
    out += place(sample, channel, position, out_n, out_c, out_h, out_w, width, False)
    tl.store(out, value, mask=inside)


@jit
def _separate_kernel(
    grad,
    quarters,
    channels,
    positions,
    height,
    width,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    # Positions of the four maps, one map after the other.
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    quarter = position // (positions // 4)
    position %= positions // 4
    row = position // (width // 2 + 1)
    column = position % (width // 2 + 1)
    # Position (i + a, j + b) of map 2 a + b becomes (2 i + a, 2 j + b).
    whole_row = 2 * row - quarter // 2
    whole_column = 2 * column - quarter % 2
    window = (whole_row >= 0) & (whole_row < height) & (whole_column >= 0) & (whole_column < width)
    source = at(sample, channel, whole_row, whole_column, grad_n, grad_c, grad_h, grad_w)
    value = tl.load(grad + source, mask=inside & window, other=0.0)
    out = at(sample, channel, row, column, stride_n, stride_c, stride_h, stride_w)
    out += (quarter * channels).to(tl.int64) * stride_c
    tl.store(quarters + out, value, mask=inside)


@jit
def _kernel_numbers(count, c_in, BLOCK: tl.constexpr):
    """Output and input channels of a program's kernels, and the mask of valid ones."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return (number // c_in).to(tl.int64), (number % c_in).to(tl.int64), number < count


@jit
def _quarters_kernel(
    weight,
    quarters,
    count,
    c_out,
    c_in,
    stride_o,
    stride_i,
    stride_h,
    stride_w,
    out_o,
    out_i,
    out_h,
    out_w,
    BLOCK: tl.constexpr,
):
    o, i, known = _kernel_numbers(count, c_in, BLOCK)
    weight += o * stride_o + i * stride_i
    quarters += o * out_o + i * out_i
    for a in tl.static_range(2):
        for u in tl.static_range(2):
            # Even rows use (w0, w1 + w2), odd rows (w0 + w1, w2).
            w0 = _pair(weight, a, u, stride_h, 0 * stride_w, known)
            w1 = _pair(weight, a, u, stride_h, 1 * stride_w, known)
            w2 = _pair(weight, a, u, stride_h, 2 * stride_w, known)
            out = quarters + 2 * a * c_out * out_o + u * out_h
            kind = quarters.dtype.element_ty
            tl.store(out, w0.to(kind), mask=known)
            tl.store(out + out_w, (w1 + w2).to(kind), mask=known)
            out += c_out * out_o
            tl.store(out, (w0 + w1).to(kind), mask=known)
            tl.store(out + out_w, w2.to(kind), mask=known)


@jit
def _pair(weight, A: tl.constexpr, U: tl.constexpr, stride, offset, known):
    """Row ``U`` of the kernel for parity ``A``."""
    if A == U:
        value = load(weight, 2 * U * stride + offset, known)
    else:
        value = load(weight, U * stride + offset, known)
        value += load(weight, (U + 1) * stride + offset, known)
    return value


@jit
def _quarters_grad_kernel(
    grad,
    weight,
    count,
    c_out,
    c_in,
    stride_o,
    stride_i,
    stride_h,
    stride_w,
    out_o,
    out_i,
    out_h,
    out_w,
    BLOCK: tl.constexpr,
):
    o, i, known = _kernel_numbers(count, c_in, BLOCK)
    grad += o * stride_o + i * stride_i
    weight += o * out_o + i * out_i
    quarter = c_out * stride_o
    for r in tl.static_range(3):
        # Even rows have w1 and w2 in their second entry, odd rows w0 and w1 in their first.
        even = grad + (0 if r == 0 else 1) * stride_h
        odd = grad + 2 * quarter + (1 if r == 2 else 0) * stride_h
        for s in tl.static_range(3):
            first = (0 if s == 0 else 1) * stride_w
            second = quarter + (1 if s == 2 else 0) * stride_w
            value = load(even, first, known) + load(even, second, known)
            value += load(odd, first, known) + load(odd, second, known)
            place = weight + r * out_h + s * out_w
            tl.store(place, value.to(weight.dtype.element_ty), mask=known)


PADDINGS = (reflection(2), Padding(1, 2, 1, 2), replication())


def _maps(device: torch.device, shape: tuple[int, ...]) -> list[Tensor]:
    """Maps in either memory format, and in 16 bits."""
    x = torch.randn(shape, device=device)
    return [x, x.to(torch.bfloat16, memory_format=torch.channels_last)]


def _pad_examples(device: torch.device) -> list[Example]:
    maps = _maps(device, (2, 5, 9, 10))
    pairs = zip(PADDINGS, (NO_PADDING, reflection(1), Padding(0, 1, 2, 0)), strict=True)
    pairs = [*pairs, (NO_PADDING, reflection(1))]
    return [Example((x, old, new)) for x in maps for new, old in pairs]


def _map_examples(device: torch.device) -> list[Example]:
    return [Example((x,)) for x in _maps(device, (2, 12, 6, 8))]


def _kernel_examples(device: torch.device, side: int) -> list[Example]:
    kinds = (torch.float32, torch.bfloat16)
    return [Example((x, kind)) for x in _maps(device, (8, 5, side, side)) for kind in kinds]


repadded = Fused('padding', plain_repad, triton_repad, _pad_examples)
"""Change the :class:`Padding` of (N, C, H, W): (x, old, new)."""

repad_gradient = Fused('gradient of padding', plain_repad_grad, triton_repad_grad, _pad_examples)
"""Gradient of :data:`repadded`'s input from that of its result, 0 in the old padding."""

interleaved = Fused('interleaving', plain_interleave, triton_interleave, _map_examples)
"""Interleave four maps (N, 4 C, H + 1, W + 1), one for each parity, to (N, C, 2 H, 2 W).

Position (2 i + a, 2 j + b) is position (i + a, j + b) of map 2 a + b.
"""

separated = Fused('gradient of interleaving', plain_separate, triton_separate, _map_examples)
"""Gradient of :data:`interleaved` from that of its result, (N, C, 2 H, 2 W)."""

quarter_kernels = Fused(
    'kernels of up-sampling',
    plain_quarters,
    triton_quarters,
    lambda device: _kernel_examples(device, 3),
)
"""Sum a 3x3 kernel (C_out, C_in, 3, 3) into four 2x2 kernels, (4 C_out, C_in, 2, 2).

In each direction an even position uses (w0, w1 + w2), an odd one (w0 + w1, w2). Takes the weight
and the dtype of the result, which has the weight's memory format.
"""

quarter_gradients = Fused(
    'gradient of the kernels of up-sampling',
    plain_quarters_grad,
    triton_quarters_grad,
    lambda device: _kernel_examples(device, 2),
)
"""Gradient of the weight from that of :data:`quarter_kernels`; also takes the weight's dtype."""
