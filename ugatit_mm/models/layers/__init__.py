"""Parts that the networks share and that ablations swap."""

from .adalin import LIN, AdaLIN, GroupNorm, InstanceNorm, clip_rho, instance_layer_norm
from .blocks import ConvNorm, ResBlock, run_layers
from .cam import CAM
from .conv import PatchConv2d, ReflectConv2d, UpConv2d
from .linear import JointLinear, average, joint_gradients, linears
from .spectral_norm import SpectralNorm, raw_weight, spectral_norm

__all__ = [
    'CAM',
    'LIN',
    'AdaLIN',
    'ConvNorm',
    'GroupNorm',
    'InstanceNorm',
    'JointLinear',
    'PatchConv2d',
    'ReflectConv2d',
    'ResBlock',
    'SpectralNorm',
    'UpConv2d',
    'average',
    'clip_rho',
    'instance_layer_norm',
    'joint_gradients',
    'linears',
    'raw_weight',
    'run_layers',
    'spectral_norm',
]
