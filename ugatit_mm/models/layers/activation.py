"""Bias, activation and padding after a convolution, fused: one pass forward, one backward."""

from typing import Any

import torch
from torch import Tensor

from ...kernels.activation import BIAS_ACT, BIAS_ACT_GRAD, IDENTITY, TANH, Activation
from .padding import NO_PADDING, Padding, memory_format

__all__ = ['IDENTITY', 'TANH', 'Activation', 'bias_act', 'product_type', 'takes_bias']


def takes_bias(x: Tensor) -> bool:
    """Whether a convolution of ``x`` leaves its bias to :func:`bias_act`.

    On a GPU, torch's convolution adds a bias in a separate kernel launch, and computes its gradient
    in another. On a CPU the convolution adds the bias itself.
    """
    return BIAS_ACT.uses_kernel((x,))


def product_type(x: Tensor) -> torch.dtype:
    """Dtype in which a convolution of ``x`` multiplies: autocast's if that is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def bias_act(
    x: Tensor,
    bias: Tensor | None,
    act: Activation = IDENTITY,
    padding: Padding = NO_PADDING,
    dtype: torch.dtype | None = None,
    form: torch.memory_format | None = None,
) -> Tensor:
    """Add a bias, activate, pad.

    Where kernels run, only the result is saved for the backward pass, and only if there is an
    activation; the next convolution saves it, too. Elsewhere torch's operators run, whose own
    gradients were as fast on a CPU as any other way.

    Args:
        x: A convolution's output, (N, C, H, W), in any memory format.
        bias: Its bias, (C).
        act: The activation.
        padding: Padding of the next convolution.
        dtype: Dtype of the result; by default that of ``x``.
        form: Memory format of the result; by default that of ``x``.

    Returns:
        Tensor (N, C, H', W').
    """
    dtype, form = dtype or x.dtype, form or memory_format(x)
    if not takes_bias(x):
        return BIAS_ACT.plain(x, bias, act, padding, dtype, form)
    if bias is None and act == IDENTITY and not padding and (dtype, form) == _kind(x):
        return x
    return BiasAct.apply(x, bias, act, padding, dtype, form)


class BiasAct(torch.autograd.Function):
    """See :func:`bias_act`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor | None,
        act: Activation,
        padding: Padding,
        dtype: torch.dtype,
        form: torch.memory_format,
    ) -> Tensor:
        """Add ``bias``, activate, pad."""
        out = BIAS_ACT(x, bias, act, padding, dtype, form)
        ctx.args = (act, padding, *_kind(x))
        ctx.save_for_backward(*([] if act == IDENTITY else [out]))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of ``x`` and ``bias``."""
        (y,) = ctx.saved_tensors or (None,)  # read once: checkpointing allows no second read
        out, of_bias = BIAS_ACT_GRAD(grad, y, *ctx.args, ctx.needs_input_grad[1])
        return out, of_bias, None, None, None, None


def _kind(x: Tensor) -> tuple[torch.dtype, torch.memory_format]:
    return x.dtype, memory_format(x)
