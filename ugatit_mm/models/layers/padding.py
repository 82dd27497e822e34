"""Padding by reflection or replication.

The layers pass padded maps on: what normalises or activates a map writes it with the frame that
the next convolution needs. Anything that works on each element commutes with that, so two padded
maps are added as they are.
"""

from typing import Any

import torch
from torch import Tensor

from ...kernels.maps import NO_PADDING, Padding, memory_format, reflection, replication
from ...kernels.shuffle import fold, folded, padded, plain_pad

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
    """Pad (N, C, H, W), keeping nothing for the backward pass.

    torch's own padding keeps its input, of which it needs only the shape.

    Args:
        x: Features.
        padding: Lines on each side; fewer than the map has.
    """
    if not padding:
        return x
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return plain_pad(x, padding)
    return Pad.apply(x, padding)


def repad(x: Tensor, old: Padding, new: Padding) -> Tensor:
    """Give a map that is padded by ``old`` the padding ``new``."""
    return x if old == new else pad(old.inside(x), new)


class Pad(torch.autograd.Function):
    """See :func:`pad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:
        """Pad ``x``."""
        ctx.padding = padding
        return padded(x, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Add the frame to the places that it shows."""
        return folded(grad, ctx.padding), None
