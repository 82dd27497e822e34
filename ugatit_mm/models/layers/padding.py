"""Padding by reflection or replication.

The layers pass padded maps on: what normalises or activates a map writes it with the frame that
the next convolution needs. Anything that works on each element commutes with that, so two padded
maps are added as they are.
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
    """Pad (N, C, H, W), keeping nothing for the backward pass.

    torch's own padding keeps its input, of which it needs only the shape.

    Args:
        x: Features.
        padding: Lines on each side; fewer than the map has.
    """
    return repad(x, NO_PADDING, padding)


def repad(x: Tensor, old: Padding, new: Padding) -> Tensor:
    """Give a map that is padded by ``old`` the padding ``new``; see :func:`pad`."""
    if old == new:
        return x
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return plain_repad(x, old, new)
    return Repad.apply(x, old, new)


class Repad(torch.autograd.Function):
    """See :func:`repad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, old: Padding, new: Padding) -> Tensor:
        """Pad ``x``; without a new padding it is a view."""
        ctx.paddings = (old, new)
        return repadded(x, old, new) if new else old.inside(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Add the new frame to the places that it shows, and put zeros into the old one."""
        return repad_gradient(grad, *ctx.paddings), None, None
