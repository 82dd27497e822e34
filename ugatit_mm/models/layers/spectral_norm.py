"""Spectral normalisation as both official programs have it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


class SpectralNorm(nn.Module):
    """Divide a weight by its largest singular value, tracked by power iteration.

    One iteration at each use in training mode, ``v <- W'u, u <- Wv`` and ``sigma = u'Wv`` with the
    new vectors; none in evaluation mode. PyTorch's own parametrisation iterates in the other order
    (u before v) and fifteen times at the start, so its numbers are not the official ones.

    Args:
        weight: The kernel, (C_out, ...), flattened to (C_out, -1).
        eps: Smallest norm that the vectors are divided by.
    """

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
