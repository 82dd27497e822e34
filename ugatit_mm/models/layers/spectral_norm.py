"""Spectral normalisation as both official programs have it.

On a GPU the weights of a whole part are normalised at once, by :func:`prepared`; each layer then
takes its own at the next reading. Everywhere else each layer normalises its weight as it is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...kernels.spectral import NORMALISE, NORMALISE_GRAD, Place
from .activation import product_type


class SpectralNorm(nn.Module):
    """Divide a weight by its largest singular value, tracked by power iteration.

    One iteration at each use in training mode, ``v <- W'u, u <- Wv`` and ``sigma = u'Wv`` with the
    new vectors; none in evaluation mode. PyTorch's own parametrisation iterates in the other order
    (u before v) and fifteen times at the start, so its numbers are not the official ones.

    Args:
        weight: The kernel, (C_out, ...), flattened to (C_out, -1).
        eps: Smallest norm that the vectors are divided by.

    Attributes:
        prepared: The weight of the next use, where :func:`prepared` made it already.
    """

    prepared: Tensor | None = None
    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, eps: float = 1e-12) -> None:
        super().__init__()
        matrix = weight.flatten(1)
        self.eps = eps
        self.register_buffer('u', F.normalize(torch.randn(matrix.size(0)), dim=0, eps=eps))
        self.register_buffer('v', F.normalize(torch.randn(matrix.size(1)), dim=0, eps=eps))

    def forward(self, weight: Tensor) -> Tensor:
        """Return ``weight`` / sigma, of the same shape."""
        if self.prepared is not None:
            prepared, self.prepared = self.prepared, None
            return prepared
        # The vectors stay in float32 under autocast: sigma scales every gradient.
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                with torch.no_grad():
                    # New tensors, so that an earlier use in the same graph keeps its own.
                    v = F.normalize(matrix.t() @ self.u, dim=0, eps=self.eps)
                    u = F.normalize(matrix @ v, dim=0, eps=self.eps)
                    self.u.copy_(u)
                    self.v.copy_(v)
            else:
                u, v = self.u.clone(), self.v.clone()
            return Normalise.apply(weight, u, v)


class Normalise(torch.autograd.Function):
    """``W / sigma`` with ``sigma = u'Wv``; the gradient is ``(G - <G, W> / sigma * uv') / sigma``.

    Three passes over a kernel of up to 33M weights, and no copies of it; torch's own gradients of
    the same take eight.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Divide ``weight`` (C_out, ...) by sigma."""
        sigma = torch.dot(u, weight.flatten(1) @ v)
        ctx.save_for_backward(weight, u, v, sigma)
        return weight / sigma

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of ``weight``; ``u`` and ``v`` are constants."""
        weight, u, v, sigma = ctx.saved_tensors
        grad = grad.flatten(1)
        share = torch.dot(grad.flatten(), weight.flatten()) / sigma
        return torch.addr(grad, -share * u, v).div_(sigma).view_as(weight), None, None


class NormaliseAll(torch.autograd.Function):
    """As :class:`Normalise`, power iterations included, for many weights at once."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        places: tuple[Place, ...],
        dtype: torch.dtype,
        move: bool,
        eps: float,
        *weights: Tensor,
    ) -> tuple[Tensor, ...]:
        """Divide each of ``weights`` by its sigma; move ``vectors`` (flat) if asked."""
        out, used, sigma = NORMALISE(vectors, weights, places, dtype, move, eps)
        ctx.places = places
        ctx.save_for_backward(used, sigma, *weights)
        ctx.set_materialize_grads(False)  # a weight that was not used gets no gradient
        return tuple(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of the weights."""
        used, sigma, *weights = ctx.saved_tensors
        out = NORMALISE_GRAD(used, grads, tuple(weights), ctx.places, sigma)
        return (None,) * 5 + tuple(out)


@contextmanager
def prepared(part: nn.Module) -> Iterator[None]:
    """Make the next use of each spectral norm in ``part`` at once, before the block reads them.

    A convolution's weight is of the type that it multiplies in under autocast, and in NHWC; that of
    another layer stays in float32. Does nothing where kernels do not run, or where the weights were
    prepared for a larger part already.

    Args:
        part: A module; the block uses each of its layers once.
    """
    first = (next(part.parameters()),)
    if not (NORMALISE.uses_kernel(first) and NORMALISE_GRAD.uses_kernel(first)):
        yield
        return
    layers = [layer for layer in part.modules() if _is_normalised(layer)]
    norms = [_norm_of(layer) for layer in layers]
    weights = [raw_weight(layer) for layer in layers]
    if not _can_be_prepared(norms, weights):
        yield
        return
    vectors = join_vectors(part)
    places = tuple(
        Place(_offset(norm.u), _offset(norm.v), not isinstance(layer, nn.Conv2d))
        for norm, layer in zip(norms, layers, strict=True)
    )
    dtype = product_type(weights[0])
    made = NormaliseAll.apply(vectors, places, dtype, norms[0].training, norms[0].eps, *weights)
    for norm, weight in zip(norms, made, strict=True):
        norm.prepared = weight
    try:
        yield
    finally:
        for norm in norms:
            norm.prepared = None


def _is_normalised(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer, 'weight'):
        return False
    return isinstance(_norm_of(layer), SpectralNorm)


def _offset(vector: Tensor) -> int:
    return int(vector.storage_offset())


def _norm_of(layer: Any) -> SpectralNorm:
    return layer.parametrizations.weight[0]


def _can_be_prepared(norms: list[SpectralNorm], weights: list[nn.Parameter]) -> bool:
    if not norms or any(norm.prepared is not None for norm in norms):
        return False
    if any(a.training != b.training or a.eps != b.eps for a, b in pairwise(norms)):
        return False
    tensors = [*weights, *(norm.u for norm in norms), *(norm.v for norm in norms)]
    return all(t.dtype == torch.float32 and t.is_contiguous() for t in tensors)


def join_vectors(part: nn.Module) -> Tensor | None:
    """Let u and v of all spectral norms in ``part`` lie in one memory, and return it.

    They stay buffers of their own, with their names and shapes; so one copy of what is returned
    keeps them all, and one copy back restores them.

    Returns:
        A flat tensor of all of them, and of those of a larger part that were joined before;
        ``None`` where there is no spectral norm.
    """
    norms = [module for module in part.modules() if isinstance(module, SpectralNorm)]
    buffers = [vector for norm in norms for vector in (norm.u, norm.v)]
    if not buffers:
        return None
    if len({buffer.untyped_storage().data_ptr() for buffer in buffers}) > 1:
        joined = torch.cat(buffers).split([buffer.numel() for buffer in buffers])
        for buffer, place in zip(buffers, joined, strict=True):
            buffer.data = place  # the same tensor object: others may hold it
    first = buffers[0]
    count = first.untyped_storage().nbytes() // first.element_size()
    return first.as_strided((count,), (1,), 0)


def spectral_norm(layer: nn.Module) -> nn.Module:
    """Give ``layer.weight`` a :class:`SpectralNorm`; each reading of it is one use."""
    parametrize.register_parametrization(
        layer, 'weight', SpectralNorm(layer.get_parameter('weight'))
    )
    return layer


def raw_weight(layer: nn.Module) -> nn.Parameter:
    """Return the kernel of ``layer`` before any spectral normalisation."""
    parametrized = parametrize.is_parametrized(layer, 'weight')
    return layer.get_parameter('parametrizations.weight.original' if parametrized else 'weight')
