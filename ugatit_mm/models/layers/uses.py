"""Casts weights and adds gradients once for a network that a step uses several times.

Under autocast each convolution casts its kernel, and autograd adds up the gradients of each weight
for each further use: a kernel launch or more for each of a generator's hundred weights. Here each
use gets its own weights from one function, whose backward pass adds up all gradients at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.func import functional_call

from .activation import product_type
from .cam import FoldedConv2d
from .conv import UpConv2d
from .linear import JointLinear


def uses_of(network: nn.Module, count: int) -> list[Callable[..., Any]]:
    """Return ``count`` callables of a network, each to be called once.

    Args:
        network: Called under the autocast state of this call; all uses run in one graph.
        count: Number of uses.
    """
    weights: dict[str, Tensor] = {
        name: weight
        for name, weight in network.named_parameters()
        if weight.requires_grad and torch.is_grad_enabled()
    }
    # JointLinear adds up its weight's gradients itself.
    for name, layer in network.named_modules():
        if isinstance(layer, JointLinear):
            weights.pop(f'{name}.weight', None)
    # Ranks send gradients during the backward pass: these must arrive one by one.
    if not weights or get_world_size() > 1 or torch.compiler.is_compiling():
        return [network] * count
    given = Uses.apply(count, _types(network, weights), *weights.values())
    size = len(weights)

    def one(index: int) -> Callable[..., Any]:
        own = dict(zip(weights, given[index * size : (index + 1) * size], strict=True))
        return lambda *args, **options: functional_call(network, own, args, options)

    return [one(index) for index in range(count)]


def _types(network: nn.Module, weights: dict[str, Tensor]) -> list[torch.dtype]:
    """Return the dtype in which each weight is used."""
    kernels = {
        f'{name}.weight'
        for name, layer in network.named_modules()
        # Other layers first compute sums and products of their kernels, in float32.
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
        and not isinstance(layer, (FoldedConv2d, UpConv2d))
    }
    return [product_type(w) if name in kernels else w.dtype for name, w in weights.items()]


def shared(tensors: Sequence[Tensor], count: int) -> list[tuple[Tensor, ...]]:
    """Return small tensors of one shape ``count`` times, their gradients added up at once.

    Args:
        tensors: Of one shape and dtype.
        count: Number of uses, each with all tensors.
    """
    if not tensors or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return [tuple(tensors)] * count
    given = Shared.apply(count, *tensors)
    size = len(tensors)
    return [given[index * size : (index + 1) * size] for index in range(count)]


class Shared(torch.autograd.Function):
    """See :func:`shared`."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of each use, one use after the other."""
        ctx.count = count
        return tuple(tensor.detach() for _ in range(count) for tensor in tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Add up the gradients of all uses."""
        return None, *torch.stack(grads).unflatten(0, (ctx.count, -1)).sum(0).unbind()


class Uses(torch.autograd.Function):
    """Distributes weights and collects their gradients; see :func:`uses_of`."""

    @staticmethod
    def forward(
        ctx: Any, count: int, types: list[torch.dtype], *weights: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the weights of each use, one use after the other."""
        ctx.set_materialize_grads(False)
        ctx.count, ctx.likes = count, [torch.empty_like(w, device='meta') for w in weights]
        ctx.device = weights[0].device
        cast = [i for i, dtype in enumerate(types) if dtype != weights[i].dtype]
        made = list(weights)
        for i in cast:
            made[i] = torch.empty_like(weights[i], dtype=types[i])
        if cast:
            torch._foreach_copy_([made[i] for i in cast], [weights[i] for i in cast])
        return tuple(weight.detach() for _ in range(count) for weight in made)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Add up the gradients of all uses, in the weights' dtypes."""
        size = len(ctx.likes)
        total: dict[int, Tensor] = {}
        for use in range(ctx.count):
            of_use = enumerate(grads[use * size : (use + 1) * size])
            given = {i: gradient for i, gradient in of_use if gradient is not None}
            narrow = [i for i, gradient in given.items() if gradient.dtype != ctx.likes[i].dtype]
            if narrow:
                wide = [torch.empty_like(ctx.likes[i], device=ctx.device) for i in narrow]
                torch._foreach_copy_(wide, [given[i] for i in narrow])
                given |= dict(zip(narrow, wide, strict=True))
            both = [i for i in given if i in total]
            if both:
                sums = torch._foreach_add([total[i] for i in both], [given[i] for i in both])
                given |= dict(zip(both, sums, strict=True))
            total |= given
        return None, None, *(total.get(i) for i in range(size))
