"""Padding by reflection or replication, and its backward pass.

The layers pass padded maps on: what normalises or activates a map writes it with the frame that
the next convolution needs. Anything that works on each element commutes with that, so two padded
maps are added as they are.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Padding(NamedTuple):
    """Lines around a map.

    Attributes:
        left: Columns before the map; likewise ``right``, ``top``, ``bottom``.
        right: Columns after it.
        top: Rows above it.
        bottom: Rows below it.
        reflect: The border line is not repeated; else it is, one line at most.
    """

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    reflect: bool = True

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(self[:4])

    @property
    def mode(self) -> str:
        """As ``torch.nn.functional.pad`` has it."""
        return 'reflect' if self.reflect else 'replicate'

    def inside(self, padded: Tensor) -> Tensor:
        """The map itself, a view of the padded one, (N, C, H, W)."""
        height, width = padded.shape[-2:]
        rows = slice(self.top, height - self.bottom)
        return padded[..., rows, self.left : width - self.right]


NO_PADDING = Padding()


def reflection(width: int) -> Padding:
    """Reflection by ``width`` pixels all round."""
    return Padding(width, width, width, width)


def replication() -> Padding:
    """A border of one pixel, repeated."""
    return Padding(1, 1, 1, 1, reflect=False)


def pad(x: Tensor, padding: Padding) -> Tensor:
    """Pad (N, C, H, W), keeping nothing for the backward pass.

    torch's own padding keeps its input, of which it needs only the shape.

    Args:
        x: Features.
        padding: Lines on each side; fewer than the map has.
    """
    if not padding:
        return x
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return F.pad(x, padding[:4], mode=padding.mode)
    return Pad.apply(x, padding)


class Pad(torch.autograd.Function):
    """See :func:`pad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        """Pad ``x``."""
        ctx.padding = padding
        return F.pad(x, padding[:4], mode=padding.mode)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Add the frame to the places that it shows."""
        return fold(grad, ctx.padding), None


def fold(grad: Tensor, padding: Padding) -> Tensor:
    """Add each line of the frame to the line that it shows: the backward pass of :func:`pad`.

    Args:
        grad: Gradient of the padded map.
        padding: As there.

    Returns:
        Gradient of the map, in memory of its own.
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
    """Lines of the frame, the lines that they show, whether mirrored; then those of the map."""
    edge, size = int(reflect), padded - before - after
    bands = [(slice(before, before + size), slice(None), False)]
    if before:
        bands.append((slice(None, before), slice(edge, edge + before), True))
    if after:
        last = size - edge
        bands.append((slice(padded - after, None), slice(last - after, last), True))
    return bands


def memory_format(x: Tensor) -> torch.memory_format:
    """NHWC where ``x`` lies so, a cut-out of such a map included; else NCHW."""
    return torch.channels_last if x.stride(1) < x.stride(3) else torch.contiguous_format
