"""A linear layer whose uses in a step share one gradient of the weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class JointLinear(nn.Linear):
    """``nn.Linear`` that, under :func:`joint_gradients`, makes its weight's gradient once.

    Of few rows and a huge weight (the full variant: 268M numbers, three rows in a step) nearly all
    time and memory of the backward pass is the weight's gradient, which autograd makes for each
    use and adds up. The gradient of all uses is one product of their rows, ``sum g'x = G'X``:
    each use hands its rows in, and the last one computes it.
    """

    _uses: '_Uses | None' = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or self._uses is None:
            return super().forward(x)
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(x)
        out = _JointLinear.apply(x, self.weight, self._uses)
        return out if self.bias is None else out + self.bias


@contextmanager
def joint_gradients(module: nn.Module) -> Iterator[None]:
    """Let each :class:`JointLinear` in ``module`` make one gradient for all its uses in the block.

    The block makes them and runs one backward pass over them all.

    Raises:
        RuntimeError: In a backward pass over some of them alone.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, JointLinear)]
    for layer in layers:
        layer._uses = _Uses()
    try:
        yield
    finally:
        for layer in layers:
            del layer._uses


class _Uses:
    """Number of the uses without a backward pass yet, and the rows of those that had one."""

    def __init__(self) -> None:
        self.open = 0
        self.rows: list[tuple[Tensor, Tensor]] = []

    def check(self) -> None:
        """At the end of a backward pass: no use may wait for another."""
        if self.rows:
            raise RuntimeError(
                f'{self.open} use(s) of a generator in this step are not part of the loss, and the '
                'gradient of its MLP waits for them: make them under torch.no_grad(), or call the '
                'generator outside of joint_gradients()'
            )


class _JointLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, uses: _Uses) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.uses = uses
        uses.open += 1
        return F.linear(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        uses, grad_weight = ctx.uses, None
        if not uses.rows:
            torch.autograd.Variable._execution_engine.queue_callback(uses.check)
        uses.rows.append((grad, x))
        uses.open -= 1
        if uses.open == 0:
            grads, inputs = (torch.cat(part) for part in zip(*uses.rows, strict=True))
            uses.rows.clear()
            grad_weight = grads.t() @ inputs
        return (grad @ weight if ctx.needs_input_grad[0] else None), grad_weight, None
