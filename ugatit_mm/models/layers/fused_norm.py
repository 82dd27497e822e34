"""Instance-layer normalisation with a hand-written backward pass.

``y = act(scale * (x - m_I) + shift)`` with factors for each sample and channel. Nothing but ``x``
is kept for the backward pass, not even the mask of the ReLU, which is computed anew.

With ``g`` the gradient behind the activation, ``S1 = sum g`` and ``S2 = sum g (x - m_I)`` over H
and W, all but a few passes over the features is arithmetic of (N, C) numbers:
``dx = scale * g + dm / P + 2 dv (x - m_I) / P`` with P = H * W, and ``dm``, ``dv`` the gradients of
the channels' mean and variance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import norm_triton

Coefficients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class InstanceLayerNorm(torch.autograd.Function):
    """As :func:`ugatit_mm.models.layers.adalin.instance_layer_norm`, with factors (N or 1, C)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        rho: Tensor,
        gamma: Tensor,
        beta: Tensor,
        eps: float,
        unbiased: bool,
        relu: bool,
    ) -> Tensor:
        """Normalise ``x`` (N, C, H, W)."""
        mean, var = channel_stats(x)
        stats = layer_stats(mean, var, x[0, 0].numel(), eps, unbiased)
        scale, shift = scale_and_shift(stats, rho, gamma, beta)
        ctx.save_for_backward(x, rho, gamma, mean, var, scale, shift)
        ctx.beta_shape = beta.shape
        ctx.options = (eps, unbiased, relu)
        return affine(x, mean, scale, shift, relu)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of ``x``, ``rho``, ``gamma`` and ``beta``."""
        x, rho, gamma, mean, var, scale, shift = ctx.saved_tensors
        eps, unbiased, relu = ctx.options
        count = x[0, 0].numel()
        stats = layer_stats(mean, var, count, eps, unbiased)
        layer = (1 - rho) * stats.inv_l
        sums: list[Tensor] = []

        def coefficients(s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
            sums.extend((s1, s2))
            # d(v + eps)^(-1/2) = -1/2 (v + eps)^(-3/2) dv; v_L = mean over C of v_I + offset^2.
            grad_var_l = (gamma * (1 - rho) * (s2 + s1 * stats.offset)).sum(1, keepdim=True)
            grad_var_l = -0.5 * stats.factor_l * stats.inv_l**3 * grad_var_l / mean.size(1)
            grad_var = grad_var_l - 0.5 * stats.factor_i * stats.inv_i**3 * gamma * rho * s2
            grad_offset = gamma * layer * s1 + 2 * grad_var_l * stats.offset
            grad_mean = grad_offset - grad_offset.mean(1, keepdim=True) - scale * s1
            return 2 * grad_var / count, grad_mean / count

        grad_x = affine_grad(grad, x, mean, scale, shift, relu, coefficients)
        s1, s2 = sums
        grad_rho = gamma * (s2 * (stats.inv_i - stats.inv_l) - s1 * stats.inv_l * stats.offset)
        grad_gamma = s2 * (rho * stats.inv_i + layer) + s1 * layer * stats.offset
        return (
            grad_x,
            grad_rho.sum_to_size(rho.shape),
            grad_gamma.sum_to_size(gamma.shape),
            s1.sum_to_size(ctx.beta_shape),
            None,
            None,
            None,
        )


class Stats(NamedTuple):
    """What follows from the channels' mean and variance.

    Attributes:
        offset: ``m_I - m_L``, (N, C).
        inv_i: ``1 / sqrt(v_I + eps)``, (N, C).
        inv_l: ``1 / sqrt(v_L + eps)``, (N, 1).
        factor_i: Variance in use over population variance, n / (n - 1) or 1.
        factor_l: The same of the layer.
    """

    offset: Tensor
    inv_i: Tensor
    inv_l: Tensor
    factor_i: float
    factor_l: float


def layer_stats(mean: Tensor, var: Tensor, count: int, eps: float, unbiased: bool) -> Stats:
    """Derive the layer's statistics from those of its channels, (N, C), ``count`` pixels each."""
    total = count * mean.size(1)
    factor_i, factor_l = (n / (n - 1) if unbiased else 1.0 for n in (count, total))
    offset = mean - mean.mean(1, keepdim=True)
    var_l = (var + offset.square()).mean(1, keepdim=True)
    return Stats(
        offset,
        torch.rsqrt(factor_i * var + eps),
        torch.rsqrt(factor_l * var_l + eps),
        factor_i,
        factor_l,
    )


def scale_and_shift(
    stats: Stats, rho: Tensor, gamma: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Fold normalisation, rho, gamma and beta into ``scale * (x - m_I) + shift``, each (N, C)."""
    layer = (1 - rho) * stats.inv_l
    return gamma * (rho * stats.inv_i + layer), gamma * layer * stats.offset + beta


def channel_stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance of each channel, (N, C), in float32 (float64 of float64)."""
    if norm_triton.available(x):
        return norm_triton.channel_stats(x)
    x = _wide(x)
    if x.device.type != 'cpu':
        var, mean = torch.var_mean(x, (2, 3), correction=0)
        return mean, var
    # On a CPU torch's var_mean takes one number at a time, several times slower; its sums are made
    # of partial sums, which keep float32 exact to a few ulp also over 65,536 pixels.
    mean = x.mean((2, 3))
    return mean, (x - _map(mean)).square_().mean((2, 3))


def affine(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, relu: bool) -> Tensor:
    """``scale * (x - mean) + shift``, then ReLU if asked, of the type of ``x``."""
    if norm_triton.available(x):
        return norm_triton.affine(x, mean, scale, shift, relu)
    y = x - _map(mean)  # first: exact for features with a mean far from 0
    torch.addcmul(_map(shift), y, _map(scale), out=y)
    return (y.relu_() if relu else y).to(x.dtype)


def affine_grad(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    relu: bool,
    coefficients: Coefficients,
) -> Tensor:
    """Gradient of :func:`affine` for ``x``, the statistics' part included.

    Args:
        grad: Gradient of the result.
        x: As in the forward pass; so are mean, scale, shift, relu.
        coefficients: Takes S1 and S2, (N, C), gives ``slope`` and ``offset``.

    Returns:
        ``scale * g + slope * (x - mean) + offset``.
    """
    if norm_triton.available(x):
        inputs = (grad, x, mean, scale, shift, relu)
        sums = norm_triton.affine_grad_sums(*inputs)
        return norm_triton.affine_grad_input(*inputs, *coefficients(*sums))
    centred, grad = x - _map(mean), _wide(grad)
    if relu:
        y = torch.addcmul(_map(shift), centred, _map(scale))
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
    slope, offset = coefficients(grad.sum((2, 3)), (centred * grad).sum((2, 3)))
    torch.addcmul(_map(offset), centred, _map(slope), out=centred)
    return centred.addcmul_(grad, _map(scale)).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _map(factor: Tensor) -> Tensor:
    return factor[..., None, None]
