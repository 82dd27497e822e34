"""A linear layer whose uses in a step share one gradient of the weight."""

import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class JointLinear(nn.Linear):
    """``nn.Linear`` that computes the gradient of its weight once for all uses before it.

    Of few rows and a huge weight (the full variant: 268M numbers, three rows in a step) nearly all
    time and memory of the backward pass is the weight's gradient, which autograd makes for each
    use and adds up. The gradient of all uses is one product of their rows, ``sum g'x = G'X``:
    here each use hands its rows in, and the last one computes it. A use whose graph is freed
    without a backward pass no longer counts.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self._uses = _Uses()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(x)
        out = _JointLinear.apply(x, self.weight, self._uses)
        return out if self.bias is None else out + self.bias


class _Use:
    """Lives as long as the graph of one use."""


class _Uses:
    """Uses without a backward pass yet, and the rows of those that had one.

    Nothing of it is copied with the layer.
    """

    def __init__(self) -> None:
        self.open: weakref.WeakSet[_Use] = weakref.WeakSet()
        self.rows: list[tuple[Tensor, Tensor]] = []

    def __deepcopy__(self, memo: dict) -> '_Uses':
        return _Uses()

    def __reduce__(self) -> tuple:
        return _Uses, ()


class _JointLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, uses: _Uses) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.uses, ctx.use = uses, _Use()
        if ctx.needs_input_grad[1]:
            uses.open.add(ctx.use)
        return F.linear(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        uses, grad_weight = ctx.uses, None
        if ctx.needs_input_grad[1]:
            uses.rows.append((grad, x))
            uses.open.discard(ctx.use)
            if not uses.open:
                grads, inputs = (torch.cat(part) for part in zip(*uses.rows, strict=True))
                uses.rows.clear()
                grad_weight = grads.t() @ inputs
        return (grad @ weight if ctx.needs_input_grad[0] else None), grad_weight, None
