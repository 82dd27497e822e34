"""Triton kernels of the generator's normalisations.

Every norm of the generator is ``y = act(scale * (x - mean) + shift)`` with ``scale``, ``shift`` and
``mean`` for each sample and channel; :mod:`.fused_norm` derives them, and the gradients, from the
four functions here. Inputs are (N, C, H, W) in float32, bfloat16 or float16, in any memory format,
with H and W flattened to P positions; sums are in float32.

A reduction is cut into slices of P, one program each, and a second, ordered sum over the slices;
there are no atomics, and the cut depends on the shape alone, so that the same input gives the same
bits in each run. Offsets are int64: a batch may have more than 2^31 elements.
"""

# Strings as annotations: the file can be imported where Triton is not installed.
from __future__ import annotations

import os
from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # it comes with torch for CUDA on Linux alone
    triton = None
    tl = SimpleNamespace()

# Chosen by reasoning, not tuned: 16 elements for each of the 128 threads of a program, and, in a
# reduction, enough programs to fill about 130 multiprocessors several times.
TILE = 2048
PROGRAMS = 1024


def _jit(kernel):
    return triton.jit(kernel) if triton else kernel


def available(x: Tensor) -> bool:
    """Whether the kernels are asked for and take ``x``.

    ``UGATIT_MM_TRITON=1`` in the environment asks for them: their speed was not measured yet, so
    torch's operators are the default. They take float32, bfloat16 and float16 on a GPU with compute
    capability 8.0 or newer, and on a CPU inside Triton's interpreter (``TRITON_INTERPRET=1`` before
    the import).
    """
    if os.environ.get('UGATIT_MM_TRITON') != '1':
        return False
    if triton is None or x.dim() != 4 or not x.numel():
        return False
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if x.is_cuda:
        return _modern(x.device.index)
    return x.device.type == 'cpu' and not isinstance(_affine_kernel, triton.JITFunction)


@cache
def _modern(device: int) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)  # the oldest that Triton supports


def channel_stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance of each channel, in one read of ``x``.

    Sound for large means: nothing is computed as E[x^2] - E[x]^2.

    Args:
        x: Features, (N, C, H, W).

    Returns:
        Mean and variance over H and W, (N, C), float32.
    """
    x, strides = _flatten(x)
    batch, channels, positions = _sizes(x)
    block_c, block_p = _tile(x)
    blocks, slices, steps = _cut(x, block_c, block_p)
    parts = x.new_empty((2, batch, channels, slices), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _stats_kernel[(batch * blocks * slices,)](
            x, *parts, channels, positions, slices, steps, *strides, block_c, block_p
        )
        if slices == 1:
            return parts[0, ..., 0], parts[1, ..., 0]
        result = x.new_empty((2, batch, channels), dtype=torch.float32)
        rows, block_s = 4, triton.next_power_of_2(slices)
        _merge_kernel[(triton.cdiv(batch * channels, rows),)](
            *parts, *result, batch * channels, positions, slices, steps * block_p, rows, block_s
        )
    return result[0], result[1]


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    """``scale * (x - mean) + shift``, behind it ReLU if ``relu``, in one read and one write.

    Args:
        x: Features, (N, C, H, W).
        mean: Subtracted first, (N, C), float32; likewise ``scale`` and ``shift``.
        scale: Multiplied.
        shift: Added.
        relu: Apply ReLU.

    Returns:
        Tensor (N, C, H, W) of the type and memory format of ``x``.
    """
    x, strides = _flatten(x)
    out = torch.empty_like(x)
    _, channels, positions = _sizes(x)
    block_c, block_p = _tile(x)
    with torch.cuda.device_of(x):
        _affine_kernel[_grid(x, block_c, block_p)](
            x,
            out,
            *(vector.contiguous() for vector in (mean, scale, shift)),
            channels,
            positions,
            *strides,
            *_flatten(out)[1],
            relu,
            block_c,
            block_p,
        )
    return out


def affine_grad_sums(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, relu: bool
) -> tuple[Tensor, Tensor]:
    """Sums of g and of ``g * (x - mean)`` over H and W, in one read of ``grad`` and ``x``.

    g is the gradient before ReLU: ``grad`` where :func:`affine` is positive, 0 elsewhere.

    Args:
        grad: Gradient of the result of :func:`affine`, (N, C, H, W), in any memory format.
        x: Input of :func:`affine`; likewise the others.
        mean: As there.
        scale: As there.
        shift: As there.
        relu: As there.

    Returns:
        The two sums, (N, C), float32.
    """
    (grad, grad_strides), (x, strides) = _flatten(grad), _flatten(x)
    batch, channels, positions = _sizes(x)
    block_c, block_p = _tile(x, grad)
    blocks, slices, steps = _cut(x, block_c, block_p)
    parts = x.new_empty((2, batch, channels, slices), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _grad_sums_kernel[(batch * blocks * slices,)](
            grad,
            x,
            *(vector.contiguous() for vector in (mean, scale, shift)),
            *parts,
            channels,
            positions,
            slices,
            steps,
            *grad_strides,
            *strides,
            relu,
            block_c,
            block_p,
        )
    sums = parts[..., 0] if slices == 1 else parts.sum(-1)
    return sums[0], sums[1]


def affine_grad_input(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    relu: bool,
    slope: Tensor,
    offset: Tensor,
) -> Tensor:
    """``scale * g + slope * (x - mean) + offset``, in one read of ``grad`` and ``x`` and one write.

    Args:
        grad: As in :func:`affine_grad_sums`, which says what g is; likewise the next five.
        x: As there.
        mean: As there.
        scale: As there.
        shift: As there.
        relu: As there.
        slope: What the statistics' gradients add for each unit of ``x - mean``, (N, C), float32.
        offset: What they add to all positions, (N, C), float32.

    Returns:
        Gradient of ``x``, (N, C, H, W), of its type and memory format.
    """
    (grad, grad_strides), (x, strides) = _flatten(grad), _flatten(x)
    out = torch.empty_like(x)
    _, channels, positions = _sizes(x)
    block_c, block_p = _tile(x, grad)
    with torch.cuda.device_of(x):
        _grad_input_kernel[_grid(x, block_c, block_p)](
            grad,
            x,
            out,
            *(vector.contiguous() for vector in (mean, scale, shift, slope, offset)),
            channels,
            positions,
            *grad_strides,
            *strides,
            *_flatten(out)[1],
            relu,
            block_c,
            block_p,
        )
    return out


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.size(0), x.size(1), x.size(2) * x.size(3)


def _strides(x: Tensor) -> tuple[int, int, int] | None:
    """Strides of sample, channel and position, if rows follow each other without a gap."""
    batch, channel, row, column = x.stride()
    if x.size(3) == 1:  # the stride of a single row or column may be any number
        return batch, channel, row
    if x.size(2) > 1 and row != x.size(3) * column:
        return None
    return batch, channel, column


def _flatten(x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """``x`` and its strides; a cut-out, whose rows have gaps, is copied first."""
    strides = _strides(x)
    if strides is None:
        last = x.stride(1) < x.stride(3)
        kind = torch.channels_last if last else torch.contiguous_format
        return _flatten(x.contiguous(memory_format=kind))
    return x, strides


def _tile(*tensors: Tensor) -> tuple[int, int]:
    """Channels and positions of a tile (powers of 2), long where the memory is contiguous."""
    _, channels, positions = _sizes(tensors[0])
    channels, positions = triton.next_power_of_2(channels), triton.next_power_of_2(positions)
    channels_last = {stride[1] < stride[2] for _, stride in map(_flatten, tensors)}
    if channels_last == {False}:
        block_p = min(TILE, positions)
        return min(TILE // block_p, channels), block_p
    # 64 channels are at least 128 bytes; 32 if only one tensor is channels last.
    block_c = min(64 if channels_last == {True} else 32, channels)
    return block_c, min(TILE // block_c, positions)


def _grid(x: Tensor, block_c: int, block_p: int) -> tuple[int]:
    """One program for each tile, in one dimension: the other two end at 65535."""
    batch, channels, positions = _sizes(x)
    return (batch * triton.cdiv(channels, block_c) * triton.cdiv(positions, block_p),)


def _cut(x: Tensor, block_c: int, block_p: int) -> tuple[int, int, int]:
    """Blocks of channels, slices of positions, and tiles in each slice."""
    batch, channels, positions = _sizes(x)
    blocks, tiles = triton.cdiv(channels, block_c), triton.cdiv(positions, block_p)
    steps = triton.cdiv(tiles, triton.cdiv(PROGRAMS, batch * blocks))
    return blocks, triton.cdiv(tiles, steps), steps


# In the kernels a tile is (BLOCK_C, BLOCK_P), what belongs to a channel (BLOCK_C, 1). Program ids
# count tiles (or slices) of positions fastest, then blocks of channels, then samples.


@_jit
def _split(parts, channels, BLOCK_C: tl.constexpr):
    """Sample, channels (BLOCK_C), both int64, and number of the tile or slice."""
    program = tl.program_id(0)
    blocks = tl.cdiv(channels, BLOCK_C)
    rest = program // parts
    line = (rest % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    return (rest // blocks).to(tl.int64), line.to(tl.int64), program % parts


@_jit
def _offset(sample, channel, position, stride_n, stride_c, stride_p):
    return sample * stride_n + channel * stride_c + position.to(tl.int64) * stride_p


@_jit
def _load(x, offset, inside):
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@_jit
def _vector(x, sample, line, channels):
    # One-dimensional, then expanded: so each thread loads what it needs once.
    return tl.load(x + sample * channels + line, mask=line < channels, other=0.0)[:, None]


@_jit
def _affine(centred, scale, shift):
    # The same rounding in forward and backward, so that both agree where ReLU cuts.
    scale, shift = tl.broadcast_to(scale, centred.shape), tl.broadcast_to(shift, centred.shape)
    return tl.fma(scale, centred, shift)


@_jit
def _merge(mean, square, count, total):
    """Chan's formula: from groups along the last axis to mean and variance of all, (BLOCK, 1)."""
    merged = tl.sum(mean * count, 1, keep_dims=True) / total
    distance = mean - merged
    return merged, tl.sum(square + count * distance * distance, 1, keep_dims=True) / total


@_jit
def _stats_kernel(
    x,
    means,
    variances,
    channels,
    positions,
    slices,
    steps,
    stride_n,
    stride_c,
    stride_p,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, part = _split(slices, channels, BLOCK_C)
    channel = line[:, None]
    first = part * steps * BLOCK_P
    last = tl.minimum(first + steps * BLOCK_P, positions)
    lane = tl.arange(0, BLOCK_P)[None, :]
    # Each lane keeps mean and sum of squares of what it saw (Welford); the lanes are merged once.
    mean = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    square = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    seen = tl.zeros((1, 1), tl.float32)
    for start in range(first, last, BLOCK_P):
        position = start + lane
        inside = (channel < channels) & (position < positions)
        value = _load(x, _offset(sample, channel, position, stride_n, stride_c, stride_p), inside)
        seen += 1
        distance = tl.where(inside, value - mean, 0.0)
        mean += distance / seen
        square += distance * distance * ((seen - 1) / seen)
    count = ((last - first - lane + BLOCK_P - 1) // BLOCK_P).to(tl.float32)
    mean, variance = _merge(mean, square, count, (last - first).to(tl.float32))
    out = (sample * channels + channel) * slices + part
    tl.store(means + out, mean, mask=channel < channels)
    tl.store(variances + out, variance, mask=channel < channels)


@_jit
def _merge_kernel(
    means,
    variances,
    mean_out,
    variance_out,
    rows,
    positions,
    slices,
    length,
    BLOCK_R: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    row = (tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None]).to(tl.int64)
    part = tl.arange(0, BLOCK_S)[None, :]
    inside = (row < rows) & (part < slices)
    mean = tl.load(means + row * slices + part, mask=inside, other=0.0)
    variance = tl.load(variances + row * slices + part, mask=inside, other=0.0)
    # All slices have ``length`` positions but the last; the lanes behind it have none.
    count = tl.minimum(tl.maximum(positions - part * length, 0), length).to(tl.float32)
    mean, variance = _merge(mean, variance * count, count, positions.to(tl.float32))
    tl.store(mean_out + row, mean, mask=row < rows)
    tl.store(variance_out + row, variance, mask=row < rows)


@_jit
def _affine_kernel(
    x,
    out,
    mean,
    scale,
    shift,
    channels,
    positions,
    stride_n,
    stride_c,
    stride_p,
    out_n,
    out_c,
    out_p,
    RELU: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, tile = _split(tl.cdiv(positions, BLOCK_P), channels, BLOCK_C)
    channel = line[:, None]
    position = tile * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    inside = (channel < channels) & (position < positions)
    value = _load(x, _offset(sample, channel, position, stride_n, stride_c, stride_p), inside)
    value -= _vector(mean, sample, line, channels)
    scale = _vector(scale, sample, line, channels)
    y = _affine(value, scale, _vector(shift, sample, line, channels))
    if RELU:
        y = tl.where(y < 0, 0.0, y)  # not maximum(): NaN stays NaN
    out += _offset(sample, channel, position, out_n, out_c, out_p)
    tl.store(out, y.to(out.dtype.element_ty), mask=inside)


@_jit
def _grad_sums_kernel(
    grad,
    x,
    mean,
    scale,
    shift,
    sums,
    products,
    channels,
    positions,
    slices,
    steps,
    grad_n,
    grad_c,
    grad_p,
    stride_n,
    stride_c,
    stride_p,
    RELU: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, part = _split(slices, channels, BLOCK_C)
    channel = line[:, None]
    mean = _vector(mean, sample, line, channels)
    scale = _vector(scale, sample, line, channels)
    shift = _vector(shift, sample, line, channels)
    first = part * steps * BLOCK_P
    last = tl.minimum(first + steps * BLOCK_P, positions)
    sum_g = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    sum_gx = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    for start in range(first, last, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        inside = (channel < channels) & (position < positions)
        value = _load(x, _offset(sample, channel, position, stride_n, stride_c, stride_p), inside)
        value -= mean
        g = _load(grad, _offset(sample, channel, position, grad_n, grad_c, grad_p), inside)
        if RELU:
            g = tl.where(_affine(value, scale, shift) <= 0, 0.0, g)
        sum_g += g
        sum_gx += g * value
    out = (sample * channels + channel) * slices + part
    tl.store(sums + out, tl.sum(sum_g, 1, keep_dims=True), mask=channel < channels)
    tl.store(products + out, tl.sum(sum_gx, 1, keep_dims=True), mask=channel < channels)


@_jit
def _grad_input_kernel(
    grad,
    x,
    out,
    mean,
    scale,
    shift,
    slope,
    offset,
    channels,
    positions,
    grad_n,
    grad_c,
    grad_p,
    stride_n,
    stride_c,
    stride_p,
    out_n,
    out_c,
    out_p,
    RELU: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, tile = _split(tl.cdiv(positions, BLOCK_P), channels, BLOCK_C)
    channel = line[:, None]
    position = tile * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    inside = (channel < channels) & (position < positions)
    value = _load(x, _offset(sample, channel, position, stride_n, stride_c, stride_p), inside)
    value -= _vector(mean, sample, line, channels)
    g = _load(grad, _offset(sample, channel, position, grad_n, grad_c, grad_p), inside)
    scale = _vector(scale, sample, line, channels)
    if RELU:
        shift = _vector(shift, sample, line, channels)
        g = tl.where(_affine(value, scale, shift) <= 0, 0.0, g)
    slope = _vector(slope, sample, line, channels)
    y = scale * g + slope * value + _vector(offset, sample, line, channels)
    out += _offset(sample, channel, position, out_n, out_c, out_p)
    tl.store(out, y.to(out.dtype.element_ty), mask=inside)
