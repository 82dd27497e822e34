"""Spectral normalisation of many kernels in five launches, and its gradients in two.

Each kernel W is a matrix (rows, columns) of float32. A use in training mode is
``v <- W'u / |W'u|, u <- Wv / |Wv|``, ``sigma = u'Wv``, and the result ``W / sigma`` in the dtype
and memory format that the convolution takes. The gradient is
``(G - <G, W> / sigma * uv') / sigma``.

The kernels find the matrices by a table of addresses and sizes, built at the first use: parameters
keep their addresses. Gradients have new addresses in each step; these are kernel arguments, so
nothing is copied to the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .support import Example, Fused, jit, launch, tl, triton

# Not tuned. A tile that changes the memory format has 16 positions of a kernel (4x4) and 128
# channels; four tiles per program keep the programs' overhead small.
AREA, LANES, STEPS = 16, 128, 4
SLICES = 8  # largest number of slices of a matrix's rows in W'u
SUMS = 512  # largest number of slices in <G, W>
LEAST = 16  # least number of tiles in such a slice


class Place(NamedTuple):
    """Offsets of a matrix's vectors, and the dtype of its result.

    Attributes:
        u: Offset of u in the vectors.
        v: Offset of v in the vectors.
        wide: The result is float32, whatever the others are.
    """

    u: int
    v: int
    wide: bool


class Table(NamedTuple):
    """The matrices' data for the kernels.

    Attributes:
        numbers: (fields, number of matrices, rounded up to a power of 2), int64, on the device.
        programs: Number of programs of each kind of kernel that has several per matrix.
        parts: Number of scratch elements of W'u.
        rows: Number of rows of all matrices.
        sizes: Sizes of the float32 results, of the other results, and of the gradients.
        out: Offset of each result in its memory.
        grad: Offset of each gradient.
    """

    numbers: Tensor
    programs: tuple[int, int, int, int]
    parts: int
    rows: int
    sizes: tuple[int, int, int]
    out: tuple[int, ...]
    grad: tuple[int, ...]


@cache
def _table(
    addresses: tuple[int, ...],
    shapes: tuple[torch.Size, ...],
    places: tuple[Place, ...],
    device: torch.device,
) -> Table:
    """Build the table; it is never freed (a few kilobytes), as captured graphs read it."""
    cdiv = triton.cdiv
    rows = [shape[0] for shape in shapes]
    columns = [shape[1:].numel() for shape in shapes]
    area = [shape[2:].numel() for shape in shapes]
    channels = [shape[1] for shape in shapes]
    length = [cdiv(max(cdiv(r, SLICES), 64), 8) * 8 for r in rows]
    slices = [cdiv(r, n) for r, n in zip(rows, length, strict=True)]
    parts = _starts(s * c for s, c in zip(slices, columns, strict=True))
    tiles = [
        r * cdiv(a, AREA) * cdiv(c, LANES) for r, a, c in zip(rows, area, channels, strict=True)
    ]
    steps = [max(LEAST, cdiv(t, SUMS)) for t in tiles]
    sums = [cdiv(t, s) for t, s in zip(tiles, steps, strict=True)]
    even = [
        not (address % 16 or c % 16 or a % 16)
        for address, c, a in zip(addresses, channels, area, strict=True)
    ]
    sizes = [cdiv(r * c, 64) * 64 for r, c in zip(rows, columns, strict=True)]  # 128 bytes
    wide, narrow = (
        _starts(n * (place.wide is kind) for n, place in zip(sizes, places, strict=True))
        for kind in (True, False)
    )
    out = [w if p.wide else n for w, n, p in zip(wide, narrow, places, strict=False)]
    grad = _starts(sizes)
    product = _starts(rows)
    firsts = [
        _starts(s * cdiv(c, LANES) for s, c in zip(slices, columns, strict=True)),
        _starts(cdiv(r, 4) for r in rows),
        _starts(cdiv(t, STEPS) for t in tiles),
        _starts(sums),
    ]
    fields = [
        *(first[:-1] for first in firsts),
        *(addresses, rows, columns, channels, area, even),
        *([p.u for p in places], [p.v for p in places], [p.wide for p in places]),
        *(out, grad[:-1], parts[:-1], slices, length, product[:-1], sums, steps),
    ]
    count = triton.next_power_of_2(len(shapes))
    beyond = 2**62  # no program belongs to the table's padding
    numbers = torch.tensor([[*field, *[beyond] * (count - len(field))] for field in fields])
    return Table(
        numbers.to(device),
        tuple(first[-1] for first in firsts),
        parts[-1],
        product[-1],
        (wide[-1], narrow[-1], grad[-1]),
        tuple(out),
        tuple(grad[:-1]),
    )


def _starts(sizes) -> list[int]:
    """Return the start of each, and the end of all."""
    return [0, *accumulate(sizes)]


def _table_of(weights: Sequence[Tensor], places: tuple[Place, ...]) -> Table:
    return _table(
        tuple(weight.data_ptr() for weight in weights),
        tuple(weight.shape for weight in weights),
        places,
        weights[0].device,
    )


def _plain(
    vectors: Tensor,
    weights: tuple[Tensor, ...],
    places: tuple[Place, ...],
    dtype: torch.dtype,
    move: bool,
    eps: float,
) -> tuple[list[Tensor], Tensor, Tensor]:
    out, sigmas = [], []
    for weight, place in zip(weights, places, strict=True):
        matrix = weight.flatten(1)
        u, v = _vectors(vectors, matrix, place)
        if move:
            v.copy_(F.normalize(matrix.t() @ u, dim=0, eps=eps))
            u.copy_(F.normalize(matrix @ v, dim=0, eps=eps))
        sigma = torch.dot(u, matrix @ v)
        out.append(_as_taken((weight / sigma).to(torch.float32 if place.wide else dtype)))
        sigmas.append(sigma)
    return out, vectors.clone(), torch.stack(sigmas)


def _vectors(vectors: Tensor, matrix: Tensor, place: Place) -> tuple[Tensor, Tensor]:
    rows, columns = matrix.shape
    return vectors[place.u : place.u + rows], vectors[place.v : place.v + columns]


def _as_taken(weight: Tensor) -> Tensor:
    """Return a convolution's kernel in NHWC."""
    return weight.to(memory_format=torch.channels_last) if weight.dim() == 4 else weight


def _kernel(
    vectors: Tensor,
    weights: tuple[Tensor, ...],
    places: tuple[Place, ...],
    dtype: torch.dtype,
    move: bool,
    eps: float,
) -> tuple[list[Tensor], Tensor, Tensor]:
    table, count = _table_of(weights, places), len(weights)
    numbers, layers = table.numbers, {'LAYERS': table.numbers.size(1)}
    used = torch.empty_like(vectors) if move else vectors.clone()
    product, sigma = vectors.new_empty(table.rows), vectors.new_empty(count)
    if move:
        parts = vectors.new_empty(table.parts)
        launch(
            *(_columns_kernel, (table.programs[0],), numbers, vectors, parts),
            **(layers | {'BLOCK_R': 8, 'BLOCK_C': LANES}),
        )
        launch(
            *(_v_kernel, (count,), numbers, parts, used, vectors, eps),
            **(layers | {'SLICES': SLICES, 'BLOCK': 2048, 'num_warps': 16}),
        )
    launch(
        *(_rows_kernel, (table.programs[1],), numbers, used, product),
        **(layers | {'BLOCK_R': 4, 'BLOCK_C': 1024}),
    )
    launch(
        *(_u_kernel, (count,), numbers, product, used, vectors, sigma, eps),
        **(layers | {'MOVE': move, 'BLOCK': 1024}),
    )
    wide = torch.empty(table.sizes[0], dtype=torch.float32, device=vectors.device)
    narrow = torch.empty(table.sizes[1], dtype=dtype, device=vectors.device)
    launch(
        *(_divide_kernel, (table.programs[2],), numbers, sigma, wide, narrow),
        **(layers | {'STEPS': STEPS, 'AREA': AREA, 'LANES': LANES}),
    )
    out = [
        _as_weight(wide if place.wide else narrow, start, weight.shape)
        for place, start, weight in zip(places, table.out, weights, strict=True)
    ]
    return out, used, sigma


def _as_weight(memory: Tensor, start: int, shape: torch.Size) -> Tensor:
    """View a part of a flat tensor as a kernel; a convolution's kernel in NHWC."""
    columns, channels = shape[1:].numel(), shape[1]
    strides = (columns, 1) if len(shape) == 2 else (columns, 1, shape[3] * channels, channels)
    return memory.as_strided(shape, strides, start)


def _plain_grad(
    vectors: Tensor,
    grads: tuple[Tensor | None, ...],
    weights: tuple[Tensor, ...],
    places: tuple[Place, ...],
    sigma: Tensor,
) -> list[Tensor | None]:
    out: list[Tensor | None] = []
    for grad, weight, place, scale in zip(grads, weights, places, sigma, strict=True):
        if grad is None:
            out.append(None)
            continue
        grad, matrix = grad.float().flatten(1), weight.flatten(1)
        u, v = _vectors(vectors, matrix, place)
        share = torch.dot(grad.flatten(), matrix.flatten()) / scale
        out.append(torch.addr(grad, -share * u, v).div_(scale).view_as(weight))
    return out


def _kernel_grad(
    vectors: Tensor,
    grads: tuple[Tensor | None, ...],
    weights: tuple[Tensor, ...],
    places: tuple[Place, ...],
    sigma: Tensor,
) -> list[Tensor | None]:
    table = _table_of(weights, places)
    grads = tuple(grad if grad is None else _dense(grad) for grad in grads)
    kinds = [g for g, p in zip(grads, places, strict=True) if g is not None and not p.wide]
    kind = kinds[0] if kinds else sigma
    numbers = table.numbers
    options = {'LAYERS': numbers.size(1), 'SUMS': SUMS, 'AREA': AREA, 'LANES': LANES}
    options['EVEN'] = all(g is None or g.data_ptr() % 16 == 0 for g in grads)
    sums = vectors.new_empty((len(weights), SUMS))
    # Integers: a tuple that contains None does not compile in Triton 3.6.
    given = tuple(0 if grad is None else grad.data_ptr() for grad in grads)
    launch(_inner_kernel, (table.programs[3],), numbers, given, kind, sums, **options)
    memory = torch.empty(table.sizes[2], dtype=torch.float32, device=vectors.device)
    launch(
        *(_grad_kernel, (table.programs[2],), numbers, given, kind, sums, sigma, vectors, memory),
        **(options | {'STEPS': STEPS}),
    )
    return [
        grad if grad is None else memory.as_strided(weight.shape, weight.stride(), start)
        for grad, weight, start in zip(grads, weights, table.grad, strict=True)
    ]


def _dense(grad: Tensor) -> Tensor:
    """Return the layout of :func:`_as_weight`, in which a convolution returns its gradient."""
    form = torch.channels_last if grad.dim() == 4 else torch.contiguous_format
    return grad.contiguous(memory_format=form)


# In the kernels LAYERS is the number of matrices rounded up to a power of 2, the length of a field
# of the table. Fields 0 to 3 hold the first program of each matrix, for each kind of kernel.


@jit
def _field(table, number: tl.constexpr, layer, LAYERS: tl.constexpr):
    return tl.load(table + number * LAYERS + layer)


@jit
def _layer(table, KIND: tl.constexpr, LAYERS: tl.constexpr):
    """The matrix of this program, and the program's index within it."""
    program = tl.program_id(0)
    firsts = tl.load(table + KIND * LAYERS + tl.arange(0, LAYERS))
    layer = tl.sum((firsts <= program).to(tl.int32)) - 1
    return layer, program - _field(table, KIND, layer, LAYERS).to(tl.int32)


@jit
def _pointer(address, dtype: tl.constexpr, EVEN: tl.constexpr):
    pointer = address.to(tl.pointer_type(dtype))
    if EVEN:  # the compiler does not track an address through the cast
        pointer = tl.multiple_of(pointer, 16)
    return pointer


@jit
def _norm(square, eps):
    norm = tl.sqrt(tl.sum(square))
    return tl.where(norm < eps, eps, norm)  # NaN stays NaN


@jit
def _columns_kernel(
    table, vectors, parts, LAYERS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):
    """W'u in slices of rows."""
    layer, program = _layer(table, 0, LAYERS)
    weight = _pointer(_field(table, 4, layer, LAYERS), tl.float32, False)
    rows, columns = _field(table, 5, layer, LAYERS), _field(table, 6, layer, LAYERS)
    u = vectors + _field(table, 10, layer, LAYERS)
    length = _field(table, 17, layer, LAYERS)
    tiles = tl.cdiv(columns, BLOCK_C).to(tl.int32)
    part = program // tiles
    column = (program % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :].to(tl.int64)
    total = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    first = part * length
    for start in range(first, tl.minimum(first + length, rows), BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)[:, None]
        inside = (row < rows) & (column < columns)
        factor = tl.load(u + row, mask=row < rows, other=0.0)
        total += factor * tl.load(weight + row * columns + column, mask=inside, other=0.0)
    out = parts + _field(table, 15, layer, LAYERS) + part * columns + column
    tl.store(out, tl.sum(total, 0, keep_dims=True), mask=column < columns)


@jit
def _v_kernel(
    table,
    parts,
    used,
    vectors,
    eps,
    LAYERS: tl.constexpr,
    SLICES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """V of a matrix: sum of the slices, normalised."""
    layer = tl.program_id(0)
    columns, v = _field(table, 6, layer, LAYERS), _field(table, 11, layer, LAYERS)
    parts += _field(table, 15, layer, LAYERS)
    slices = _field(table, 16, layer, LAYERS)
    part = tl.arange(0, SLICES)[:, None].to(tl.int64)
    square = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = (part < slices) & (column[None, :] < columns)
        value = tl.load(parts + part * columns + column[None, :], mask=inside, other=0.0)
        value = tl.sum(value, 0)
        square += value * value
        tl.store(used + v + column, value, mask=column < columns)
    norm = _norm(square, eps)
    tl.debug_barrier()  # values that other threads stored are read below
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        value = tl.load(used + v + column, mask=column < columns, other=0.0) / norm
        tl.store(used + v + column, value, mask=column < columns)
        tl.store(vectors + v + column, value, mask=column < columns)


@jit
def _rows_kernel(
    table, used, product, LAYERS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Some rows of Wv."""
    layer, program = _layer(table, 1, LAYERS)
    weight = _pointer(_field(table, 4, layer, LAYERS), tl.float32, False)
    rows, columns = _field(table, 5, layer, LAYERS), _field(table, 6, layer, LAYERS)
    v = used + _field(table, 11, layer, LAYERS)
    row = program * BLOCK_R + tl.arange(0, BLOCK_R)[:, None].to(tl.int64)
    total = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    for start in range(0, columns, BLOCK_C):
        column = start + tl.arange(0, BLOCK_C)[None, :]
        inside = (row < rows) & (column < columns)
        factor = tl.load(v + column, mask=column < columns, other=0.0)
        total += factor * tl.load(weight + row * columns + column, mask=inside, other=0.0)
    out = product + _field(table, 18, layer, LAYERS) + row
    tl.store(out, tl.sum(total, 1, keep_dims=True), mask=row < rows)


@jit
def _u_kernel(
    table,
    product,
    used,
    vectors,
    sigmas,
    eps,
    LAYERS: tl.constexpr,
    MOVE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """U of a matrix, and sigma."""
    layer = tl.program_id(0)
    rows, u = _field(table, 5, layer, LAYERS), _field(table, 10, layer, LAYERS)
    product += _field(table, 18, layer, LAYERS)
    norm = 1.0
    if MOVE:
        square = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, rows, BLOCK):
            row = start + tl.arange(0, BLOCK)
            value = tl.load(product + row, mask=row < rows, other=0.0)
            square += value * value
        norm = _norm(square, eps)
    sigma = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK)
        value = tl.load(product + row, mask=row < rows, other=0.0)
        if MOVE:
            unit = value / norm
            tl.store(used + u + row, unit, mask=row < rows)
            tl.store(vectors + u + row, unit, mask=row < rows)
        else:
            unit = tl.load(used + u + row, mask=row < rows, other=0.0)
        sigma += unit * value
    tl.store(sigmas + layer, tl.sum(sigma))


@jit
def _even(number):
    """Show the compiler that a number is a multiple of 16."""
    return number // 16 * 16


@jit
def _tile(tile, rows, channels, area, AREA: tl.constexpr, LANES: tl.constexpr):
    """For a tile, (AREA, LANES): offsets in NCHW and NHWC, mask, row, index in v."""
    blocks = tl.cdiv(channels, LANES).to(tl.int32)
    across = tl.cdiv(area, AREA).to(tl.int32)
    row = (tile // (blocks * across)).to(tl.int64)
    place = (tile // blocks % across) * AREA + tl.arange(0, AREA)[:, None].to(tl.int64)
    channel = (tile % blocks) * LANES + tl.arange(0, LANES)[None, :].to(tl.int64)
    inside = (row < rows) & (place < area) & (channel < channels)
    start = row * (channels * area)
    column = channel * area + place
    return start + column, start + place * channels + channel, inside, row, column


@jit
def _divide(
    weight,
    wide,
    narrow,
    is_wide,
    sigma,
    first,
    rows,
    channels,
    area,
    STEPS: tl.constexpr,
    AREA: tl.constexpr,
    LANES: tl.constexpr,
):
    for step in range(STEPS):
        ours, taken, inside, _, _ = _tile(first + step, rows, channels, area, AREA, LANES)
        value = tl.load(weight + ours, mask=inside, other=0.0) / sigma
        if is_wide:
            tl.store(wide + taken, value, mask=inside)
        else:
            tl.store(narrow + taken, value.to(narrow.dtype.element_ty), mask=inside)


@jit
def _divide_kernel(
    table,
    sigmas,
    wide,
    narrow,
    LAYERS: tl.constexpr,
    STEPS: tl.constexpr,
    AREA: tl.constexpr,
    LANES: tl.constexpr,
):
    """W / sigma in the layer's layout and dtype."""
    layer, program = _layer(table, 2, LAYERS)
    address, rows = _field(table, 4, layer, LAYERS), _field(table, 5, layer, LAYERS)
    channels, area = _field(table, 7, layer, LAYERS), _field(table, 8, layer, LAYERS)
    sigma, is_wide = tl.load(sigmas + layer), _field(table, 12, layer, LAYERS) != 0
    out = _even(_field(table, 13, layer, LAYERS))
    wide += out
    narrow += out
    first = program * STEPS
    if _field(table, 9, layer, LAYERS) != 0:
        weight, channels, area = _pointer(address, tl.float32, True), _even(channels), _even(area)
        _divide(
            *(weight, wide, narrow, is_wide, sigma, first, rows, channels, area),
            *(STEPS, AREA, LANES),
        )
    else:
        weight = _pointer(address, tl.float32, False)
        _divide(
            *(weight, wide, narrow, is_wide, sigma, first, rows, channels, area),
            *(STEPS, AREA, LANES),
        )


@jit
def _address(grads, layer):
    """Address of a matrix's gradient, 0 if it has none."""
    address = layer.to(tl.int64) * 0
    for number in tl.static_range(len(grads)):
        address = tl.where(layer == number, grads[number].to(tl.int64), address)
    return address


@jit
def _load_grad(address, kind, is_wide, at, inside, EVEN: tl.constexpr):
    if is_wide:
        wide = _pointer(address, tl.float32, EVEN)
        grad = tl.load(wide + at, mask=inside, other=0.0)
    else:
        narrow = _pointer(address, kind.dtype.element_ty, EVEN)
        grad = tl.load(narrow + at, mask=inside, other=0.0).to(tl.float32)
    return grad


@jit
def _inner(
    address,
    kind,
    is_wide,
    weight,
    first,
    steps,
    rows,
    channels,
    area,
    EVEN: tl.constexpr,
    AREA: tl.constexpr,
    LANES: tl.constexpr,
):
    total = tl.zeros((AREA, LANES), tl.float32)
    tiles = (rows * tl.cdiv(channels, LANES) * tl.cdiv(area, AREA)).to(tl.int32)
    for tile in range(first, tl.minimum(first + steps, tiles)):
        ours, taken, inside, _, _ = _tile(tile, rows, channels, area, AREA, LANES)
        grad = _load_grad(address, kind, is_wide, taken, inside, EVEN)
        total += grad * tl.load(weight + ours, mask=inside, other=0.0)
    return tl.sum(total)


@jit
def _inner_kernel(
    table,
    grads,
    kind,
    sums,
    LAYERS: tl.constexpr,
    SUMS: tl.constexpr,
    AREA: tl.constexpr,
    LANES: tl.constexpr,
    EVEN: tl.constexpr,
):
    """<G, W> in slices."""
    layer, program = _layer(table, 3, LAYERS)
    address = _address(grads, layer)
    if address != 0:
        weight, rows = _field(table, 4, layer, LAYERS), _field(table, 5, layer, LAYERS)
        channels, area = _field(table, 7, layer, LAYERS), _field(table, 8, layer, LAYERS)
        is_wide = _field(table, 12, layer, LAYERS) != 0
        steps = _field(table, 20, layer, LAYERS).to(tl.int32)
        first = program * steps
        out = sums + layer * SUMS + program
        if EVEN and _field(table, 9, layer, LAYERS) != 0:
            total = _inner(
                *(address, kind, is_wide, _pointer(weight, tl.float32, True), first, steps, rows),
                *(_even(channels), _even(area), True, AREA, LANES),
            )
            tl.store(out, total)
        else:
            total = _inner(
                *(address, kind, is_wide, _pointer(weight, tl.float32, False), first, steps, rows),
                *(channels, area, False, AREA, LANES),
            )
            tl.store(out, total)


@jit
def _spread(
    address,
    kind,
    is_wide,
    u,
    v,
    share,
    sigma,
    out,
    first,
    rows,
    channels,
    area,
    EVEN: tl.constexpr,
    STEPS: tl.constexpr,
    AREA: tl.constexpr,
    LANES: tl.constexpr,
):
    for step in range(STEPS):
        ours, taken, inside, row, column = _tile(first + step, rows, channels, area, AREA, LANES)
        grad = _load_grad(address, kind, is_wide, taken, inside, EVEN)
        factor = share * tl.load(u + row, mask=row < rows, other=0.0)
        value = (grad - factor * tl.load(v + column, mask=inside, other=0.0)) / sigma
        tl.store(out + ours, value, mask=inside)


@jit
def _grad_kernel(
    table,
    grads,
    kind,
    sums,
    sigmas,
    vectors,
    out,
    LAYERS: tl.constexpr,
    SUMS: tl.constexpr,
    AREA: tl.constexpr,
    LANES: tl.constexpr,
    EVEN: tl.constexpr,
    STEPS: tl.constexpr,
):
    """(G - <G, W> / sigma uv') / sigma, in the memory format of the matrix."""
    layer, program = _layer(table, 2, LAYERS)
    address = _address(grads, layer)
    if address != 0:
        rows, is_wide = _field(table, 5, layer, LAYERS), _field(table, 12, layer, LAYERS) != 0
        channels, area = _field(table, 7, layer, LAYERS), _field(table, 8, layer, LAYERS)
        u = vectors + _field(table, 10, layer, LAYERS)
        v = vectors + _field(table, 11, layer, LAYERS)
        out += _even(_field(table, 14, layer, LAYERS))
        part = tl.arange(0, SUMS)
        inside = part < _field(table, 19, layer, LAYERS)
        sigma = tl.load(sigmas + layer)
        share = tl.sum(tl.load(sums + layer * SUMS + part, mask=inside, other=0.0)) / sigma
        first = program * STEPS
        if EVEN and _field(table, 9, layer, LAYERS) != 0:
            _spread(
                *(address, kind, is_wide, u, v, share, sigma, out, first, rows),
                *(_even(channels), _even(area), True, STEPS, AREA, LANES),
            )
        else:
            _spread(
                *(address, kind, is_wide, u, v, share, sigma, out, first, rows),
                *(channels, area, False, STEPS, AREA, LANES),
            )


def _case(device: torch.device) -> tuple[Tensor, tuple[Tensor, ...], tuple[Place, ...]]:
    """Two convolutions and a linear layer, with sizes for the even path and the other one."""
    shapes = ((40, 16, 4, 4), (3, 5, 4, 4), (1, 70))
    weights = tuple(torch.randn(shape, device=device) for shape in shapes)
    starts = _starts(n for shape in shapes for n in (shape[0], torch.Size(shape[1:]).numel()))
    places = tuple(Place(starts[2 * i], starts[2 * i + 1], i == 2) for i in range(3))
    return torch.randn(starts[-1], device=device), weights, places


def _examples(device: torch.device) -> Iterator[Example]:
    vectors, weights, places = _case(device)
    for move, dtype in ((True, torch.float32), (False, torch.bfloat16)):
        yield Example((vectors, weights, places, dtype, move, 1e-12))


def _grad_examples(device: torch.device) -> Iterator[Example]:
    vectors, weights, places = _case(device)
    for dtype in (torch.float32, torch.bfloat16):
        grads = [
            _as_taken(torch.randn_like(w).to(torch.float32 if p.wide else dtype))
            for w, p in zip(weights, places, strict=True)
        ]
        sigma = torch.rand(3, device=device) + 1
        yield Example((vectors, (grads[0], None, grads[2]), weights, places, sigma), atol=1e-3)


NORMALISE = Fused('spectral norm', _plain, _kernel, _examples)
"""(vectors, raw weights, places, dtype, whether to run a power iteration, eps): the normalised
weights, the vectors of this use, and the sigmas. The vectors are updated in place."""

NORMALISE_GRAD = Fused("spectral norm's gradient", _plain_grad, _kernel_grad, _grad_examples)
"""(vectors of the use, gradients or None, raw weights, places, sigmas): gradients of the raw
weights, float32, or None."""
