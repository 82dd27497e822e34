"""Parts that the networks share and that ablations swap."""

from .adalin import LIN, AdaLIN, GroupNorm, InstanceNorm, clip_rho, instance_layer_norm
from .blocks import ConvNorm, ResBlock, run_layers
from .cam import CAM
from .conv import PatchConv2d, UpConv2d, without_bias
from .linear import JointLinear, joint_gradients
from .padding import NO_PADDING, Padding, pad, reflection, replication
from .spectral_norm import SpectralNorm, raw_weight, spectral_norm
from .uses import uses_of

__all__ = [
    'CAM',
    'LIN',
    'NO_PADDING',
    'AdaLIN',
    'ConvNorm',
    'GroupNorm',
    'InstanceNorm',
    'JointLinear',
    'Padding',
    'PatchConv2d',
    'ResBlock',
    'SpectralNorm',
    'UpConv2d',
    'clip_rho',
    'instance_layer_norm',
    'joint_gradients',
    'pad',
    'raw_weight',
    'reflection',
    'replication',
    'run_layers',
    'spectral_norm',
    'uses_of',
    'without_bias',
]
