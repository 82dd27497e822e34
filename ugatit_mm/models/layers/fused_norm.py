"""Instance-layer normalisation with a hand-written backward pass.

It saves only ``x`` and a few (N, C) tensors; the mask of the activation is recomputed. The
arithmetic is in :mod:`ugatit_mm.kernels.norm`.
"""

from typing import Any

import torch
from torch import Tensor

from ...kernels.norm import Factors, Norm, Numbers, gradients, normalise


class InstanceLayerNorm(torch.autograd.Function):
    """As :func:`ugatit_mm.models.layers.adalin.instance_layer_norm`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor | None,
        rho: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor | None,
        norm: Norm,
    ) -> Tensor:
        """Normalise ``x`` (N, C, H, W)."""
        factors = Factors(bias, rho, gamma, beta)
        y, numbers = normalise(x, factors, residual, norm)
        ctx.save_for_backward(x, *factors, *numbers)
        ctx.norm = norm
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of ``x``, the factors and the residual."""
        x, *kept = ctx.saved_tensors
        count = len(Factors._fields)
        factors, numbers = Factors(*kept[:count]), Numbers(*kept[count:])
        grad_x, of_factors = gradients(grad, x, factors, numbers, ctx.norm)
        return grad_x, *of_factors, grad if ctx.needs_input_grad[5] else None, None
