"""AdaLIN and LIN, the normalisations of U-GAT-IT (paper section 2.1.2, eq. 1 and 2)."""

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from .fused_norm import InstanceLayerNorm, layer_stats, scale_and_shift


def instance_layer_norm(
    x: Tensor,
    rho: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    unbiased: bool,
    relu: bool = False,
) -> Tensor:
    """Blend instance and layer normalisation, then scale and shift.

    With instance statistics (m_I, v_I) over H, W and layer statistics (m_L, v_L) over C, H, W,
    ``gamma * (rho * (x - m_I) / sqrt(v_I + eps) + (1 - rho) * (x - m_L) / sqrt(v_L + eps)) + beta``
    is one affine map of ``x - m_I`` per channel, which is how it is computed. Statistics are taken
    in float32 whatever the type of ``x``.

    Args:
        x: Features, (N, C, H, W).
        rho: Share of instance norm in [0, 1], (1, C).
        gamma: Scale, (N or 1, C).
        beta: Shift, (N or 1, C).
        eps: Added to both variances.
        unbiased: Divide the variances by n - 1 (PyTorch program) instead of n (TensorFlow).
        relu: Follow with a ReLU.

    Returns:
        Tensor (N, C, H, W) of the type of ``x``.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    factors = (rho.to(wide), gamma.to(wide), beta.to(wide))
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        return traced_instance_layer_norm(x, *factors, eps, unbiased, relu)
    # A compiler takes the formula apart by itself.
    if torch.compiler.is_compiling():
        return plain_instance_layer_norm(x, *factors, eps, unbiased, relu)
    return InstanceLayerNorm.apply(x, *factors, eps, unbiased, relu)


def plain_instance_layer_norm(
    x: Tensor,
    rho: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    unbiased: bool,
    relu: bool = False,
) -> Tensor:
    """Compute :func:`instance_layer_norm` with torch's own gradients, the tests' reference."""
    rho, gamma, beta = (factor[:, :, None, None] for factor in (rho, gamma, beta))
    features = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var_i, mean_i = torch.var_mean(features, (2, 3), correction=int(unbiased), keepdim=True)
    var_l, mean_l = torch.var_mean(features, (1, 2, 3), correction=int(unbiased), keepdim=True)
    weight_i = rho * torch.rsqrt(var_i + eps)
    weight_l = (1 - rho) * torch.rsqrt(var_l + eps)
    scale = gamma * (weight_i + weight_l)
    shift = gamma * weight_l * (mean_i - mean_l) + beta
    # x - m_I first: exact for features with a mean far from 0.
    y = (features - mean_i) * scale + shift
    return (y.relu() if relu else y).to(x.dtype)


def traced_instance_layer_norm(
    x: Tensor,
    rho: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    unbiased: bool,
    relu: bool = False,
) -> Tensor:
    """Compute :func:`instance_layer_norm` for an exported file, in plain operators.

    The layer's statistics follow from the channels', so that no sum runs over millions of numbers:
    a runtime that adds them up one by one in float32 is off by 1e-5 and more.
    """
    features = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = features.mean((2, 3))
    centred = features - mean[:, :, None, None]
    count = x.size(2) * x.size(3)  # stays a variable of the file
    stats = layer_stats(mean, centred.square().mean((2, 3)), count, eps, unbiased)
    scale, shift = scale_and_shift(stats, rho, gamma, beta)
    y = centred * scale[:, :, None, None] + shift[:, :, None, None]
    return (y.relu() if relu else y).to(x.dtype)


class _Rho(nn.Module):
    """Holds rho, (1, C, 1, 1), the share of instance norm of each channel."""

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

    @torch.no_grad()
    def clip_rho(self) -> None:
        """Put rho back into [0, 1] (paper, under eq. 1)."""
        self.rho.clamp_(0, 1)


@MODELS.register_module()
class AdaLIN(_Rho):
    """Adaptive layer-instance normalisation: gamma and beta come from outside (eq. 1).

    The TensorFlow program starts rho at 1 and uses ``clip(rho - 0.1, 0, 1)`` ("smoothing"), with
    population variance; the PyTorch program (``adaILN``) starts at 0.9, without smoothing, with
    the unbiased variance.

    Args:
        num_features: Channels C.
        eps: Added to the variances.
        rho_init: Start of rho, in [0, 1].
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

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor, relu: bool = False) -> Tensor:
        """Normalise ``x`` (N, C, H, W) with ``gamma`` and ``beta`` (N, C), then ReLU if asked."""
        rho = self.used_rho().flatten(1)
        return instance_layer_norm(x, rho, gamma, beta, self.eps, self.unbiased, relu)

    def used_rho(self) -> Tensor:
        """Return rho as the formula takes it, smoothed and clipped, (1, C, 1, 1)."""
        return (self.rho - self.rho_smoothing).clamp(0, 1) if self.rho_smoothing else self.rho


@MODELS.register_module()
class LIN(_Rho):
    """Layer-instance normalisation with learned gamma and beta, used while up-sampling.

    Args:
        num_features: Channels C.
        eps: Added to the variances.
        rho_init: Start of rho, in [0, 1]; both official programs start at 0 (layer norm).
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

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Normalise ``x`` (N, C, H, W), then ReLU if asked."""
        rho, gamma, beta = (factor.flatten(1) for factor in (self.rho, self.gamma, self.beta))
        return instance_layer_norm(x, rho, gamma, beta, self.eps, self.unbiased, relu)


class InstanceNorm(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d`` that can follow with a ReLU; instance-layer norm with rho = 1.

    Args:
        num_features: Channels C.
        affine: Learned scale and shift.
    """

    one: Tensor
    zero: Tensor

    def __init__(self, num_features: int, affine: bool = False) -> None:
        super().__init__(num_features, affine=affine)
        self.register_buffer('one', torch.ones(1, num_features), persistent=False)
        self.register_buffer('zero', torch.zeros(1, num_features), persistent=False)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Normalise ``x`` (N, C, H, W), then ReLU if asked."""
        gamma, beta = (self.weight[None], self.bias[None]) if self.affine else (self.one, self.zero)
        return instance_layer_norm(x, self.one, gamma, beta, self.eps, False, relu)


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` that can follow with a ReLU."""

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        """Normalise ``x`` (N, C, H, W), then ReLU if asked."""
        x = super().forward(x)
        return x.relu_() if relu else x


def clip_rho(module: nn.Module) -> None:
    """Put rho of every :class:`AdaLIN` and :class:`LIN` inside ``module`` back into [0, 1]."""
    for layer in module.modules():
        if isinstance(layer, _Rho):
            layer.clip_rho()
