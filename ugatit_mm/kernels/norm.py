"""Instance-layer normalisation fused with its neighbours: three launches in each pass.

``y = P(act(scale * (x - m_I) + shift)) + residual`` for a map x without the bias of its
convolution, with P a padding. Both passes are: sums over H and W in slices, one program each; a
kernel that computes (N, C) values from them; one pass that writes the map.

A bias b before the norm changes only the layer statistics: ``offset = m_I + b - mean(m_I + b)`` and
``v_L = mean(v_I + offset^2)``, while ``x - m_I`` stays as it is.

With ``g`` the gradient after the activation, ``S1 = sum g`` and ``S2 = sum g (x - m_I)`` over H
and W, ``dx = scale * g + dm / P + 2 dv (x - m_I) / P`` with P = H * W, and ``dm``, ``dv`` the
gradients of the channels' mean and variance.

There are no atomics, and the division into slices depends only on the shape, so the same input
gives the same bits in each run.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .maps import (
    NO_PADDING,
    Padding,
    at,
    empty,
    gaps,
    grid,
    layout,
    load,
    load_folded,
    place,
    reflection,
    replication,
    split,
    tile_at,
    tile_of,
    vector,
)
from .places import shown
from .shuffle import fold, plain_pad
from .support import REGISTERS, Example, Fused, cut, jit, launch, tl, triton

# Programs of a reduction, to fill about 130 multiprocessors several times; and the values of a
# sample, slices times channels, that one program then merges.
PROGRAMS = 1024
MERGED = 1 << 13
TINY = 1e-12  # replaces a standard deviation of 0 as a divisor


class Norm(NamedTuple):
    """Options of a norm.

    Attributes:
        eps: Added to both variances.
        unbiased: Divide the variances by n - 1 instead of n.
        smoothing: Subtracted from rho, the result clipped to [0, 1]; with 0 rho is unchanged.
        slope: Slope of the activation below 0: 1 is no activation, 0 is ReLU.
        padding: P, the padding.
        eps_on_std: Add eps to the layer's standard deviation, not to its variance.
    """

    eps: float = 1e-5
    unbiased: bool = False
    smoothing: float = 0.0
    slope: float = 1.0
    padding: Padding = NO_PADDING
    eps_on_std: bool = False


class Factors(NamedTuple):
    """Parameters of a norm.

    Attributes:
        bias: Bias of the convolution before it, (C,); ``None`` without one.
        rho: Share of instance norm before smoothing, (1, C); ``None``: 1.
        gamma: Scale, (N or 1, C); ``None``: 1.
        beta: Shift, with the shape of ``gamma``; ``None``: 0.
    """

    bias: Tensor | None = None
    rho: Tensor | None = None
    gamma: Tensor | None = None
    beta: Tensor | None = None


class Numbers(NamedTuple):
    """Values computed from the statistics, (N, C) in float32 (float64 for float64).

    Attributes:
        mean: ``m_I``.
        scale: Factor, see the module.
        shift: Summand, see the module.
        inv_i: ``1 / sqrt(v_I + eps)``.
        offset: ``m_I + b`` minus its mean over C; ``None`` without rho, like ``inv_l``.
        inv_l: ``1 / sqrt(v_L + eps)``, or ``1 / (sqrt(v_L) + eps)``, (N, 1).
    """

    mean: Tensor
    scale: Tensor
    shift: Tensor
    inv_i: Tensor
    offset: Tensor | None
    inv_l: Tensor | None


def variance_factors(count: int, channels: int, unbiased: bool) -> tuple[float, float]:
    """Return used over population variance, n / (n - 1) or 1: for a channel, for the layer."""
    if not unbiased:
        return 1.0, 1.0
    return count / (count - 1), count * channels / (count * channels - 1)


def smoothed(rho: Tensor, smoothing: float) -> Tensor:
    """Return rho as used in the formula."""
    return (rho - smoothing).clamp(0, 1) if smoothing else rho


def inverse_std(var: Tensor, norm: Norm) -> Tensor:
    """Return the inverse of the layer's divisor."""
    return 1 / (var.sqrt() + norm.eps) if norm.eps_on_std else torch.rsqrt(var + norm.eps)


def _steepness(inv_l: Tensor, norm: Norm) -> Tensor:
    """Return -2 times the derivative of :func:`inverse_std` by the variance."""
    if norm.eps_on_std:
        return inv_l**2 / (1 / inv_l - norm.eps).clamp_min(TINY)
    return inv_l**3


def numbers_of(mean: Tensor, var: Tensor, count: int, factors: Factors, norm: Norm) -> Numbers:
    """Fold the statistics and the factors into ``scale * (x - m_I) + shift``.

    Args:
        mean: Means of the channels, (N, C).
        var: Population variances of the channels, (N, C).
        count: Number of pixels of a channel.
        factors: Parameters.
        norm: Options.
    """
    bias, rho, gamma, beta = factors
    factor_i, factor_l = variance_factors(count, mean.size(1), norm.unbiased)
    scale = inv_i = torch.rsqrt(factor_i * var + norm.eps)
    shift, offset, inv_l = torch.zeros_like(mean), None, None
    if rho is not None:
        shifted = mean if bias is None else mean + bias
        offset = shifted - shifted.mean(1, keepdim=True)
        var_l = (var + offset.square()).mean(1, keepdim=True)
        inv_l = inverse_std(factor_l * var_l, norm)
        rho = smoothed(rho, norm.smoothing)
        layer = (1 - rho) * inv_l
        scale, shift = rho * inv_i + layer, layer * offset
    if gamma is not None:
        scale, shift = gamma * scale, gamma * shift + beta
    return Numbers(mean, scale, shift, inv_i, offset, inv_l)


def plain_normalise(
    x: Tensor, factors: Factors, residual: Tensor | None, norm: Norm
) -> tuple[Tensor, Numbers]:
    """Compute it in torch's operators; see :data:`normalise`."""
    mean, var = _channel_stats(_wide(x))
    numbers = numbers_of(mean, var, x[0, 0].numel(), _widened(factors), norm)
    y = x - _map(mean)  # first: exact for features with a mean far from 0
    torch.addcmul(_map(numbers.shift), y, _map(numbers.scale), out=y)
    if norm.slope != 1:
        y = y.relu_() if norm.slope == 0 else F.leaky_relu_(y, norm.slope)
    y = plain_pad(y, norm.padding)
    if residual is not None:
        y += residual
    return y.to(x.dtype), numbers


def plain_gradients(
    grad: Tensor, x: Tensor, factors: Factors, numbers: Numbers, norm: Norm
) -> tuple[Tensor, Factors]:
    """Compute them in torch's operators; see :data:`gradients`."""
    grad = _wide(grad)
    if norm.padding:
        grad = fold(grad, norm.padding)
    centred = x - _map(numbers.mean)
    if norm.slope != 1:
        y = torch.addcmul(_map(numbers.shift), centred, _map(numbers.scale))
        if norm.slope == 0:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        else:
            grad = torch.ops.aten.leaky_relu_backward(grad, y, norm.slope, False)
    s1, s2 = grad.sum((2, 3)), (centred * grad).sum((2, 3))
    slope, offset, gradients = _coefficients(s1, s2, x[0, 0].numel(), factors, numbers, norm)
    torch.addcmul(_map(offset), centred, _map(slope), out=centred)
    return centred.addcmul_(grad, _map(numbers.scale)).to(x.dtype), gradients


def _coefficients(
    s1: Tensor, s2: Tensor, count: int, factors: Factors, numbers: Numbers, norm: Norm
) -> tuple[Tensor, Tensor, Factors]:
    """Return ``2 dv / P`` and ``dm / P``, and the gradients of the factors."""
    _, scale, _, inv_i, offset, inv_l = numbers
    _, rho, gamma, _ = _widened(factors)
    factor_i, factor_l = variance_factors(count, s1.size(1), norm.unbiased)
    one = gamma if gamma is not None else 1.0
    # d(v + eps)^(-1/2) = -1/2 (v + eps)^(-3/2) dv.
    grad_var = -0.5 * factor_i * inv_i**3 * one * s2
    grad_mean = -scale * s1
    unit, unit_shift, grad_rho, grad_bias = inv_i, 0.0, None, None
    if rho is not None:
        used = smoothed(rho, norm.smoothing)
        layer = (1 - used) * inv_l
        # v_L is the mean over C of v_I + offset^2.
        grad_var_l = (one * (1 - used) * (s2 + s1 * offset)).sum(1, keepdim=True)
        grad_var_l = -0.5 * factor_l * _steepness(inv_l, norm) * grad_var_l / s1.size(1)
        grad_var = grad_var * used + grad_var_l
        grad_offset = one * layer * s1 + 2 * grad_var_l * offset
        grad_bias = grad_offset - grad_offset.mean(1, keepdim=True)
        grad_mean = grad_mean + grad_bias
        grad_rho = one * (s2 * (inv_i - inv_l) - s1 * inv_l * offset)
        if norm.smoothing:
            less = rho - norm.smoothing
            grad_rho = grad_rho * ((less >= 0) & (less <= 1))
        unit, unit_shift = used * inv_i + layer, layer * offset
    elif factors.bias is not None:
        grad_bias = torch.zeros_like(s1[:1])
    found = Factors(
        None if grad_bias is None else grad_bias.sum(0), grad_rho, s2 * unit + s1 * unit_shift, s1
    )
    gradients = (
        None if factor is None else gradient.sum_to_size(factor.shape).to(factor.dtype)
        for factor, gradient in zip(factors, found, strict=True)
    )
    return 2 * grad_var / count, grad_mean / count, Factors(*gradients)


def _channel_stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and population variance of each channel, (N, C)."""
    if x.device.type != 'cpu':
        var, mean = torch.var_mean(x, (2, 3), correction=0)
        return mean, var
    # On a CPU torch's var_mean takes one value at a time and is several times slower; torch's sums
    # use partial sums, which keep float32 accurate to a few ulp even over 65,536 pixels.
    mean = x.mean((2, 3))
    return mean, (x - _map(mean)).square_().mean((2, 3))


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _widened(factors: Factors) -> Factors:
    return Factors(*(None if factor is None else _wide(factor) for factor in factors))


def _map(factor: Tensor) -> Tensor:
    return factor[..., None, None]


def triton_normalise(
    x: Tensor, factors: Factors, residual: Tensor | None, norm: Norm
) -> tuple[Tensor, Numbers]:
    """Compute it in three launches; see :data:`normalise`."""
    batch, channels, height, width = x.shape
    block_c, block_p = tile_of(x)
    parts, slices, steps = _parts(x, block_c, block_p)
    launch(
        _stats_kernel,
        (batch * triton.cdiv(channels, block_c) * slices,),
        x,
        *parts,
        channels,
        height * width,
        slices,
        steps,
        *layout(x),
        GAPS=gaps(x),
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )

    blended = factors.rho is not None
    made = x.new_empty((5 if blended else 4, batch, channels), dtype=torch.float32).unbind()
    inv_l = x.new_empty((batch, 1), dtype=torch.float32) if blended else None
    numbers = Numbers(*made[:4], made[4] if blended else None, inv_l)
    factors = _lines(factors)
    launch(
        _numbers_kernel,
        (batch,),
        *parts,
        *factors,
        *numbers,
        channels,
        height * width,
        slices,
        steps * block_p,
        _sample_stride(factors.gamma),
        _sample_stride(factors.beta),
        float(height * width),
        norm.eps,
        *variance_factors(height * width, channels, norm.unbiased),
        SMOOTHING=norm.smoothing,
        EPS_ON_STD=norm.eps_on_std,
        **_merging(channels, slices),
    )

    padding = norm.padding
    out = empty(x, padding.around(x.shape))
    maps = (x, out) if residual is None else (x, out, residual)
    block_c, block_p = tile_of(out, *maps)
    launch(
        _write_kernel,
        grid(out, block_c, block_p),
        x,
        residual,
        out,
        *numbers[:3],
        channels,
        out.size(2) * out.size(3),
        padding.left,
        padding.top,
        height,
        *layout(x),
        *layout(out if residual is None else residual),
        *layout(out),
        SLOPE=norm.slope,
        PAD=bool(padding),
        REFLECT=padding.reflect,
        GAPS=gaps(x),
        RESIDUAL_GAPS=residual is not None and gaps(residual),
        BLOCK_C=block_c,
        BLOCK_P=block_p,
    )
    return out, numbers


def triton_gradients(
    grad: Tensor, x: Tensor, factors: Factors, numbers: Numbers, norm: Norm
) -> tuple[Tensor, Factors]:
    """Compute them in three launches; see :data:`gradients`."""
    batch, channels, height, width = x.shape
    block_c, block_p = tile_of(x, grad, folded=bool(norm.padding))
    parts, slices, steps = _parts(x, block_c, block_p)
    frame = (*norm.padding[:4], height)
    kinds = {
        'SLOPE': norm.slope,
        'PAD': bool(norm.padding),
        'REFLECT': norm.padding.reflect,
        'GAPS': gaps(x),
        'GRAD_GAPS': gaps(grad),
        'BLOCK_C': block_c,
        'BLOCK_P': block_p,
    }
    launch(
        _grad_sums_kernel,
        (batch * triton.cdiv(channels, block_c) * slices,),
        grad,
        x,
        *numbers[:3],
        *parts,
        channels,
        height * width,
        slices,
        steps,
        *frame,
        *layout(grad),
        *layout(x),
        **kinds,
    )

    slope, offset = x.new_empty((2, batch, channels), dtype=torch.float32)
    gradients = Factors(*(None if f is None else f.new_empty(f.shape) for f in factors))
    factors = _lines(factors)
    launch(
        _coefficients_kernel,
        (1,),
        *parts,
        *factors[:3],
        *numbers,
        slope,
        offset,
        *gradients,
        batch,
        channels,
        slices,
        _sample_stride(factors.gamma),
        float(height * width),
        norm.eps,
        *variance_factors(height * width, channels, norm.unbiased),
        SMOOTHING=norm.smoothing,
        EPS_ON_STD=norm.eps_on_std,
        SHARED=factors.gamma is not None and factors.gamma.size(0) == 1,
        **_merging(channels, slices),
    )

    out = empty(x, x.shape)
    launch(
        _grad_input_kernel,
        grid(x, block_c, block_p),
        grad,
        x,
        out,
        *numbers[:3],
        slope,
        offset,
        channels,
        height * width,
        *frame,
        *layout(grad),
        *layout(x),
        *layout(out),
        **kinds,
        maxnreg=REGISTERS,
    )
    return out, gradients


def _parts(x: Tensor, block_c: int, block_p: int) -> tuple[Tensor, int, int]:
    """Allocate two sums for each slice, (2, N, S, C); also return S and the tiles of a slice."""
    batch, channels, height, width = x.shape
    blocks, tiles = triton.cdiv(channels, block_c), triton.cdiv(height * width, block_p)
    most = min(triton.cdiv(PROGRAMS, batch * blocks), max(1, MERGED // channels))
    slices, steps = cut(tiles, most)
    return x.new_empty((2, batch, slices, channels), dtype=torch.float32), slices, steps


def _merging(channels: int, slices: int) -> dict[str, int]:
    """Return the constants of a kernel that merges the slices of all channels."""
    block_c = triton.next_power_of_2(channels)
    block_s = min(triton.next_power_of_2(slices), max(1, 2048 // block_c))
    warps = min(16, max(4, block_c * block_s // 256))  # 8 values per thread
    # Few programs run: without an explicit register count the assembler reserves registers for more
    # programs, and spills others.
    registers = min(255, 65536 // (32 * warps))
    return {'BLOCK_C': block_c, 'BLOCK_S': block_s, 'num_warps': warps, 'maxnreg': registers}


def _lines(factors: Factors) -> Factors:
    """Return the factors with contiguous channels, which a network's factors have already."""
    return Factors(*(f if f is None or f.stride(-1) == 1 else f.contiguous() for f in factors))


def _sample_stride(factor: Tensor | None) -> int:
    return 0 if factor is None or factor.size(0) == 1 else factor.stride(0)


@jit
def _affine(centred, scale, shift):
    # The same rounding in the forward and backward pass, so that both agree on the activation's
    # sign.
    scale, shift = tl.broadcast_to(scale, centred.shape), tl.broadcast_to(shift, centred.shape)
    return tl.fma(scale, centred, shift)


@jit
def _merge(mean, square, count, total, AXIS: tl.constexpr):
    """Merge mean and sum of squares of groups along an axis by Chan's formula."""
    merged = tl.sum(mean * count, AXIS, keep_dims=True) / total
    distance = mean - merged
    return merged, tl.sum(square + count * distance * distance, AXIS, keep_dims=True)


@jit
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
    stride_h,
    stride_w,
    width,
    GAPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, part = split(slices, channels, BLOCK_C)
    channel = line[:, None]
    first = part * steps * BLOCK_P
    last = tl.minimum(first + steps * BLOCK_P, positions)
    lane = tl.arange(0, BLOCK_P)[None, :]
    # Each lane keeps mean and sum of squares of its elements (Welford); the lanes are merged once.
    mean = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    square = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    seen = tl.zeros((1, 1), tl.float32)
    strides = (stride_n, stride_c, stride_h, stride_w, width)
    for start in range(first, last, BLOCK_P):
        position = start + lane
        inside = (channel < channels) & (position < positions)
        value = load(x, place(sample, channel, position, *strides, GAPS), inside)
        seen += 1
        distance = tl.where(inside, value - mean, 0.0)
        mean += distance / seen
        square += distance * distance * ((seen - 1) / seen)
    count = ((last - first - lane + BLOCK_P - 1) // BLOCK_P).to(tl.float32)
    total = (last - first).to(tl.float32)
    mean, square = _merge(mean, square, count, total, 1)
    out = (sample * slices + part) * channels + channel
    tl.store(means + out, mean, mask=channel < channels)
    tl.store(variances + out, square / total, mask=channel < channels)


@jit
def _smoothed(rho, line, channels, SMOOTHING: tl.constexpr):
    """Rho as used in the formula, and rho minus the smoothing before clipping."""
    less = tl.load(rho + line, mask=line < channels, other=0.0).to(tl.float32) - SMOOTHING
    used = less
    if SMOOTHING != 0:
        used = tl.where(less < 0, 0.0, tl.where(less > 1, 1.0, less))  # NaN stays NaN
    return used, less


@jit
def _numbers_kernel(
    means,
    variances,
    bias,
    rho,
    gamma,
    beta,
    mean_out,
    scale_out,
    shift_out,
    inv_i_out,
    offset_out,
    inv_l_out,
    channels,
    positions,
    slices,
    length,
    gamma_n,
    beta_n,
    pixels,
    eps,
    factor_i,
    factor_l,
    SMOOTHING: tl.constexpr,
    EPS_ON_STD: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    sample = tl.program_id(0)
    line = tl.arange(0, BLOCK_C)[None, :]
    known = line < channels
    mean = tl.zeros((1, BLOCK_C), tl.float32)
    square = tl.zeros((1, BLOCK_C), tl.float32)
    for start in range(0, slices, BLOCK_S):
        part = start + tl.arange(0, BLOCK_S)[:, None]
        inside = known & (part < slices)
        at_part = (sample * slices + part) * channels + line
        means_part = tl.load(means + at_part, mask=inside, other=0.0)
        variance = tl.load(variances + at_part, mask=inside, other=0.0)
        # All slices but the last have ``length`` positions; lanes after the last have none.
        count = tl.minimum(tl.maximum(positions - part * length, 0), length).to(tl.float32)
        seen = tl.minimum(start * length, positions).to(tl.float32)
        total = tl.minimum((start + BLOCK_S) * length, positions).to(tl.float32)
        merged, part_square = _merge(means_part, variance * count, count, total - seen, 0)
        distance = merged - mean
        mean += distance * ((total - seen) / total)
        square += part_square + distance * distance * (seen * (total - seen) / total)
    variance = square / pixels
    inv_i = tl.rsqrt(factor_i * variance + eps)
    scale = inv_i
    shift = tl.zeros((1, BLOCK_C), tl.float32)
    out = sample * channels + line
    if rho is not None:
        shifted = mean
        if bias is not None:
            shifted += tl.load(bias + line, mask=known, other=0.0).to(tl.float32)
        offset = tl.where(known, shifted - tl.sum(shifted, 1, keep_dims=True) / channels, 0.0)
        variance_l = tl.sum(variance + offset * offset, 1, keep_dims=True) / channels
        if EPS_ON_STD:
            inv_l = 1 / (tl.sqrt(factor_l * variance_l) + eps)
        else:
            inv_l = tl.rsqrt(factor_l * variance_l + eps)
        used, _ = _smoothed(rho, line, channels, SMOOTHING)
        layer = (1 - used) * inv_l
        scale = used * inv_i + layer
        shift = layer * offset
        tl.store(offset_out + out, offset, mask=known)
        tl.store(inv_l_out + sample + tl.zeros((1, 1), tl.int32), inv_l)
    if gamma is not None:
        factor = tl.load(gamma + sample * gamma_n + line, mask=known, other=0.0).to(tl.float32)
        added = tl.load(beta + sample * beta_n + line, mask=known, other=0.0).to(tl.float32)
        scale = factor * scale
        shift = factor * shift + added
    tl.store(mean_out + out, mean, mask=known)
    tl.store(scale_out + out, scale, mask=known)
    tl.store(shift_out + out, shift, mask=known)
    tl.store(inv_i_out + out, inv_i, mask=known)


@jit
def _write_kernel(
    x,
    residual,
    out,
    mean,
    scale,
    shift,
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
    residual_n,
    residual_c,
    residual_h,
    residual_w,
    residual_width,
    out_n,
    out_c,
    out_h,
    out_w,
    out_width,
    SLOPE: tl.constexpr,
    PAD: tl.constexpr,
    REFLECT: tl.constexpr,
    GAPS: tl.constexpr,
    RESIDUAL_GAPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    if PAD:
        row = shown(position // out_width, top, height, REFLECT)
        column = shown(position % out_width, left, width, REFLECT)
        source = at(sample, channel, row, column, stride_n, stride_c, stride_h, stride_w)
    else:
        strides = (stride_n, stride_c, stride_h, stride_w, width)
        source = place(sample, channel, position, *strides, GAPS)
    centred = load(x, source, inside) - vector(mean, sample, line, channels)
    factor = vector(scale, sample, line, channels)
    y = _affine(centred, factor, vector(shift, sample, line, channels))
    if SLOPE == 0:
        y = tl.where(y < 0, 0.0, y)  # not maximum(): NaN stays NaN
    elif SLOPE != 1:
        y = tl.where(y < 0, SLOPE * y, y)
    if residual is not None:
        strides = (residual_n, residual_c, residual_h, residual_w, residual_width)
        y += load(residual, place(sample, channel, position, *strides, RESIDUAL_GAPS), inside)
    out += place(sample, channel, position, out_n, out_c, out_h, out_w, out_width, False)
    tl.store(out, y.to(out.dtype.element_ty), mask=inside)


@jit
def _gradient(
    grad,
    centred,
    scale,
    shift,
    sample,
    channel,
    position,
    inside,
    left,
    right,
    top,
    bottom,
    height,
    width,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    grad_width,
    SLOPE: tl.constexpr,
    PAD: tl.constexpr,
    REFLECT: tl.constexpr,
    GAPS: tl.constexpr,
):
    """Gradient after the activation."""
    strides = (grad_n, grad_c, grad_h, grad_w)
    if PAD:
        frame = (left, right, top, bottom, height, width)
        row, column = position // width, position % width
        g = load_folded(grad, sample, channel, row, column, inside, *strides, *frame, REFLECT)
    else:
        g = load(grad, place(sample, channel, position, *strides, grad_width, GAPS), inside)
    if SLOPE == 0:
        g = tl.where(_affine(centred, scale, shift) <= 0, 0.0, g)
    elif SLOPE != 1:
        g = tl.where(_affine(centred, scale, shift) <= 0, SLOPE * g, g)
    return g


@jit
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
    left,
    right,
    top,
    bottom,
    height,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    grad_width,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    width,
    SLOPE: tl.constexpr,
    PAD: tl.constexpr,
    REFLECT: tl.constexpr,
    GAPS: tl.constexpr,
    GRAD_GAPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, part = split(slices, channels, BLOCK_C)
    channel = line[:, None]
    mean = vector(mean, sample, line, channels)
    scale = vector(scale, sample, line, channels)
    shift = vector(shift, sample, line, channels)
    strides = (stride_n, stride_c, stride_h, stride_w, width)
    frame = (left, right, top, bottom, height, width)
    grad_strides = (grad_n, grad_c, grad_h, grad_w, grad_width)
    first = part * steps * BLOCK_P
    last = tl.minimum(first + steps * BLOCK_P, positions)
    sum_g = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    sum_gx = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    for start in range(first, last, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        inside = (channel < channels) & (position < positions)
        centred = load(x, place(sample, channel, position, *strides, GAPS), inside) - mean
        places = (sample, channel, position, inside)
        # Constants are passed one by one: in a tuple Triton 3.6 does not treat them as constants.
        g = _gradient(
            grad,
            centred,
            scale,
            shift,
            *places,
            *frame,
            *grad_strides,
            SLOPE,
            PAD,
            REFLECT,
            GRAD_GAPS,
        )
        sum_g += g
        sum_gx += g * centred
    out = (sample * slices + part) * channels + channel
    tl.store(sums + out, tl.sum(sum_g, 1, keep_dims=True), mask=channel < channels)
    tl.store(products + out, tl.sum(sum_gx, 1, keep_dims=True), mask=channel < channels)


@jit
def _coefficients_kernel(
    sums,
    products,
    bias,
    rho,
    gamma,
    mean,
    scale,
    shift,
    inv_i,
    offset,
    inv_l,
    slope_out,
    offset_out,
    grad_bias,
    grad_rho,
    grad_gamma,
    grad_beta,
    batch,
    channels,
    slices,
    gamma_n,
    pixels,
    eps,
    factor_i,
    factor_l,
    SMOOTHING: tl.constexpr,
    EPS_ON_STD: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    line = tl.arange(0, BLOCK_C)[None, :]
    known = line < channels
    # Sum over the samples, in order.
    sum_bias = tl.zeros((1, BLOCK_C), tl.float32)
    sum_rho = tl.zeros((1, BLOCK_C), tl.float32)
    sum_gamma = tl.zeros((1, BLOCK_C), tl.float32)
    sum_beta = tl.zeros((1, BLOCK_C), tl.float32)
    for sample in range(batch):
        s1 = tl.zeros((BLOCK_S, BLOCK_C), tl.float32)
        s2 = tl.zeros((BLOCK_S, BLOCK_C), tl.float32)
        row = sample * channels + line
        for start in range(0, slices, BLOCK_S):
            part = start + tl.arange(0, BLOCK_S)[:, None]
            inside = known & (part < slices)
            at_part = (sample * slices + part) * channels + line
            s1 += tl.load(sums + at_part, mask=inside, other=0.0)
            s2 += tl.load(products + at_part, mask=inside, other=0.0)
        s1 = tl.sum(s1, 0, keep_dims=True)
        s2 = tl.sum(s2, 0, keep_dims=True)
        inv = tl.load(inv_i + row, mask=known, other=0.0)
        one = tl.full((1, BLOCK_C), 1.0, tl.float32)
        if gamma is not None:
            at_gamma = gamma + sample * gamma_n + line
            one = tl.load(at_gamma, mask=known, other=0.0).to(tl.float32)
        # d(v + eps)^(-1/2) = -1/2 (v + eps)^(-3/2) dv.
        grad_var = -0.5 * factor_i * inv * inv * inv * one * s2
        grad_mean = -tl.load(scale + row, mask=known, other=0.0) * s1
        unit = inv
        unit_shift = tl.zeros((1, BLOCK_C), tl.float32)
        if rho is not None:
            used, less = _smoothed(rho, line, channels, SMOOTHING)
            distance = tl.load(offset + row, mask=known, other=0.0)
            inv_layer = tl.load(inv_l + sample)
            layer = (1 - used) * inv_layer
            # v_L is the mean over C of v_I + offset^2; other channels have a gradient of 0.
            grad_var_l = tl.sum(one * (1 - used) * (s2 + s1 * distance), 1, keep_dims=True)
            if EPS_ON_STD:
                steep = inv_layer * inv_layer / tl.maximum(1 / inv_layer - eps, 1e-12)
            else:
                steep = inv_layer * inv_layer * inv_layer
            grad_var_l = -0.5 * factor_l * steep * grad_var_l / channels
            grad_var = grad_var * used + grad_var_l
            grad_offset = one * layer * s1 + 2 * grad_var_l * distance
            centred = grad_offset - tl.sum(grad_offset, 1, keep_dims=True) / channels
            grad_mean += centred
            sum_bias += centred
            change = one * (s2 * (inv - inv_layer) - s1 * inv_layer * distance)
            if SMOOTHING != 0:
                change = tl.where((less >= 0) & (less <= 1), change, 0.0)
            sum_rho += change
            unit = used * inv + layer
            unit_shift = layer * distance
        tl.store(slope_out + row, 2 * grad_var / pixels, mask=known)
        tl.store(offset_out + row, grad_mean / pixels, mask=known)
        if gamma is not None:
            change = s2 * unit + s1 * unit_shift
            if SHARED:
                sum_gamma += change
                sum_beta += s1
            else:
                tl.store(grad_gamma + row, change.to(grad_gamma.dtype.element_ty), mask=known)
                tl.store(grad_beta + row, s1.to(grad_beta.dtype.element_ty), mask=known)
    if bias is not None:
        tl.store(grad_bias + line, sum_bias.to(grad_bias.dtype.element_ty), mask=known)
    if rho is not None:
        tl.store(grad_rho + line, sum_rho.to(grad_rho.dtype.element_ty), mask=known)
    if gamma is not None and SHARED:
        tl.store(grad_gamma + line, sum_gamma.to(grad_gamma.dtype.element_ty), mask=known)
        tl.store(grad_beta + line, sum_beta.to(grad_beta.dtype.element_ty), mask=known)


@jit
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
    left,
    right,
    top,
    bottom,
    height,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    grad_width,
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
    SLOPE: tl.constexpr,
    PAD: tl.constexpr,
    REFLECT: tl.constexpr,
    GAPS: tl.constexpr,
    GRAD_GAPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    strides = (stride_n, stride_c, stride_h, stride_w, width)
    centred = load(x, place(sample, channel, position, *strides, GAPS), inside)
    centred -= vector(mean, sample, line, channels)
    scale = vector(scale, sample, line, channels)
    shift = vector(shift, sample, line, channels)
    places = (sample, channel, position, inside)
    frame = (left, right, top, bottom, height, width)
    grad_strides = (grad_n, grad_c, grad_h, grad_w, grad_width)
    g = _gradient(
        grad,
        centred,
        scale,
        shift,
        *places,
        *frame,
        *grad_strides,
        SLOPE,
        PAD,
        REFLECT,
        GRAD_GAPS,
    )
    slope = vector(slope, sample, line, channels)
    y = scale * g + slope * centred + vector(offset, sample, line, channels)
    out += place(sample, channel, position, out_n, out_c, out_h, out_w, out_width, False)
    tl.store(out, y.to(out.dtype.element_ty), mask=inside)


KINDS = (
    (Norm(), False, False),
    (Norm(slope=0.2, unbiased=True, padding=Padding(1, 2, 1, 2)), False, True),
    (Norm(smoothing=0.1, slope=0.0, padding=reflection(1)), True, True),
    (Norm(unbiased=True, padding=replication()), True, True),
    (Norm(unbiased=True, slope=0.0, eps_on_std=True), True, True),
)


def _cases(device: torch.device) -> list[tuple[Tensor, Factors, Tensor, Norm]]:
    """Small inputs of each kind."""
    cases = []
    for norm, blended, affine in KINDS:
        for kind in (torch.float32, torch.bfloat16):
            x = torch.randn(2, 5, 6, 7, device=device) + 1
            layout = torch.channels_last if norm.padding.reflect else torch.contiguous_format
            x = x.to(kind, memory_format=layout)
            style = torch.randn(2, 2 if norm.smoothing else 1, 5, device=device) + 1
            factors = Factors(
                torch.randn(5, device=device),
                torch.rand(1, 5, device=device) if blended else None,
                *(style if affine else (None, None)),
            )
            after = torch.randn(norm.padding.around(x.shape), device=device).to(kind)
            cases.append((x, factors, after, norm))
    return cases


def _forward_examples(device: torch.device) -> list[Example]:
    return [Example(case) for case in _cases(device)]


def _backward_examples(device: torch.device) -> list[Example]:
    examples = []
    for x, factors, grad, norm in _cases(device):
        _, numbers = plain_normalise(x, factors, None, norm)
        examples.append(Example((grad, x, factors, numbers, norm), 1e-3, 1e-3))
    return examples


normalise = Fused('normalise', plain_normalise, triton_normalise, _forward_examples)
"""Normalise x.

Args:
    x: Features, (N, C, H, W), without the bias of their convolution.
    factors: :class:`Factors`.
    residual: Added last; has the same padding; ``None`` for none.
    norm: :class:`Norm`.

Returns:
    The padded map, in the dtype and memory format of ``x``, and :class:`Numbers` for the gradients.
"""

gradients = Fused('gradients of the norm', plain_gradients, triton_gradients, _backward_examples)
"""Gradients of :data:`normalise`.

The bias of an instance norm (no rho) has a gradient of exactly zero: the norm removes it.

Args:
    grad: Gradient of the padded result.
    x: As in :data:`normalise`.
    factors: As in :data:`normalise`.
    numbers: As returned by :data:`normalise`.
    norm: As in :data:`normalise`.

Returns:
    Gradient of ``x``, in its dtype and memory format, and gradients of the factors, in their shapes
    and dtypes. The gradient of the residual is ``grad`` itself.
"""
