"""Adam for a large parameter whose moments are stored in 8 bits.

:mod:`ugatit_mm.engine.lean_adam` describes the codes. Everything here uses the memory order of the
elements, which is the same in the parameter, its gradient and its codes.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from math import log, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from .support import Example, Fused, jit, launch, tl

# The random numbers repeat after this many elements.
ROW = 2**16
BLOCK = 2048  # elements that share a scale of the second moment
# Elements per chunk of the plain formula: on a CPU what its cache holds, elsewhere enough for an
# operator. The temporary memory is three float32 buffers of this size (12 MiB, 48 MiB) and the
# tables (1.5 MiB).
CPU_CHUNK, CHUNK = 2**20, 2**22
TINY = 1e-37  # replaces a second moment of 0, so that its root can divide


class Settings(NamedTuple):
    """Settings of the parameter group and of the loss scaler.

    Attributes:
        lr: Learning rate, a number or a scalar on the device.
        betas: Decay of the first and the second moment.
        eps: Added to the root of the second moment.
        weight_decay: Multiplied by the parameter and added to the gradient.
        grad_scale: Divides the gradient, a float32 scalar on the device; ``None`` for 1.
        found_inf: 1 to skip the update, else 0, a float32 scalar on the device; ``None`` for 0.
    """

    lr: float | Tensor
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None


def pieces(count: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut a parameter into chunks of whole rows, and a remainder."""
    whole = count // ROW * ROW
    for start in range(0, whole, chunk):
        yield start, min(start + chunk, whole)
    if whole < count:
        yield whole, count


def blocks(count: int) -> int:
    """Return the number of blocks in a piece; a remainder that they do not divide is one block."""
    return count // BLOCK if count % BLOCK == 0 else 1


def buffers(device: torch.device) -> Tensor:
    """Allocate the buffers of the plain formula, (3, elements of a chunk)."""
    return torch.empty(3, CPU_CHUNK if device.type == 'cpu' else CHUNK, device=device)


def adam(
    parameters: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    exp_avgs: tuple[Tensor, ...],
    exp_avg_sqs: tuple[Tensor, ...],
    steps: list[Tensor],
    settings: Settings,
) -> None:
    """Update parameters and float32 moments in place, by torch's fused kernel.

    Args:
        parameters: float32.
        gradients: Same shapes; divided in place if the settings have a scale.
        exp_avgs: First moments.
        exp_avg_sqs: Second moments.
        steps: Number of this update for each parameter, float32 scalars.
        settings: Settings for all of them.
    """
    torch._fused_adam_(
        parameters,
        gradients,
        exp_avgs,
        exp_avg_sqs,
        [],
        steps,
        lr=settings.lr,
        beta1=settings.betas[0],
        beta2=settings.betas[1],
        weight_decay=settings.weight_decay,
        eps=settings.eps,
        amsgrad=False,
        maximize=False,
        grad_scale=settings.grad_scale,
        found_inf=settings.found_inf,
    )


def _plain(
    parameter: Tensor,
    gradient: Tensor,
    m_code: Tensor,
    v_code: Tensor,
    scale: Tensor,
    step: Tensor,
    settings: Settings,
    work: Callable[[torch.device], Tensor],
) -> tuple[Tensor, ...]:
    tensors = [
        tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
        for tensor in (parameter, gradient, m_code, v_code)
    ]
    space = work(parameter.device)
    # On a CPU reading the number is free; elsewhere it would synchronise with the device.
    place = int(step) if step.device.type == 'cpu' else step
    block = 0
    for start, stop in pieces(parameter.numel(), space.shape[1]):
        weights, grads, *codes = (tensor[start:stop] for tensor in tensors)
        count = blocks(stop - start)
        _update_coded(
            *codes,
            scale[block : block + count, None],
            partial(adam, (weights,), (grads,), steps=[step], settings=settings),
            space[:, : stop - start],
            partial(random, start=start, stop=stop, step=place),
            limit(*settings.betas),
            settings.found_inf,
        )
        block += count
    return parameter, m_code, v_code, scale


def _update_coded(
    m_code: Tensor,
    v_code: Tensor,
    scale: Tensor,
    update: Callable,
    work: Tensor,
    random: Callable,
    limit: float,
    found_inf: Tensor | None,
) -> None:
    m, v, root = work
    bits = v.view(torch.int32)
    by_block = v.view(len(scale), -1)
    whole, share = tables(v.device)

    # The code is bits 20 to 27 of a float32 in [2^-31, 2): 5 exponent bits, 3 mantissa bits.
    bits.copy_(v_code).bitwise_or_(768).bitwise_left_shift_(20)
    by_block.mul_(scale)
    torch.sqrt(v, out=root)
    m.copy_(m_code).mul_(root.mul_(limit / 127))

    update((m,), (v,))

    torch.sqrt(v.clamp_min_(TINY), out=root)
    noise = random(share, which=0)
    m, root = m.view_as(noise), root.view_as(noise)
    torch.addcdiv(noise, m, root, value=127 / limit, out=m).floor_().clamp_(-127, 127)
    _keep(m_code.view_as(noise), m, found_inf)

    # The block's largest value becomes 1.875, the largest code.
    new_scale = by_block.amax(1, keepdim=True).div_(1.875)
    by_block.div_(new_scale)
    _keep(scale, new_scale, found_inf)
    noise = random(whole, which=1)
    bits = bits.view_as(noise)
    torch.add(bits, noise, alpha=16, out=bits)
    _keep(v_code.view_as(noise), bits.bitwise_right_shift_(20).clamp_(768, 1023), found_inf)


def _keep(old: Tensor, new: Tensor, found_inf: Tensor | None) -> None:
    """Copy ``new`` into ``old``, unless the update is skipped."""
    if found_inf is not None:
        new = torch.where(found_inf == 1, old.to(new.dtype), new)
    old.copy_(new)


def limit(beta1: float, beta2: float) -> float:
    """Return the bound of |m| / sqrt(v), by Cauchy-Schwarz for m and v as sums over gradients."""
    return (1 - beta1) / sqrt((1 - beta2) * (1 - beta1**2 / beta2))


@cache
def tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return every number below 2^16 in random order, three times over, and that over 2^16."""
    whole = torch.randperm(ROW, generator=torch.Generator().manual_seed(0)).int().repeat(3)
    return whole.to(device), (whole / ROW).to(device)


def random(table: Tensor, start: int, stop: int, step: int | Tensor, which: int) -> Tensor:
    """Return random numbers for the elements ``start`` to ``stop`` of any parameter, as rows.

    Element i takes ``table[i + 97 * (i // 2^16) + 40503 * step + 2^15 * which]``, modulo 2^16. As
    40503 is odd, an element gets every number once in 2^16 steps, so rounding has no bias; in one
    step, elements of different rows get different numbers.
    """
    row = start // ROW
    shape = (max(1, (stop - start) // ROW), min(stop - start, ROW))
    if isinstance(step, Tensor):
        first = 97 * row + 40503 * step.long() + 2**15 * which
        lines = 97 * torch.arange(shape[0], device=table.device)[:, None]
        places = first + lines + torch.arange(shape[1], device=table.device)
        return table[places.remainder_(ROW)]
    return table.as_strided(shape, (97, 1), (97 * row + 40503 * step + 2**15 * which) % ROW)


def _by_triton(
    parameter: Tensor,
    gradient: Tensor,
    m_code: Tensor,
    v_code: Tensor,
    scale: Tensor,
    step: Tensor,
    settings: Settings,
    work: Callable[[torch.device], Tensor],
) -> tuple[Tensor, ...]:
    count = parameter.numel()
    whole = count // BLOCK if count % BLOCK == 0 else count // ROW * (ROW // BLOCK)
    beta1, beta2 = settings.betas
    step_limit = limit(beta1, beta2) / 127
    launch(
        _adam_kernel,
        (len(scale),),
        parameter,
        gradient,
        m_code,
        v_code,
        scale,
        tables(parameter.device)[0],
        step,
        settings.lr,
        settings.grad_scale,
        settings.found_inf,
        count,
        whole,
        beta1,
        1 - beta1,
        log(beta1) if beta1 else -1e4,  # all its powers are 0
        beta2,
        1 - beta2,
        log(beta2),
        settings.eps,
        settings.weight_decay,
        step_limit,
        1 / step_limit,
        LR_ON_DEVICE=isinstance(settings.lr, Tensor),
        DECAY=settings.weight_decay != 0,
        ROW=ROW,
        BLOCK=BLOCK,
        TINY=TINY,
        num_warps=8,
    )
    return parameter, m_code, v_code, scale


@jit
def _bias_correction(step, log_beta):
    """``1 - beta ** step`` without loss of precision where the power is close to 1."""
    power = step * log_beta
    x = tl.maximum(power, -0.5)
    series = 1.0 + x / 8
    series = 1.0 + x / 7 * series
    series = 1.0 + x / 6 * series
    series = 1.0 + x / 5 * series
    series = 1.0 + x / 4 * series
    series = 1.0 + x / 3 * series
    series = 1.0 + x / 2 * series
    return tl.where(power > -0.5, -x * series, 1.0 - tl.exp(power))


@jit
def _read(
    parameters,
    gradients,
    m_codes,
    v_codes,
    place,
    inside,
    scale,
    grad_scale,
    beta1,
    rest1,
    beta2,
    rest2,
    weight_decay,
    code_size,
    DECAY: tl.constexpr,
    TINY: tl.constexpr,
):
    """Weights, gradients and new moments, float32, of positions in one block."""
    weight = tl.load(parameters + place, mask=inside, other=0.0)
    given = tl.load(gradients + place, mask=inside, other=0.0)
    if grad_scale is not None:
        given /= tl.load(grad_scale)
    bits = (tl.load(v_codes + place, mask=inside, other=0).to(tl.int32) | 768) << 20
    v = bits.to(tl.float32, bitcast=True) * scale
    code = tl.load(m_codes + place, mask=inside, other=0).to(tl.float32)
    m = code * (tl.sqrt(v) * code_size)
    gradient = given + weight_decay * weight if DECAY else given
    m = beta1 * m + rest1 * gradient
    v = beta2 * v + rest2 * gradient * gradient
    # Positions beyond the end must not become the block's largest.
    return weight, given, m, tl.where(inside, tl.where(v < TINY, TINY, v), TINY)


@jit
def _write(
    parameters,
    gradients,
    m_codes,
    v_codes,
    place,
    inside,
    weight,
    given,
    m,
    v,
    new_scale,
    grad_scale,
    table,
    first,
    rate,
    root_correction,
    eps,
    codes,
    ROW: tl.constexpr,
):
    """Store new weights and codes of one block; unscaled gradients, as torch's kernel does."""
    if grad_scale is not None:
        tl.store(gradients + place, given, mask=inside)
    root = tl.sqrt(v)
    weight -= rate * (m / (root / root_correction + eps))
    tl.store(parameters + place, weight, mask=inside)
    at = (place + first) % ROW
    noise = tl.load(table + at, mask=inside, other=0).to(tl.float32) / ROW
    code = tl.floor(noise + codes * m / root)
    code = tl.where(code < -127, -127.0, tl.where(code > 127, 127.0, code))
    tl.store(m_codes + place, code.to(tl.int32).to(tl.int8), mask=inside)
    noise = tl.load(table + (at + ROW // 2) % ROW, mask=inside, other=0)
    bits = (v / new_scale).to(tl.int32, bitcast=True) + noise * 16
    code = tl.minimum(tl.maximum(bits >> 20, 768), 1023) & 255
    tl.store(v_codes + place, code.to(tl.uint8), mask=inside)


@jit
def _adam_kernel(
    parameters,
    gradients,
    m_codes,
    v_codes,
    scales,
    table,
    steps,
    lr,
    grad_scale,
    found_inf,
    count,
    whole,
    beta1,
    rest1,
    log_beta1,
    beta2,
    rest2,
    log_beta2,
    eps,
    weight_decay,
    code_size,
    codes,
    LR_ON_DEVICE: tl.constexpr,
    DECAY: tl.constexpr,
    ROW: tl.constexpr,
    BLOCK: tl.constexpr,
    TINY: tl.constexpr,
):
    if found_inf is not None:
        left_out = tl.load(found_inf) == 1
    else:
        left_out = False
    if not left_out:
        step = tl.load(steps)
        if LR_ON_DEVICE:
            rate = tl.load(lr).to(tl.float32) / _bias_correction(step, log_beta1)
        else:
            rate = lr / _bias_correction(step, log_beta1)
        root_correction = tl.sqrt(_bias_correction(step, log_beta2))
        block = tl.program_id(0)
        scale = tl.load(scales + block)
        start = block.to(tl.int64) * BLOCK
        # The step is an integer below 2^24. A block never crosses the end of a row.
        first = ((start + 97 * (start // ROW) + 40503 * step.to(tl.int64)) % ROW).to(tl.int32)
        parameters += start
        gradients += start
        m_codes += start
        v_codes += start
        length = (count - start).to(tl.int32)
        lane = tl.arange(0, BLOCK)
        if block < whole:
            place = lane
            inside = tl.full((BLOCK,), 1, tl.int1)
            weight, given, m, v = _read(
                parameters, gradients, m_codes, v_codes, place, inside, scale, grad_scale,
                beta1, rest1, beta2, rest2, weight_decay, code_size, DECAY, TINY,
            )  # fmt: skip
            new_scale = tl.max(v, 0) / 1.875
            _write(
                parameters, gradients, m_codes, v_codes, place, inside, weight, given, m, v,
                new_scale, grad_scale, table, first, rate, root_correction, eps, codes, ROW,
            )  # fmt: skip
            tl.store(scales + block, new_scale)
        else:
            # The remainder is one block, shorter than a row: first find its largest value.
            largest = tl.full((BLOCK,), TINY, tl.float32)
            for begin in range(0, length, BLOCK):
                place = begin + lane
                inside = place < length
                weight, given, m, v = _read(
                    parameters, gradients, m_codes, v_codes, place, inside, scale, grad_scale,
                    beta1, rest1, beta2, rest2, weight_decay, code_size, DECAY, TINY,
                )  # fmt: skip
                largest = tl.maximum(largest, v)
            new_scale = tl.max(largest, 0) / 1.875
            for begin in range(0, length, BLOCK):
                place = begin + lane
                inside = place < length
                weight, given, m, v = _read(
                    parameters, gradients, m_codes, v_codes, place, inside, scale, grad_scale,
                    beta1, rest1, beta2, rest2, weight_decay, code_size, DECAY, TINY,
                )  # fmt: skip
                _write(
                    parameters, gradients, m_codes, v_codes, place, inside, weight, given, m, v,
                    new_scale, grad_scale, table, first, rate, root_correction, eps, codes, ROW,
                )  # fmt: skip
            tl.store(scales + block, new_scale)


def _examples(device: torch.device) -> list[Example]:
    made = []
    for count, lr, grad_scale, found_inf in (
        (ROW + 3 * BLOCK, 1e-2, None, None),
        (ROW + BLOCK + 5, torch.full((), 1e-2, device=device), 3.0, 0.0),
        (ROW, 1e-2, None, 1.0),
    ):
        scalars = (
            x if x is None else torch.full((), x, device=device) for x in (grad_scale, found_inf)
        )
        parameter, gradient = torch.randn(2, count, device=device)
        length = sum(blocks(stop - start) for start, stop in pieces(count, ROW))
        args = (
            parameter,
            gradient,
            torch.randint(-127, 128, (count,), device=device).to(torch.int8),
            torch.randint(0, 256, (count,), device=device).to(torch.uint8),
            torch.rand(length, device=device),
            torch.full((), 7.0, device=device),
            Settings(lr, (0.5, 0.999), 1e-8, 1e-2, *scalars),
            buffers,
        )
        made.append(Example(args, 1e-5, 1e-7))
    return made


update = Fused('Adam in 8 bits', _plain, _by_triton, _examples)
"""Update one large parameter and its state in place.

Args:
    parameter: float32, dense in memory, 2^16 elements or more.
    gradient: With the parameter's strides; divided in place if the settings have a scale.
    m_code: int8, codes of the first moment.
    v_code: uint8, codes of the second moment.
    scale: float32, for each block of the second moment.
    step: Number of this update, from 1, a float32 scalar on the device.
    settings: :class:`Settings`.
    work: Allocates the plain formula's memory on a device, see :func:`buffers`.

Returns:
    The given parameter, codes and scale.
"""
