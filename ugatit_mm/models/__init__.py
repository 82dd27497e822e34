"""Networks, layers, losses and models; importing this registers them with MMagic."""

from .aggan import AGGAN, AGGANAttention, AGGANDiscriminator, AGGANGenerator
from .cartoongan import CartoonGAN, CartoonGANDiscriminator, CartoonGANGenerator
from .cyclegan import CycleGANDiscriminator, CycleGANGenerator, UnpairedCycleGAN
from .drit import (
    DRIT,
    DRITAttributeEncoder,
    DRITContentDiscriminator,
    DRITContentEncoder,
    DRITDiscriminator,
    DRITGenerator,
)
from .layers import CAM, LIN, AdaLIN
from .losses import CAMLoss, VGG19Features
from .munit import MUNIT, MUNITDecoder, MUNITDiscriminator, MUNITEncoder, MUNITStyleEncoder
from .ugatit import UGATIT, UGATITDiscriminator, UGATITGenerator
from .unit import UNIT, UNITDecoder

__all__ = [
    'AGGAN',
    'CAM',
    'DRIT',
    'LIN',
    'MUNIT',
    'UGATIT',
    'UNIT',
    'AGGANAttention',
    'AGGANDiscriminator',
    'AGGANGenerator',
    'AdaLIN',
    'CAMLoss',
    'CartoonGAN',
    'CartoonGANDiscriminator',
    'CartoonGANGenerator',
    'CycleGANDiscriminator',
    'CycleGANGenerator',
    'DRITAttributeEncoder',
    'DRITContentDiscriminator',
    'DRITContentEncoder',
    'DRITDiscriminator',
    'DRITGenerator',
    'MUNITDecoder',
    'MUNITDiscriminator',
    'MUNITEncoder',
    'MUNITStyleEncoder',
    'UGATITDiscriminator',
    'UGATITGenerator',
    'UNITDecoder',
    'UnpairedCycleGAN',
    'VGG19Features',
]
