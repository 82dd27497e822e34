"""Class activation map around its convolution: two launches forward, three backward.

Forward: average, maximum and its number of occurrences in each channel, in slices; then one kernel
merges the slices and computes the logits and the 1x1 convolution's kernel with the channel weights
in it, ``K_1 diag(w) + K_2 diag(w')``. Backward: the gradients of K, w and w' from that of this
kernel, in slices, which the second launch adds up; then the gradient of the poolings, added to that
of the convolution.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .maps import (
    empty,
    gaps,
    grid,
    layout,
    load,
    memory_format,
    place,
    split,
    tile_at,
    tile_of,
    vector,
)
from .support import Example, Fused, cut, jit, launch, tl, triton

# Not tuned.
PROGRAMS = 256
SLICES = 8  # of positions, and of the rows of the kernel, at most


def _plain(
    x: Tensor,
    kernel: Tensor,
    weights: tuple[Tensor, Tensor],
    channels: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor] | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    wide = x.float()
    most = wide.amax((2, 3))
    ties = (wide == most[..., None, None]).sum((2, 3)).float()
    pooled = torch.stack([wide.mean((2, 3)), most, ties])
    logits = torch.cat(
        [pool @ weight.t() for pool, weight in zip(pooled, weights, strict=False)], 1
    )
    if biases is not None:
        logits = logits + torch.cat(biases)
    halves = kernel.chunk(2, 1)
    mixed = sum(
        half * factor[:, :, None, None]
        for half, factor in zip(halves, _factors(channels, biases), strict=True)
    )
    return mixed.to(dtype), logits, pooled


def _factors(
    channels: tuple[Tensor, Tensor], biases: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Return the channel weights, (1, C) each."""
    return channels if biases is None else (channels[0] + biases[0], channels[1] + biases[1])


def _kernel(
    x: Tensor,
    kernel: Tensor,
    weights: tuple[Tensor, Tensor],
    channels: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor] | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, count, height, width = x.shape
    block_c, block_p = tile_of(x)
    blocks, tiles = triton.cdiv(count, block_c), triton.cdiv(height * width, block_p)
    slices, steps = cut(tiles, min(SLICES, triton.cdiv(PROGRAMS, batch * blocks)))
    parts = x.new_empty((3, slices, batch, count), dtype=torch.float32)
    launch(
        *(_pool_kernel, (batch * blocks * slices,), x, parts, batch, count, height * width),
        *(slices, steps, *layout(x)),
        **{'GAPS': gaps(x), 'BLOCK_C': block_c, 'BLOCK_P': block_p},
    )
    rows = kernel.size(0)
    mixed = torch.empty((rows, count, 1, 1), dtype=dtype, device=x.device)
    logits = x.new_empty((batch, 2), dtype=torch.float32)
    pooled = x.new_empty((3, batch, count), dtype=torch.float32)
    block_c = min(64, triton.next_power_of_2(count))
    launch(
        _head_kernel,
        (batch + triton.cdiv(rows, 8) * triton.cdiv(count, block_c),),
        *(parts, kernel, *weights, *channels, *(biases or weights), mixed, logits, pooled),
        *(batch, count, rows, height * width, slices),
        BIAS=biases is not None,
        SLICES=triton.next_power_of_2(slices),
        BLOCK_R=8,
        BLOCK_C=block_c,
    )
    return mixed, logits, pooled


def _plain_grad(
    grad: Tensor,
    grad_logits: Tensor,
    pooled: Tensor,
    kernel: Tensor,
    channels: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor] | None,
    shared: bool,
    raw: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    factors, grad = _factors(channels, biases), grad.float()
    grad_kernel = torch.cat([grad * factor[:, :, None, None] for factor in factors], 1)
    logit_part = (grad_logits.t()[:, :, None] * pooled[:2]).sum(1)
    channel_part = torch.stack([(grad * half).sum((0, 2, 3)) for half in kernel.chunk(2, 1)])
    of_biases = grad_logits.sum(0) + channel_part.sum(1)
    if not raw:
        logit_part = logit_part + channel_part
    out = torch.stack([logit_part, channel_part])
    if shared:
        out, of_biases = out.sum(1, keepdim=True).expand_as(out), of_biases.sum(0, keepdim=True)
    return grad_kernel, out.contiguous(), of_biases.expand(2).contiguous()


def _kernel_grad(
    grad: Tensor,
    grad_logits: Tensor,
    pooled: Tensor,
    kernel: Tensor,
    channels: tuple[Tensor, Tensor],
    biases: tuple[Tensor, Tensor] | None,
    shared: bool,
    raw: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    rows, count = grad.shape[:2]
    block_r, block_c = 8, min(64, triton.next_power_of_2(count))
    length = triton.cdiv(triton.cdiv(rows, SLICES), block_r) * block_r
    slices, blocks = triton.cdiv(rows, length), triton.cdiv(count, block_c)
    grad_kernel = torch.empty_like(kernel)
    parts = pooled.new_empty((2, slices, count))
    launch(
        *(_spread_kernel, (slices * blocks,), grad, kernel, *channels, *(biases or channels)),
        *(grad_kernel, parts, rows, count, slices, length, grad.stride(0), grad.stride(1)),
        **{'BIAS': biases is not None, 'BLOCK_R': block_r, 'BLOCK_C': block_c},
    )
    out, of_biases = pooled.new_empty((2, 2, count)), pooled.new_empty(2)
    launch(
        *(_finish_kernel, (1,), parts, grad_logits, pooled, out, of_biases),
        *(pooled.size(1), count, slices, *grad_logits.stride()),
        SHARED=shared,
        RAW=raw,
        SLICES=triton.next_power_of_2(slices),
        BLOCK_C=min(256, triton.next_power_of_2(count)),
        num_warps=8,
    )
    return grad_kernel, out, of_biases


def _plain_grad_input(
    grad: Tensor, x: Tensor, pooled: Tensor, grad_logits: Tensor, weights: tuple[Tensor, Tensor]
) -> Tensor:
    of_mean, of_most = (grad_logits[:, i, None] * weights[i] for i in (0, 1))
    of_mean = of_mean / (x.size(2) * x.size(3))
    of_most = (of_most / pooled[2])[..., None, None]
    at_most = x.float() == pooled[1][..., None, None]
    wide = grad.float() + of_mean[..., None, None] + torch.where(at_most, of_most, 0.0)
    return wide.to(dtype=x.dtype, memory_format=memory_format(x))


def _kernel_grad_input(
    grad: Tensor, x: Tensor, pooled: Tensor, grad_logits: Tensor, weights: tuple[Tensor, Tensor]
) -> Tensor:
    batch, count, height, width = x.shape
    out = empty(x, x.shape)
    block_c, block_p = tile_of(x, grad)
    launch(
        *(_grad_input_kernel, grid(x, block_c, block_p)),
        *(grad, x, pooled, grad_logits, *weights, out, batch, count, height * width),
        *(*layout(grad), *layout(x)[:4], *layout(out)[:4], *grad_logits.stride()),
        **{'GAPS': any(map(gaps, (grad, x, out))), 'BLOCK_C': block_c, 'BLOCK_P': block_p},
    )
    return out


@jit
def _merged(most, ties, AXIS: tl.constexpr):
    """The largest of several maxima, NaN if one is, and its number of occurrences."""
    broken = tl.max((most != most).to(tl.int32), AXIS, keep_dims=True) > 0
    largest = tl.max(most, AXIS, keep_dims=True)
    ties = tl.sum(tl.where(most == largest, ties, 0.0), AXIS, keep_dims=True)
    return tl.where(broken, float('nan'), largest), ties


@jit
def _pool_kernel(
    x,
    parts,
    batch,
    channels,
    positions,
    slices,
    steps,
    x_n,
    x_c,
    x_h,
    x_w,
    width,
    GAPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, part = split(slices, channels, BLOCK_C)
    channel = line[:, None]
    total = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    ties = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    most = tl.full((BLOCK_C, BLOCK_P), float('-inf'), tl.float32)
    first = part * steps * BLOCK_P
    for start in range(first, tl.minimum(first + steps * BLOCK_P, positions), BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        inside = (position < positions) & (channel < channels)
        value = load(x, place(sample, channel, position, x_n, x_c, x_h, x_w, width, GAPS), inside)
        total += value
        value = tl.where(inside, value, float('-inf'))
        ties = tl.where(value > most, 1.0, ties + ((value == most) & inside).to(tl.float32))
        most = tl.where((value > most) | (value != value), value, most)
    most, ties = _merged(most, ties, 1)
    size = batch * channels * slices
    out = parts + (part * batch + sample) * channels + channel
    tl.store(out, tl.sum(total, 1, keep_dims=True), mask=channel < channels)
    tl.store(out + size, most, mask=channel < channels)
    tl.store(out + 2 * size, ties, mask=channel < channels)


@jit
def _head_kernel(
    parts,
    kernel,
    weight_0,
    weight_1,
    channel_0,
    channel_1,
    bias_0,
    bias_1,
    mixed,
    logits,
    pooled,
    batch,
    channels,
    rows,
    positions,
    slices,
    BIAS: tl.constexpr,
    SLICES: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The first programs handle a sample each, the others a tile of the kernel."""
    program = tl.program_id(0)
    lane = tl.arange(0, BLOCK_C)[None, :]
    shift_0, shift_1 = 0.0, 0.0
    if BIAS:
        shift_0, shift_1 = tl.load(bias_0), tl.load(bias_1)
    if program < batch:
        part = tl.arange(0, SLICES)[:, None].to(tl.int64)
        size = batch * channels
        sum_0 = tl.zeros((1, BLOCK_C), tl.float32)
        sum_1 = tl.zeros((1, BLOCK_C), tl.float32)
        for start in range(0, channels, BLOCK_C):
            channel = start + lane
            inside = (part < slices) & (channel < channels)
            at = parts + part * size + program * channels + channel
            mean = tl.sum(tl.load(at, mask=inside, other=0.0), 0, keep_dims=True) / positions
            at += size * slices
            most = tl.load(at, mask=inside, other=float('-inf'))
            most, ties = _merged(most, tl.load(at + size * slices, mask=inside, other=0.0), 0)
            inside = channel < channels
            out = pooled + program * channels + channel
            tl.store(out, mean, mask=inside)
            tl.store(out + size, most, mask=inside)
            tl.store(out + 2 * size, ties, mask=inside)
            weight = tl.load(weight_0 + channel, mask=inside, other=0.0)
            sum_0 += mean * weight
            weight = tl.load(weight_1 + channel, mask=inside, other=0.0)
            sum_1 += tl.where(inside, most, 0.0) * weight
        tl.store(logits + program * 2, tl.sum(sum_0) + shift_0)
        tl.store(logits + program * 2 + 1, tl.sum(sum_1) + shift_1)
    else:
        blocks = tl.cdiv(channels, BLOCK_C)
        tile = program - batch
        channel = (tile % blocks) * BLOCK_C + lane
        row = (tile // blocks) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None].to(tl.int64)
        inside = (row < rows) & (channel < channels)
        at = kernel + row * (2 * channels) + channel
        first = tl.load(channel_0 + channel, mask=channel < channels, other=0.0) + shift_0
        second = tl.load(channel_1 + channel, mask=channel < channels, other=0.0) + shift_1
        value = first * tl.load(at, mask=inside, other=0.0)
        value += second * tl.load(at + channels, mask=inside, other=0.0)
        at = mixed + row * channels + channel
        tl.store(at, value.to(mixed.dtype.element_ty), mask=inside)


@jit
def _spread_kernel(
    grad,
    kernel,
    channel_0,
    channel_1,
    bias_0,
    bias_1,
    grad_kernel,
    parts,
    rows,
    channels,
    slices,
    length,
    grad_o,
    grad_c,
    BIAS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    program = tl.program_id(0)
    part = program % slices
    channel = (program // slices) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    known = channel < channels
    first = tl.load(channel_0 + channel, mask=known, other=0.0)
    second = tl.load(channel_1 + channel, mask=known, other=0.0)
    if BIAS:
        first += tl.load(bias_0)
        second += tl.load(bias_1)
    sum_0 = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    sum_1 = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    begin = part * length
    for start in range(begin, tl.minimum(begin + length, rows), BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)[:, None].to(tl.int64)
        inside = (row < rows) & known
        g = tl.load(grad + row * grad_o + channel * grad_c, mask=inside, other=0.0).to(tl.float32)
        at = row * (2 * channels) + channel
        sum_0 += g * tl.load(kernel + at, mask=inside, other=0.0)
        sum_1 += g * tl.load(kernel + at + channels, mask=inside, other=0.0)
        tl.store(grad_kernel + at, g * first, mask=inside)
        tl.store(grad_kernel + at + channels, g * second, mask=inside)
    out = parts + part * channels + channel
    tl.store(out, tl.sum(sum_0, 0, keep_dims=True), mask=known)
    tl.store(out + slices * channels, tl.sum(sum_1, 0, keep_dims=True), mask=known)


@jit
def _finish_kernel(
    parts,
    grad_logits,
    pooled,
    out,
    of_biases,
    batch,
    channels,
    slices,
    logits_n,
    logits_k,
    SHARED: tl.constexpr,
    RAW: tl.constexpr,
    SLICES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    part = tl.arange(0, SLICES)[:, None]
    all_0 = tl.zeros((1, BLOCK_C), tl.float32)
    all_1 = tl.zeros((1, BLOCK_C), tl.float32)
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)[None, :]
        inside = (part < slices) & (channel < channels)
        at = parts + part * channels + channel
        channel_0 = tl.sum(tl.load(at, mask=inside, other=0.0), 0, keep_dims=True)
        at += slices * channels
        channel_1 = tl.sum(tl.load(at, mask=inside, other=0.0), 0, keep_dims=True)
        inside = channel < channels
        logit_0 = tl.zeros((1, BLOCK_C), tl.float32)
        logit_1 = tl.zeros((1, BLOCK_C), tl.float32)
        for sample in range(0, batch):
            mean = pooled + sample * channels + channel
            g = tl.load(grad_logits + sample * logits_n)
            logit_0 += g * tl.load(mean, mask=inside, other=0.0)
            g = tl.load(grad_logits + sample * logits_n + logits_k)
            logit_1 += g * tl.load(mean + batch * channels, mask=inside, other=0.0)
        all_0 += channel_0
        all_1 += channel_1
        if not RAW:
            logit_0 += channel_0
            logit_1 += channel_1
        if SHARED:
            logit_0 += logit_1
            logit_1 = logit_0
            channel_0 += channel_1
            channel_1 = channel_0
        tl.store(out + channel, logit_0, mask=inside)
        tl.store(out + channels + channel, logit_1, mask=inside)
        tl.store(out + 2 * channels + channel, channel_0, mask=inside)
        tl.store(out + 3 * channels + channel, channel_1, mask=inside)
    bias_0, bias_1 = tl.sum(all_0), tl.sum(all_1)
    for sample in range(0, batch):
        bias_0 += tl.load(grad_logits + sample * logits_n)
        bias_1 += tl.load(grad_logits + sample * logits_n + logits_k)
    if SHARED:
        bias_0 += bias_1
        bias_1 = bias_0
    tl.store(of_biases, bias_0)
    tl.store(of_biases + 1, bias_1)


@jit
def _grad_input_kernel(
    grad,
    x,
    pooled,
    grad_logits,
    weight_0,
    weight_1,
    out,
    batch,
    channels,
    positions,
    grad_n,
    grad_c,
    grad_h,
    grad_w,
    width,
    x_n,
    x_c,
    x_h,
    x_w,
    out_n,
    out_c,
    out_h,
    out_w,
    logits_n,
    logits_k,
    GAPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    sample, line, position, inside = tile_at(positions, channels, BLOCK_C, BLOCK_P)
    channel = line[:, None]
    of_mean = tl.load(grad_logits + sample * logits_n) / positions
    of_mean *= vector(weight_0, 0, line, channels)
    of_most = tl.load(grad_logits + sample * logits_n + logits_k)
    of_most *= vector(weight_1, 0, line, channels)
    of_most /= tl.maximum(vector(pooled, 2 * batch + sample, line, channels), 1.0)
    most = vector(pooled, batch + sample, line, channels)
    value = load(x, place(sample, channel, position, x_n, x_c, x_h, x_w, width, GAPS), inside)
    offset = place(sample, channel, position, grad_n, grad_c, grad_h, grad_w, width, GAPS)
    g = load(grad, offset, inside)
    g += of_mean + tl.where(value == most, of_most, 0.0)
    offset = place(sample, channel, position, out_n, out_c, out_h, out_w, width, GAPS)
    tl.store(out + offset, g.to(out.dtype.element_ty), mask=inside)


def _case(device: torch.device, dtype: torch.dtype) -> tuple:
    def random(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    x = random(2, 6, 5, 4).to(memory_format=torch.channels_last).to(dtype)
    x[:, 1:3] = x[:, 1:3].relu().round()  # ties
    return x, random(6, 12, 1, 1), (random(1, 6), random(1, 6)), (random(1, 6), random(1, 6))


def _examples(device: torch.device) -> Iterator[Example]:
    for dtype in (torch.bfloat16, torch.float32):
        x, kernel, weights, channels = _case(device, dtype)
        biases = (torch.randn(1, device=device),) * 2 if dtype == torch.float32 else None
        yield Example((x, kernel, weights, channels, biases, dtype))


def _grad_examples(device: torch.device) -> Iterator[Example]:
    for shared, raw in ((True, False), (False, True)):
        x, kernel, weights, channels = _case(device, torch.float32)
        biases = (torch.randn(1, device=device),) * 2 if shared else None
        _, logits, pooled = _plain(x, kernel, weights, channels, biases, x.dtype)
        grad = torch.randn(6, 6, 1, 1, device=device)
        args = (grad, torch.randn_like(logits), pooled, kernel, channels, biases, shared, raw)
        yield Example(args, atol=1e-4)


def _grad_input_examples(device: torch.device) -> Iterator[Example]:
    for dtype in (torch.bfloat16, torch.float32):
        x, kernel, weights, channels = _case(device, dtype)
        _, logits, pooled = _plain(x, kernel, weights, channels, None, dtype)
        yield Example((torch.randn_like(x), x, pooled, torch.randn_like(logits), weights))


CAM_HEAD = Fused('class activation map', _plain, _kernel, _examples)
"""(x, kernel (C_out, 2 C, 1, 1), classifier weights (1, C), channel weights (1, C), biases (1) or
None, dtype): kernel with the channel weights in it, in that dtype, logits (N, 2), and average,
maximum and its number of occurrences, (3, N, C)."""

CAM_GRAD = Fused("class activation map's gradient", _plain_grad, _kernel_grad, _grad_examples)
"""(gradient of the effective kernel, of the logits, pooled values, kernel, channel weights, biases,
whether one classifier serves both poolings, whether channel weights differ from classifier
weights): gradients of the kernel, of classifier and channel weights (2, 2, C), of the biases (2).
With one classifier the first of two holds the gradient of both."""

CAM_GRAD_INPUT = Fused(
    "class activation map's gradient of its input",
    _plain_grad_input,
    _kernel_grad_input,
    _grad_input_examples,
)
"""(gradient through the convolution, x, pooled values, gradient of the logits, classifier weights):
gradient of x; that of a maximum is split evenly between its positions."""
