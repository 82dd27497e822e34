"""Spectral normalisation as in both official programs.

On a GPU :func:`prepared` normalises the weights of a whole part at once; each layer then gets its
weight at the next read. Elsewhere each layer normalises its weight when it is read.
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
    """Divides a weight by its largest singular value, tracked by power iteration.

    Each use in training mode runs one iteration, ``v <- W'u, u <- Wv`` and ``sigma = u'Wv`` with
    the new vectors; evaluation mode runs none. PyTorch's own parametrisation iterates in the other
    order (u before v) and fifteen times at the start, so its values differ from the official ones.

    Args:
        weight: The kernel, (C_out, ...), flattened to (C_out, -1).
        eps: Lower bound of the norms that the vectors are divided by.

    Attributes:
        prepared: The weight of the next use, if :func:`prepared` has computed it.
    """

    prepared: Tensor | None = None
    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, eps: float = 1e-12) -> None:
        super().__init__()
        matrix = weight.flatten(1)
        self.eps = eps
        for name, vector in zip('uv', map(torch.randn, matrix.shape), strict=True):
            # not on the meta device, where each operation runs in Python
            unit = vector if vector.is_meta else F.normalize(vector, dim=0, eps=eps)
            self.register_buffer(name, unit)

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
                    # New tensors, so that an earlier use in the same graph keeps its vectors.
                    v = F.normalize(matrix.t() @ self.u, dim=0, eps=self.eps)
                    u = F.normalize(matrix @ v, dim=0, eps=self.eps)
                    self.u.copy_(u)
                    self.v.copy_(v)
            else:
                u, v = self.u.clone(), self.v.clone()
            return Normalise.apply(weight, u, v)


class Normalise(torch.autograd.Function):
    """``W / sigma`` with ``sigma = u'Wv``; the gradient is ``(G - <G, W> / sigma * uv') / sigma``.

    Three passes over a kernel of up to 33M weights, without copies; torch's own gradients take
    eight.
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
        """Compute the gradient of ``weight``; ``u`` and ``v`` are constants."""
        weight, u, v, sigma = ctx.saved_tensors
        grad = grad.flatten(1)
        share = torch.dot(grad.flatten(), weight.flatten()) / sigma
        return torch.addr(grad, -share * u, v).div_(sigma).view_as(weight), None, None


class NormaliseAll(torch.autograd.Function):
    """As :class:`Normalise`, including power iterations, for many weights at once."""

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
        """Divide each of ``weights`` by its sigma; update ``vectors`` (flat) if requested."""
        out, used, sigma = NORMALISE(vectors, weights, places, dtype, move, eps)
        ctx.places = places
        ctx.save_for_backward(used, sigma, *weights)
        ctx.set_materialize_grads(False)  # an unused weight gets no gradient
        return tuple(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the weights."""
        used, sigma, *weights = ctx.saved_tensors
        out = NORMALISE_GRAD(used, grads, tuple(weights), ctx.places, sigma)
        return (None,) * 5 + tuple(out)


@contextmanager
def prepared(part: nn.Module) -> Iterator[None]:
    """Compute the next normalised weights of all spectral norms in ``part`` at once.

    Under autocast a convolution's weight has the dtype in which it multiplies, and is in NHWC;
    other layers' weights stay in float32. A no-op where kernels do not run, or if the weights were
    already prepared for a larger part.

    Args:
        part: A module; the block reads each of its layers' weights once.
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
    """Move u and v of all spectral norms in ``part`` into one flat tensor, and return it.

    They stay separate buffers with their names and shapes, as views; so one copy of the result
    saves them all, and one copy back restores them.

    Returns:
        A flat tensor of all of them, including those of a larger part that were joined before;
        ``None`` if there is no spectral norm.
    """
    norms = [module for module in part.modules() if isinstance(module, SpectralNorm)]
    buffers = [vector for norm in norms for vector in (norm.u, norm.v)]
    if not buffers:
        return None
    if len({buffer.untyped_storage().data_ptr() for buffer in buffers}) > 1:
        joined = torch.cat(buffers).split([buffer.numel() for buffer in buffers])
        for buffer, place in zip(buffers, joined, strict=True):
            buffer.data = place  # the same tensor object: others may refer to it
    first = buffers[0]
    count = first.untyped_storage().nbytes() // first.element_size()
    return first.as_strided((count,), (1,), 0)


def spectral_norm(layer: nn.Module) -> nn.Module:
    """Register a :class:`SpectralNorm` on ``layer.weight``; each read of it is one use."""
    weight = layer.get_parameter('weight')
    # unsafe: without a trial, which the meta device cannot run
    parametrize.register_parametrization(
        layer, 'weight', SpectralNorm(weight), unsafe=weight.is_meta
    )
    return layer


def raw_weight(layer: nn.Module) -> nn.Parameter:
    """Return the kernel of ``layer`` before any spectral normalisation."""
    parametrized = parametrize.is_parametrized(layer, 'weight')
    return layer.get_parameter('parametrizations.weight.original' if parametrized else 'weight')
