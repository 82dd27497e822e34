"""AdaLIN and LIN, the normalisations of U-GAT-IT (paper section 2.1.2, eq. 1 and 2)."""

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import Tensor, nn

from ...kernels.norm import Factors, Norm, inverse_std, numbers_of, smoothed
from ...kernels.shuffle import plain_pad
from .fused_norm import InstanceLayerNorm
from .padding import NO_PADDING, Padding


def instance_layer_norm(
    x: Tensor, factors: Factors, norm: Norm, residual: Tensor | None = None
) -> Tensor:
    """Blend instance and layer normalisation, then scale and shift, activate, pad, and add.

    With instance statistics (m_I, v_I) over H, W and layer statistics (m_L, v_L) over C, H, W,
    ``gamma * (rho * (x - m_I) / sqrt(v_I + eps) + (1 - rho) * (x - m_L) / sqrt(v_L + eps)) + beta``
    is one affine map of ``x - m_I`` per channel, and is computed as such. Statistics are computed
    in float32 whatever the dtype of ``x``.

    The bias of the convolution before the norm changes only m_L and v_L. With an instance norm (no
    rho) it has no effect: its gradient is zeros, where the official programs compute rounding
    noise. The optimizer still sees the parameter, as in those programs.

    Args:
        x: Features without that bias, (N, C, H, W).
        factors: Bias, rho, gamma and beta.
        norm: Options, including the activation and the padding.
        residual: Added to the padded result; the same shape.

    Returns:
        Tensor (N, C, H, W), padded, in the dtype of ``x``.
    """
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        return traced_instance_layer_norm(x, factors, norm, residual)
    # A compiler differentiates and fuses the plain formula itself.
    if torch.compiler.is_compiling():
        return plain_instance_layer_norm(x, factors, norm, residual)
    return InstanceLayerNorm.apply(x, *factors, residual, norm)


def plain_instance_layer_norm(
    x: Tensor, factors: Factors, norm: Norm, residual: Tensor | None = None
) -> Tensor:
    """Compute :func:`instance_layer_norm` with torch's own gradients; reference of the tests."""
    bias, rho, gamma, beta = (
        factor if factor is None else factor.reshape(-1, x.size(1), 1, 1) for factor in factors
    )
    features = _wide(x)
    if bias is not None:
        features = features + bias
    rho = torch.ones((), device=x.device) if rho is None else smoothed(rho, norm.smoothing)
    correction = int(norm.unbiased)
    var_i, mean_i = torch.var_mean(features, (2, 3), correction=correction, keepdim=True)
    var_l, mean_l = torch.var_mean(features, (1, 2, 3), correction=correction, keepdim=True)
    weight_i = rho * torch.rsqrt(var_i + norm.eps)
    weight_l = (1 - rho) * inverse_std(var_l, norm)
    scale, shift = weight_i + weight_l, weight_l * (mean_i - mean_l)
    if gamma is not None and beta is not None:
        scale, shift = gamma * scale, gamma * shift + beta
    # x - m_I first: exact for features with a mean far from 0.
    return finish((features - mean_i) * scale + shift, norm, residual).to(x.dtype)


def traced_instance_layer_norm(
    x: Tensor, factors: Factors, norm: Norm, residual: Tensor | None = None
) -> Tensor:
    """Compute :func:`instance_layer_norm` for an exported file, in plain operators.

    The layer statistics are computed from the channel statistics, so that no sum runs over millions
    of elements: a runtime that adds them sequentially in float32 is off by 1e-5 and more.
    """
    features = _wide(x)
    mean = features.mean((2, 3))
    centred = features - mean[:, :, None, None]
    count = x.size(2) * x.size(3)  # stays dynamic in the file
    factors = Factors(*(factor if factor is None else _wide(factor) for factor in factors))
    numbers = numbers_of(mean, centred.square().mean((2, 3)), count, factors, norm)
    y = centred * numbers.scale[:, :, None, None] + numbers.shift[:, :, None, None]
    return finish(y, norm, residual).to(x.dtype)


def finish(y: Tensor, norm: Norm, residual: Tensor | None) -> Tensor:
    """Apply what follows a norm, in plain operators: activation, padding, residual."""
    if norm.slope != 1:
        y = y.relu() if norm.slope == 0 else F.leaky_relu(y, norm.slope)
    y = plain_pad(y, norm.padding)
    return y if residual is None else y + residual


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _Rho(nn.Module):
    """Holds rho, (1, C, 1, 1), the share of instance norm in each channel."""

    def __init__(
        self, num_features: int, eps: float, rho_init: float, unbiased: bool, learn_rho: bool
    ) -> None:
        super().__init__()
        if not 0 <= rho_init <= 1:
            raise ValueError(f'rho_init must lie in [0, 1], got {rho_init}')
        self.num_features = num_features
        self.eps = eps
        self.unbiased = unbiased
        self.rho_init = rho_init
        rho = torch.full((1, num_features, 1, 1), float(rho_init))
        if learn_rho:
            self.rho = nn.Parameter(rho)
        else:
            self.register_buffer('rho', rho, persistent=False)


@MODELS.register_module()
class AdaLIN(_Rho):
    """Adaptive layer-instance normalisation: gamma and beta come from outside (eq. 1).

    The TensorFlow program starts rho at 1 and uses ``clip(rho - 0.1, 0, 1)`` ("smoothing"), with
    population variance; the PyTorch program (``adaILN``) starts at 0.9, without smoothing, with
    the unbiased variance.

    Args:
        num_features: Channels C.
        eps: Added to the variances.
        rho_init: Initial value of rho, in [0, 1].
        rho_smoothing: Subtracted from rho before use, the result clipped to [0, 1].
        unbiased: Variance over n - 1 instead of n.
        learn_rho: ``False`` keeps rho at ``rho_init`` (with ``rho_init=1``: AdaIN).
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        rho_init: float = 1.0,
        rho_smoothing: float = 0.1,
        unbiased: bool = False,
        learn_rho: bool = True,
    ) -> None:
        super().__init__(num_features, eps, rho_init, unbiased, learn_rho)
        self.rho_smoothing = rho_smoothing

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
        """Normalise ``x`` with ``gamma`` and ``beta`` (N, C); the rest as :class:`LIN`."""
        factors = Factors(bias, self.rho.flatten(1), gamma, beta)
        norm = Norm(self.eps, self.unbiased, self.rho_smoothing, slope, pad)
        return instance_layer_norm(x, factors, norm, residual)

    def used_rho(self) -> Tensor:
        """Return rho as used in the formula, smoothed and clipped, (1, C, 1, 1)."""
        return smoothed(self.rho, self.rho_smoothing)


@MODELS.register_module()
class LIN(_Rho):
    """Layer-instance normalisation with learned gamma and beta, used while up-sampling.

    Args:
        num_features: Channels C.
        eps: Added to the variances.
        rho_init: Initial value of rho, in [0, 1]; both official programs start at 0 (layer norm).
        unbiased: Variance over n - 1 instead of n.
        learn_rho: ``False`` keeps rho at ``rho_init``.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        rho_init: float = 0.0,
        unbiased: bool = False,
        learn_rho: bool = True,
    ) -> None:
        super().__init__(num_features, eps, rho_init, unbiased, learn_rho)
        self.gamma = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, num_features, 1, 1))

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        slope: float = 1.0,
        pad: Padding = NO_PADDING,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Normalise ``x`` (N, C, H, W); all norms take these arguments.

        Args:
            x: Features, without their convolution's bias.
            bias: That bias, (C,).
            slope: Slope of the activation below 0: 1 is no activation, 0 is ReLU.
            pad: Padding of the result.
            residual: Added to the padded result.
        """
        rho, gamma, beta = (factor.flatten(1) for factor in (self.rho, self.gamma, self.beta))
        factors = Factors(bias, rho, gamma, beta)
        norm = Norm(self.eps, self.unbiased, 0.0, slope, pad)
        return instance_layer_norm(x, factors, norm, residual)


class InstanceNorm(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` as instance-layer norm with rho = 1.

    Args:
        num_features: Channels C.
        affine: Learn scale and shift.
    """

    def __init__(self, num_features: int, affine: bool = False) -> None:
        super().__init__(num_features, affine=affine)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        slope: float = 1.0,
        pad: Padding = NO_PADDING,
        residual: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`LIN.forward`."""
        style = (self.weight[None], self.bias[None]) if self.affine else (None, None)
        norm = Norm(self.eps, slope=slope, padding=pad)
        return instance_layer_norm(x, Factors(bias, None, *style), norm, residual)


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` in torch's operators, for an ablation."""

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        slope: float = 1.0,
        pad: Padding = NO_PADDING,
        residual: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`LIN.forward`."""
        x = super().forward(x if bias is None else x + bias[:, None, None])
        return finish(x, Norm(slope=slope, padding=pad), residual)


@torch.no_grad()
def clip_rho(module: nn.Module) -> None:
    """Clip rho of every :class:`AdaLIN` and :class:`LIN` in ``module`` to [0, 1], in place.

    A frozen rho does not change.
    """
    rhos: list[Tensor] = [layer.rho for layer in module.modules() if isinstance(layer, _Rho)]
    rhos = [rho for rho in rhos if rho.requires_grad]
    if rhos:
        torch._foreach_clamp_min_(rhos, 0.0)
        torch._foreach_clamp_max_(rhos, 1.0)
