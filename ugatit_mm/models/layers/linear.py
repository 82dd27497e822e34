"""Linear layers of few rows; one whose uses in a step share one gradient of the weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...kernels import linear as kernels


class JointLinear(nn.Linear):
    """``nn.Linear`` that, under :func:`joint_gradients`, makes its weight's gradient once.

    Of few rows and a huge weight (the full variant: 268M numbers, three rows in a step) nearly all
    time and memory of the backward pass is the weight's gradient, which autograd makes for each
    use and adds up. The gradient of all uses is one product of their rows, ``sum g'x = G'X``:
    each use hands its rows in, and the last one computes it.
    """

    _uses: '_Uses | None' = None

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Map (N, in_features) of any type to (N, out_features), with ``relu`` through ReLU."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        uses = self._uses if learns and not traced else None
        if uses is None and not kernels.few_rows(x, self.weight):
            out = super().forward(x.to(self.weight.dtype))
            return out.relu() if relu else out
        return _JointLinear.apply(x, self.weight, self.bias, relu, uses or _Uses())


def linears(x: Tensor, *layers: nn.Linear, relu: bool = False) -> tuple[Tensor, ...]:
    """Apply each of one or two layers to the same rows; one launch for few rows on a GPU.

    Args:
        x: (N, in_features).
        layers: What to apply.
        relu: Apply ReLU to the results.

    Returns:
        (N, out_features) of each layer.
    """
    if not kernels.few_rows(x, layers[0].weight):
        outs = [layer(x) for layer in layers]
        return tuple(out.relu() for out in outs) if relu else tuple(outs)
    return _Linears.apply(x, relu, *(p for layer in layers for p in (layer.weight, layer.bias)))


def average(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Average (N, C, H, W) over H and W in another type, (N, C)."""
    if dtype == torch.float32 and kernels.usable(x):
        return _Average.apply(x)
    return x.to(dtype).mean((2, 3))


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
