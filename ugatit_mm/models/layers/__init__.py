"""Parts that the networks share and that ablations swap."""

from .adalin import LIN, AdaLIN, clip_rho, instance_layer_norm
from .cam import CAM
from .spectral_norm import SpectralNorm, raw_weight, spectral_norm

__all__ = [
    'CAM',
    'LIN',
    'AdaLIN',
    'SpectralNorm',
    'clip_rho',
    'instance_layer_norm',
    'raw_weight',
    'spectral_norm',
]
