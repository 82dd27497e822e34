"""Linear layers for few rows; one computes a single weight gradient for all uses in a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...kernels import linear as kernels


class JointLinear(nn.Linear):
    """``nn.Linear`` that, under :func:`joint_gradients`, computes its weight's gradient once.

    With few rows and a huge weight (the full variant: 268M elements, three rows in a step) the
    weight's gradient, which autograd computes for each use and adds up, takes nearly all time and
    memory of the backward pass. The gradient of all uses is one product of their rows, ``sum g'x =
    G'X``: each use stores its rows, and the last one computes it.
    """

    _uses: '_Uses | None' = None

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Map (N, in_features) of any dtype to (N, out_features); ``relu`` applies ReLU."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        uses = self._uses if learns and not traced else None
        if uses is None and not kernels.few_rows(x, self.weight):
            out = super().forward(x.to(self.weight.dtype))
            return out.relu() if relu else out
        return _JointLinear.apply(x, self.weight, self.bias, relu, uses or _Uses())


def linears(x: Tensor, *layers: nn.Linear, relu: bool = False) -> tuple[Tensor, ...]:
    """Apply one or two layers to the same rows; a single kernel launch for few rows on a GPU.

    Args:
        x: (N, in_features).
        layers: Layers to apply.
        relu: Apply ReLU to the results.

    Returns:
        (N, out_features) of each layer.
    """
    if not kernels.few_rows(x, layers[0].weight):
        outs = [layer(x) for layer in layers]
        return tuple(out.relu() for out in outs) if relu else tuple(outs)
    return _Linears.apply(x, relu, *(p for layer in layers for p in (layer.weight, layer.bias)))


def average(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Average (N, C, H, W) over H and W in another dtype, (N, C)."""
    if dtype == torch.float32 and kernels.usable(x):
        return _Average.apply(x)
    return x.to(dtype).mean((2, 3))


@contextmanager
def joint_gradients(module: nn.Module) -> Iterator[None]:
    """Each :class:`JointLinear` in ``module`` computes one gradient for all uses in the block.

    The block contains the uses and one backward pass over all of them.

    Raises:
        RuntimeError: A backward pass covers only some of them.
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
    """Number of uses without a backward pass so far, and the rows of the other uses."""

    def __init__(self) -> None:
        self.open = 0
        self.rows: list[tuple[Tensor, Tensor]] = []

    def check(self) -> None:
        """Check at the end of a backward pass that no use waits for another."""
        if self.rows:
            raise RuntimeError(
                f'{self.open} use(s) of a generator in this step are not part of the loss, and the '
                'gradient of its MLP waits for them: make them under torch.no_grad(), or call the '
                'generator outside of joint_gradients()'
            )


class _JointLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool, uses: _Uses
    ) -> Tensor:
        (out,) = kernels.outputs(x, ((weight, bias),), relu)
        ctx.save_for_backward(x, weight, out)
        ctx.relu, ctx.uses = relu, uses
        uses.open += 1
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        uses, grad_weight = ctx.uses, None
        grad_x, grad, grad_bias = kernels.input_gradient(
            grad, out, weight, x.dtype, ctx.relu, ctx.needs_input_grad[0]
        )
        if not uses.rows:
            torch.autograd.Variable._execution_engine.queue_callback(uses.check)
        uses.rows.append((grad, x))
        uses.open -= 1
        if uses.open == 0:
            rows = [part for use in uses.rows for part in use]
            uses.rows.clear()
            if ctx.needs_input_grad[1]:
                grad_weight = kernels.weight_gradient(*rows)
        return grad_x, grad_weight, grad_bias if ctx.needs_input_grad[2] else None, None, None


class _Linears(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, relu: bool, *parameters: Tensor | None) -> tuple[Tensor, ...]:
        layers = tuple(zip(parameters[::2], parameters[1::2], strict=True))
        outs = kernels.outputs(x, layers, relu)
        ctx.save_for_backward(x, *parameters, *outs)
        ctx.relu, ctx.count = relu, len(layers)
        return tuple(outs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        parameters, outs = saved[: 2 * ctx.count], saved[2 * ctx.count :]
        layers = tuple(zip(parameters[::2], parameters[1::2], strict=True))
        grad_x, made = kernels.gradients(x, layers, outs, list(grads), ctx.relu)
        return grad_x, None, *(part for layer in made for part in layer)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        return kernels.average(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        share = torch.empty_like(grad, dtype=ctx.dtype)
        torch.mul(grad, 1 / ctx.shape[2:].numel(), out=share)
        return share[:, :, None, None].expand(ctx.shape)
