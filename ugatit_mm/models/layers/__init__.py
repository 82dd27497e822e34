"""Layers that the networks share and that ablations swap."""

from .adalin import LIN, AdaLIN, GroupNorm, InstanceNorm, clip_rho, instance_layer_norm
from .blocks import ConvNorm, ResBlock, run_layers
from .cam import CAM
from .conv import (
    ImageConv2d,
    PatchConv2d,
    SameConv2d,
    SameConvTranspose2d,
    UpConv2d,
    convolve,
    without_bias,
)
from .linear import JointLinear, average, joint_gradients, linears
from .munit_norms import AdaIN, LayerNorm
from .padding import NO_PADDING, Padding, pad, reflection, repad, replication
from .spectral_norm import SpectralNorm, raw_weight, spectral_norm
from .uses import shared, uses_of

__all__ = [
    'CAM',
    'LIN',
    'NO_PADDING',
    'AdaIN',
    'AdaLIN',
    'ConvNorm',
    'GroupNorm',
    'ImageConv2d',
    'InstanceNorm',
    'JointLinear',
    'LayerNorm',
    'Padding',
    'PatchConv2d',
    'ResBlock',
    'SameConv2d',
    'SameConvTranspose2d',
    'SpectralNorm',
    'UpConv2d',
    'average',
    'clip_rho',
    'convolve',
    'instance_layer_norm',
    'joint_gradients',
    'linears',
    'pad',
    'raw_weight',
    'reflection',
    'repad',
    'replication',
    'run_layers',
    'shared',
    'spectral_norm',
    'uses_of',
    'without_bias',
]
