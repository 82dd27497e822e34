"""Norms of MUNIT's decoder, which UNIT's up-sampling shares."""

import torch
from torch import Tensor, nn

from ...kernels.norm import Factors, Norm
from .adalin import instance_layer_norm
from .padding import NO_PADDING, Padding

EPS = 1e-5


class AdaIN(nn.Module):
    """Adaptive instance norm: the caller gives scale and shift of each sample.

    The scale is used as given, without "1 +"; the variance is the population's.

    Args:
        num_features: Channels C; the caller sums them to size the MLP's output.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(
        self,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        bias: Tensor | None = None,
        slope: float = 1.0,
        pad: Padding = NO_PADDING,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Normalise ``x`` with ``gamma`` and ``beta`` (N, C); the rest as :meth:`LIN.forward`."""
        norm = Norm(EPS, slope=slope, padding=pad)
        return instance_layer_norm(x, Factors(bias, None, gamma, beta), norm, residual)


class LayerNorm(nn.Module):
    """The official MUNIT program's layer norm, which differs from torch's and from a group norm.

    Mean and standard deviation of a sample run over C, H and W; the deviation is unbiased (N - 1),
    and eps is added to it, not to the variance. The scale of each channel starts uniform in [0, 1],
    the shift at 0.

    Args:
        num_features: Channels C.
    """

    rho: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(num_features))
        self.beta = nn.Parameter(torch.empty(num_features))
        self.register_buffer('rho', torch.zeros(1, num_features), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the scale from U(0, 1)."""
        nn.init.uniform_(self.gamma)
        nn.init.zeros_(self.beta)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        slope: float = 1.0,
        pad: Padding = NO_PADDING,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Normalise ``x`` (N, C, H, W); as :meth:`LIN.forward`."""
        factors = Factors(bias, self.rho, self.gamma[None], self.beta[None])
        norm = Norm(EPS, unbiased=True, slope=slope, padding=pad, eps_on_std=True)
        return instance_layer_norm(x, factors, norm, residual)
