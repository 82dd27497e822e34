"""Padding by reflection or replication.

The layers pass padded maps on: a norm or an activation writes its map with the padding that the
next convolution needs. Element-wise operations commute with padding, so two padded maps are added
directly.
"""

from typing import Any

import torch
from torch import Tensor

from ...kernels.maps import NO_PADDING, Padding, memory_format, reflection, replication
from ...kernels.shuffle import fold, plain_repad, repad_gradient, repadded

__all__ = [
    'NO_PADDING',
    'Padding',
    'fold',
    'memory_format',
    'pad',
    'reflection',
    'repad',
    'replication',
]


def pad(x: Tensor, padding: Padding) -> Tensor:
    """Pad (N, C, H, W), saving nothing for the backward pass.

    torch's own padding saves its input, although it needs only the shape.

    Args:
        x: Features.
        padding: Rows and columns to add on each side; fewer than the map has.
    """
    return repad(x, NO_PADDING, padding)


def repad(x: Tensor, old: Padding, new: Padding) -> Tensor:
    """Change a map's padding from ``old`` to ``new``; see :func:`pad`."""
    if old == new:
        return x
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return plain_repad(x, old, new)
    return Repad.apply(x, old, new)


class Repad(torch.autograd.Function):
    """See :func:`repad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, old: Padding, new: Padding) -> Tensor:
        """Pad ``x``; without a new padding the result is a view."""
        ctx.paddings = (old, new)
        return repadded(x, old, new) if new else old.inside(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Add the new padding's gradient to its source pixels; that of the old padding is zero."""
        return repad_gradient(grad, *ctx.paddings), None, None
