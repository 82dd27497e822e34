"""All terms of a loss in two launches, and all their gradients in one.

A part is the mean of a function of each element of a tensor; a term is a weighted sum of parts. The
tensors' addresses change in each step and are passed as arguments; sizes, strides, dtypes and
weights do not, and are in tables on the device, built once.
"""

from collections.abc import Iterator
from functools import cache
from math import inf
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .support import TYPES, Example, Fused, cut, jit, launch, tl, triton

KINDS = ('square', 'distance', 'entropy', 'mean')
BLOCK = 1024
SLICES = 256  # largest number of programs for a part


class Part(NamedTuple):
    """The mean of a function of each element x.

    Attributes:
        kind: ``'square'``, (x - target)^2; ``'distance'``, |x - target|; ``'entropy'``, binary
            cross-entropy of a logit with a target 0 or 1; ``'mean'``, x itself.
        target: A number; ``None`` if it is a tensor.
    """

    kind: str
    target: float | None = 0.0


class Terms(NamedTuple):
    """What to compute from the tensors.

    Attributes:
        parts: In the order of their tensors: x of each, then its target if that is a tensor.
        rows: For each term the indices of its parts and their weights; the last is the total.
    """

    parts: tuple[Part, ...]
    rows: tuple[tuple[tuple[int, float], ...], ...]


def _paired(terms: Terms, tensors: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor, Any]]:
    """Yield kind, x and target of each part."""
    rest = iter(tensors)
    for kind, target in terms.parts:
        x = next(rest)
        yield kind, x, next(rest) if target is None else target


def _plain_values(terms: Terms, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    means = []
    for kind, x, target in _paired(terms, tensors):
        x = x.float()
        if kind == 'square':
            x = (x - target).square_()
        elif kind == 'distance':
            x = (x - target).abs_()
        elif kind == 'entropy':
            x = F.softplus(x if target == 0 else -x)
        means.append(x.mean())
    weights = _weights(terms, means[0].device)
    absent = weights == inf
    values = (weights * torch.stack(means)).masked_fill_(absent, 0).sum(1)
    return values, values[-1].clone()


def _plain_gradients(terms: Terms, grad: Tensor, *tensors: Tensor) -> list[Tensor]:
    gradients = []
    factors = grad.float() * _factors(
        terms, tuple(x.numel() for _, x, _ in _paired(terms, tensors)), grad.device
    )
    for (kind, x, target), factor in zip(_paired(terms, tensors), factors, strict=True):
        if kind == 'square':
            gradient = (x.float() - target).mul_(2 * factor)
        elif kind == 'distance':
            gradient = (x.float() - target).sign_().mul_(factor)
        elif kind == 'entropy':
            sign = 1 - 2 * target
            gradient = torch.sigmoid(sign * x.float()).mul_(sign * factor)
        else:
            gradient = factor.expand(x.shape)
        gradients.append(gradient.to(x.dtype))
    return gradients


@cache
def _weights(terms: Terms, device: torch.device) -> Tensor:
    """Return the weights of the parts in each term, infinite for a part that is not in it."""
    weights = torch.full((len(terms.rows), len(terms.parts)), inf)
    for row, entries in enumerate(terms.rows):
        for part, weight in entries:
            weights[row, part] = weight
    return weights.to(device)


@cache
def _factors(terms: Terms, counts: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the total's derivative by each part's elements, without the function's own factor."""
    weights = dict(terms.rows[-1])
    return torch.tensor([weights.get(i, 0.0) / n for i, n in enumerate(counts)]).to(device)


class _Tables(NamedTuple):
    """Constants on the device; see :func:`_tables`."""

    layout: Tensor
    numbers: Tensor
    programs: Tensor
    slices: int


# Columns of a part's row in the layout.
_KIND, _TYPE, _TARGET_TYPE, _COUNT, _STEPS, _SLICES = range(6)
_SIZES, _STRIDES, _TARGET_STRIDES, _OUT_STRIDES, COLUMNS = 6, 10, 14, 18, 22

Lines = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]


@cache
def _tables(terms: Terms, lines: Lines, device: torch.device) -> _Tables:
    """Build the layout (parts, COLUMNS), numbers (parts, 2), part and slice of each program.

    A part's numbers are its target and its factor in the total's gradient.
    """
    layout, programs, counts = [], [], []
    rest = iter(lines)
    for number, (kind, target) in enumerate(terms.parts):
        size, stride, dtype = next(rest)
        target_type, target_stride = -1, (0,) * len(size)
        if target is None:
            _, target_stride, target_dtype = next(rest)
            target_type = TYPES.index(target_dtype)
        like = torch.empty_strided(size, stride, dtype=dtype, device='meta')
        count = size.numel()
        slices, steps = cut(triton.cdiv(count, BLOCK), SLICES)
        layout.append(
            [
                KINDS.index(kind),
                TYPES.index(dtype),
                target_type,
                count,
                steps,
                slices,
                *_four(size, 1),
                *_four(stride),
                *_four(target_stride),
                *_four(torch.empty_like(like).stride()),
            ]
        )
        programs += [(number, place) for place in range(slices)]
        counts.append(count)
    targets = torch.tensor([part.target or 0.0 for part in terms.parts])
    numbers = torch.stack([targets, _factors(terms, tuple(counts), torch.device('cpu'))], 1)
    return _Tables(
        torch.tensor(layout).to(device),
        numbers.to(device),
        torch.tensor(programs, dtype=torch.int32).to(device),
        max(line[_SLICES] for line in layout),
    )


def _four(numbers: tuple[int, ...], fill: int = 0) -> list[int]:
    return [fill] * (4 - len(numbers)) + list(numbers)


def _taken(tensors: tuple[Tensor, ...]) -> bool:
    """Whether the kernels take the tensors; if not, the formula does."""
    return all(
        t.dtype in TYPES
        and t.dim() <= 4
        and 0 < t.numel() < 2**31
        and t.device == tensors[0].device
        for t in tensors
    )


def _addresses(terms: Terms, tensors: tuple[Tensor, ...]) -> tuple[tuple, tuple]:
    """Return the addresses of x and target of each part; for a number as target, x's again."""
    pairs = [
        (x.data_ptr(), target.data_ptr() if isinstance(target, Tensor) else x.data_ptr())
        for _, x, target in _paired(terms, tensors)
    ]
    ours, targets = zip(*pairs, strict=True)
    return ours, targets


def _lines(tensors: tuple[Tensor, ...]) -> Lines:
    return tuple((t.shape, t.stride(), t.dtype) for t in tensors)


def _kernel_values(terms: Terms, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    if not _taken(tensors):
        return _plain_values(terms, *tensors)
    first = tensors[0]
    tables = _tables(terms, _lines(tensors), first.device)
    parts, rows = len(terms.parts), len(terms.rows)
    sums = first.new_empty(parts, tables.slices, dtype=torch.float32)
    launch(
        _sums_kernel,
        (len(tables.programs),),
        *tables[:3],
        sums,
        *_addresses(terms, tensors),
        tables.slices,
        COLUMNS=COLUMNS,
        BLOCK=BLOCK,
    )
    values = first.new_empty(rows, dtype=torch.float32)
    total = first.new_empty((), dtype=torch.float32)
    launch(
        _terms_kernel,
        (1,),
        tables.layout,
        sums,
        _weights(terms, first.device),
        values,
        total,
        parts,
        rows,
        tables.slices,
        COLUMNS=COLUMNS,
        PARTS=triton.next_power_of_2(parts),
        ROWS=triton.next_power_of_2(rows),
        SLICES=triton.next_power_of_2(tables.slices),
    )
    return values, total


def _kernel_gradients(terms: Terms, grad: Tensor, *tensors: Tensor) -> list[Tensor]:
    if not _taken(tensors):
        return _plain_gradients(terms, grad, *tensors)
    tables = _tables(terms, _lines(tensors), grad.device)
    gradients = [torch.empty_like(x) for _, x, _ in _paired(terms, tensors)]
    launch(
        _gradients_kernel,
        (len(tables.programs),),
        *tables[:3],
        grad,
        *_addresses(terms, tensors),
        tuple(gradient.data_ptr() for gradient in gradients),
        COLUMNS=COLUMNS,
        BLOCK=BLOCK,
    )
    return gradients


@jit
def _chosen(addresses, part):
    address = tl.full((), 0, tl.int64) + addresses[0]
    for i in tl.static_range(1, len(addresses)):
        address = tl.where(part == i, addresses[i], address)
    return address


@jit
def _load_as(address, offset, inside, TYPE: tl.constexpr):
    place = address.to(tl.pointer_type(TYPE)) + offset
    return tl.load(place, mask=inside, other=0.0).to(tl.float32)


@jit
def _load(address, kind, offset, inside):
    """Load float32 from an address; the dtypes are 0, 1, 2 as in ``TYPES``."""
    if kind == 0:
        value = _load_as(address, offset, inside, tl.float32)
    elif kind == 1:
        value = _load_as(address, offset, inside, tl.bfloat16)
    else:
        value = _load_as(address, offset, inside, tl.float16)
    return value


@jit
def _offset(line, first, second, third, fourth):
    """Offset of an element from its index in each dimension; ``line`` points to the strides."""
    return (
        first * tl.load(line)
        + second * tl.load(line + 1)
        + third * tl.load(line + 2)
        + fourth * tl.load(line + 3)
    )


@jit
def _places(line, index):
    """Indices of elements in each of four dimensions; ``line`` points to the sizes."""
    size = tl.load(line + 3).to(tl.int32)
    fourth, index = index % size, index // size
    size = tl.load(line + 2).to(tl.int32)
    third, index = index % size, index // size
    size = tl.load(line + 1).to(tl.int32)
    return index // size, index % size, third, fourth


@jit
def _inputs(line, number, x, target, index, inside):
    """Load elements of a part and their targets."""
    first, second, third, fourth = _places(line + 6, index)
    value = _load(x, tl.load(line + 1), _offset(line + 10, first, second, third, fourth), inside)
    kind = tl.load(line + 2)
    wanted = tl.zeros_like(value) + tl.load(number)
    if kind >= 0:
        wanted = _load(target, kind, _offset(line + 14, first, second, third, fourth), inside)
    return value, wanted


@jit
def _softplus(x):
    small = tl.exp(-tl.abs(x))
    # log(1 + small) at full precision for small values.
    above = 1.0 + small
    lost = above == 1.0
    log = tl.where(lost, small, tl.log(above) * (small / tl.where(lost, 1.0, above - 1.0)))
    return tl.where(x <= 0, 0.0, x) + log


@jit
def _sums_kernel(
    layout,
    numbers,
    programs,
    sums,
    addresses,
    targets,
    slices,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    part = tl.load(programs + 2 * program)
    place = tl.load(programs + 2 * program + 1)
    line = layout + part * COLUMNS
    x, target = _chosen(addresses, part), _chosen(targets, part)
    kind, count = tl.load(line), tl.load(line + 3).to(tl.int32)
    steps = tl.load(line + 4).to(tl.int32)
    total = tl.zeros((BLOCK,), tl.float32)
    for step in range(0, steps):
        index = (place * steps + step) * BLOCK + tl.arange(0, BLOCK)
        inside = index < count
        value, wanted = _inputs(line, numbers + 2 * part, x, target, index, inside)
        distance = value - wanted
        result = value
        if kind == 0:
            result = distance * distance
        elif kind == 1:
            result = tl.abs(distance)
        elif kind == 2:
            result = _softplus((1 - 2 * wanted) * value)
        total += tl.where(inside, result, 0.0)
    tl.store(sums + part * slices + place, tl.sum(total, 0))


@jit
def _terms_kernel(
    layout,
    sums,
    weights,
    values,
    total,
    parts,
    rows,
    slices,
    COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    SLICES: tl.constexpr,
):
    part = tl.arange(0, PARTS)
    known = part < parts
    line = layout + part * COLUMNS
    count = tl.load(line + 3, mask=known, other=1).to(tl.float32)
    used = tl.load(line + 5, mask=known, other=0)
    place = tl.arange(0, SLICES)
    inside = place[None, :] < used[:, None]
    sum_of_slices = tl.load(sums + part[:, None] * slices + place[None, :], mask=inside, other=0.0)
    mean = tl.sum(sum_of_slices, 1) / count
    row = tl.arange(0, ROWS)
    inside = (row[:, None] < rows) & known[None, :]
    weight = tl.load(weights + row[:, None] * parts + part[None, :], mask=inside, other=0.0)
    # A part that is not in a term must not make it NaN.
    absent = (weight == float('inf')) | (part[None, :] >= parts)
    share = tl.where(absent, 0.0, weight) * mean[None, :]
    value = tl.sum(tl.where(absent, 0.0, share), 1)
    tl.store(values + row, value, mask=row < rows)
    tl.store(total + row * 0, value, mask=row == rows - 1)


@jit
def _store_as(address, offset, value, inside, TYPE: tl.constexpr):
    tl.store(address.to(tl.pointer_type(TYPE)) + offset, value.to(TYPE), mask=inside)


@jit
def _store(address, kind, offset, value, inside):
    if kind == 0:
        _store_as(address, offset, value, inside, tl.float32)
    elif kind == 1:
        _store_as(address, offset, value, inside, tl.bfloat16)
    else:
        _store_as(address, offset, value, inside, tl.float16)


@jit
def _gradients_kernel(
    layout,
    numbers,
    programs,
    grad,
    addresses,
    targets,
    results,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    part = tl.load(programs + 2 * program)
    place = tl.load(programs + 2 * program + 1)
    line = layout + part * COLUMNS
    x, target, result = _chosen(addresses, part), _chosen(targets, part), _chosen(results, part)
    kind, count = tl.load(line), tl.load(line + 3).to(tl.int32)
    steps = tl.load(line + 4).to(tl.int32)
    factor = tl.load(grad).to(tl.float32) * tl.load(numbers + 2 * part + 1)
    for step in range(0, steps):
        index = (place * steps + step) * BLOCK + tl.arange(0, BLOCK)
        inside = index < count
        value, wanted = _inputs(line, numbers + 2 * part, x, target, index, inside)
        distance = value - wanted
        slope = tl.full((BLOCK,), 1.0, tl.float32)
        if kind == 0:
            slope = 2 * distance
        elif kind == 1:
            slope = tl.where(distance > 0, 1.0, tl.where(distance < 0, -1.0, 0.0))
        elif kind == 2:
            sign = 1 - 2 * wanted
            slope = sign / (1.0 + tl.exp(-sign * value))
        first, second, third, fourth = _places(line + 6, index)
        offset = _offset(line + 18, first, second, third, fourth)
        _store(result, tl.load(line + 1), offset, slope * factor, inside)


def _example_args(device: torch.device) -> list[tuple]:
    parts = (
        Part('square', 1.0),
        Part('distance', None),
        Part('entropy', 1.0),
        Part('entropy', 0.0),
        Part('mean'),
    )
    terms = Terms(
        parts, (((0, 1.0), (1, 2.0)), ((1, 10.0),), tuple(enumerate((1.0, 10.0, 3.0, 3.0, 0.0))))
    )
    cut_out = torch.randn(2, 3, 9, 8, device=device)[..., 1:-1, 1:-1]
    tensors = [
        cut_out,
        torch.randn(2, 3, 37, 5, device=device).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 37, 5, device=device),
        torch.randn(2, 2, device=device),
        torch.randn(3, 2, device=device),
        torch.randn((), device=device),
    ]
    return [(terms, *(t.to(dtype) for t in tensors)) for dtype in TYPES]


def _values_examples(device: torch.device) -> list[Example]:
    return [Example(args) for args in _example_args(device)]


def _gradient_examples(device: torch.device) -> list[Example]:
    grad = torch.full((), 3.0, device=device)
    return [Example((terms, grad, *tensors)) for terms, *tensors in _example_args(device)]


values = Fused('loss terms', _plain_values, _kernel_values, _values_examples)
"""Values of all terms, float32 (terms), and the last of them as a separate scalar.

Args:
    terms: :class:`Terms`.
    tensors: Tensors of its parts, of any dtype, shape and strides.
"""

gradients = Fused('gradients of losses', _plain_gradients, _kernel_gradients, _gradient_examples)
"""Gradient of each part's x, in its dtype and memory format.

Args:
    terms: :class:`Terms`.
    grad: Gradient of the total, a scalar.
    tensors: As in :data:`values`.
"""
