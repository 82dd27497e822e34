"""Maps (N, C, H, W): their padding, their memory formats, and their division into tiles.

A tile has some channels and some positions, H and W flattened, both powers of 2, and is long in the
contiguous dimension. Offsets are int64: a batch may have more than 2^31 elements.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .places import first_copy, last_copy
from .support import jit, tl, triton

# Not tuned: 16 elements for each of the 128 threads of a program.
TILE = 2048


class Padding(NamedTuple):
    """Rows and columns around a map.

    Attributes:
        left: Columns before the map.
        right: Columns after it.
        top: Rows above it.
        bottom: Rows below it.
        reflect: Reflection, which does not repeat the border line; else replication of one line at
            most.
    """

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    reflect: bool = True

    def __bool__(self) -> bool:
        """Whether there is any padding."""
        return any(self[:4])

    @property
    def mode(self) -> str:
        """The mode of ``torch.nn.functional.pad``."""
        return 'reflect' if self.reflect else 'replicate'

    def inside(self, padded: Tensor) -> Tensor:
        """Return the map itself, a view of the padded one, (N, C, H, W)."""
        height, width = padded.shape[-2:]
        rows = slice(self.top, height - self.bottom)
        return padded[..., rows, self.left : width - self.right]

    def around(self, shape: torch.Size) -> tuple[int, int, int, int]:
        """Return the shape of the padded map."""
        batch, channels, height, width = shape
        height, width = height + self.top + self.bottom, width + self.left + self.right
        return batch, channels, height, width

    def within(self, shape: torch.Size) -> tuple[int, int, int, int]:
        """Return the shape of the map inside a padded one."""
        batch, channels, height, width = shape
        height, width = height - self.top - self.bottom, width - self.left - self.right
        return batch, channels, height, width


NO_PADDING = Padding()


def reflection(width: int) -> Padding:
    """Reflection by ``width`` pixels on all sides."""
    return Padding(width, width, width, width)


def replication() -> Padding:
    """Replication of the border by one pixel."""
    return Padding(1, 1, 1, 1, reflect=False)


def memory_format(x: Tensor) -> torch.memory_format:
    """Return NHWC if ``x`` has that layout, also as a view into such a map; else NCHW."""
    _, channel, row, column = x.stride()  # that of a single row or column may be any number
    return torch.channels_last if channel < min(row, column) else torch.contiguous_format


def empty(
    x: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype | None = None,
    form: torch.memory_format | None = None,
) -> Tensor:
    """Allocate a map in the dtype and memory format of ``x``, or in the given ones."""
    form = form or memory_format(x)
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device, memory_format=form)


def layout(x: Tensor) -> tuple[int, int, int, int, int]:
    """Strides of sample, channel, row and column, and the width: arguments of :func:`place`."""
    sample, channel, row, column = x.stride()
    # The stride of a single row or column may be any number.
    return sample, channel, row, row if x.size(3) == 1 else column, x.size(3)


def gaps(x: Tensor) -> bool:
    """Whether rows are not contiguous, so that kernels must divide by the width."""
    _, _, row, column, width = layout(x)
    return x.size(2) > 1 and row != width * column


def tile_of(*maps: Tensor, folded: bool = False) -> tuple[int, int]:
    """Return the channels and positions of a tile.

    Args:
        maps: Maps read or written together; the size is that of the first one.
        folded: Elements are read by :func:`load_folded`, nine values for each.
    """
    channels = triton.next_power_of_2(maps[0].size(1))
    positions = triton.next_power_of_2(maps[0].size(2) * maps[0].size(3))
    last = {memory_format(x) is torch.channels_last for x in maps}
    if last == {False}:
        tile = TILE // 4 if folded else TILE
        block_p = min(tile, positions)
        return min(tile // block_p, channels), block_p
    # 64 channels are at least 128 bytes; 32 if only one map is channels last.
    block_c = min(64 if last == {True} else 32, channels)
    return block_c, min((TILE // 2 if folded else TILE) // block_c, positions)


def grid(x: Tensor, block_c: int, block_p: int) -> tuple[int]:
    """Return a grid of one program per tile, in one dimension: the other two end at 65535."""
    batch, channels, height, width = x.shape
    return (batch * triton.cdiv(channels, block_c) * triton.cdiv(height * width, block_p),)


# In the kernels a tile is (BLOCK_C, BLOCK_P), values per channel are (BLOCK_C, 1). In program ids,
# tiles (or slices) of positions vary fastest, then blocks of channels, then samples.


@jit
def split(parts, channels, BLOCK_C: tl.constexpr):
    """Sample, channels (BLOCK_C), both int64, and index of the tile or slice."""
    program = tl.program_id(0)
    blocks = tl.cdiv(channels, BLOCK_C)
    rest = program // parts
    line = (rest % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    return (rest // blocks).to(tl.int64), line.to(tl.int64), program % parts


@jit
def tile_at(positions, channels, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """Sample, channels and positions of this program's tile, and the mask of valid elements."""
    sample, line, tile = split(tl.cdiv(positions, BLOCK_P), channels, BLOCK_C)
    position = tile * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    return sample, line, position, (line[:, None] < channels) & (position < positions)


@jit
def at(sample, channel, row, column, stride_n, stride_c, stride_h, stride_w):
    """Offset of an element by its row and column."""
    offset = sample * stride_n + channel * stride_c
    return offset + row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w


@jit
def place(
    sample, channel, position, stride_n, stride_c, stride_h, stride_w, width, GAPS: tl.constexpr
):
    """Offset of an element by its position."""
    if GAPS:
        row, column = position // width, position % width
        offset = at(sample, channel, row, column, stride_n, stride_c, stride_h, stride_w)
    else:
        offset = sample * stride_n + channel * stride_c + position.to(tl.int64) * stride_w
    return offset


@jit
def load(x, offset, inside):
    """Elements as float32, 0 outside."""
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@jit
def vector(x, sample, line, channels):
    """Load values of a sample's channels from (N, C), (BLOCK_C, 1)."""
    # One-dimensional, then expanded, so that each thread loads its values once.
    return tl.load(x + sample * channels + line, mask=line < channels, other=0.0)[:, None]


@jit
def _copy(x, sample, channel, row, column, stride_n, stride_c, stride_h, stride_w, inside):
    offset = at(sample, channel, row, column, stride_n, stride_c, stride_h, stride_w)
    return load(x, offset, inside & (row >= 0) & (column >= 0))


@jit
def load_folded(
    x,
    sample,
    channel,
    row,
    column,
    inside,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    left,
    right,
    top,
    bottom,
    height,
    width,
    REFLECT: tl.constexpr,
):
    """Elements of a padded map, each summed with its copies in the padding, as float32.

    ``row`` and ``column`` are indices in the unpadded map of ``height`` and ``width``.
    """
    above = first_copy(row, top, height, REFLECT)
    below = last_copy(row, top, bottom, height, REFLECT)
    before = first_copy(column, left, width, REFLECT)
    after = last_copy(column, left, right, width, REFLECT)
    row += top
    column += left
    strides = (stride_n, stride_c, stride_h, stride_w)
    total = _copy(x, sample, channel, row, column, *strides, inside)
    # Few tiles of a large map touch its padding.
    if tl.max(tl.maximum(tl.maximum(above, below), tl.maximum(before, after))) >= 0:
        total += _copy(x, sample, channel, row, before, *strides, inside)
        total += _copy(x, sample, channel, row, after, *strides, inside)
        total += _copy(x, sample, channel, above, column, *strides, inside)
        total += _copy(x, sample, channel, above, before, *strides, inside)
        total += _copy(x, sample, channel, above, after, *strides, inside)
        total += _copy(x, sample, channel, below, column, *strides, inside)
        total += _copy(x, sample, channel, below, before, *strides, inside)
        total += _copy(x, sample, channel, below, after, *strides, inside)
    return total
