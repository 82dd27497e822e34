"""Networks, layers, losses and models; importing this registers them with MMagic."""

from .aggan import AGGAN, AGGANAttention, AGGANDiscriminator, AGGANGenerator
from .cartoongan import CartoonGAN, CartoonGANDiscriminator, CartoonGANGenerator
from .cyclegan import CycleGANDiscriminator, CycleGANGenerator, UnpairedCycleGAN
from .layers import CAM, LIN, AdaLIN
from .losses import CAMLoss, VGG19Features
from .ugatit import UGATIT, UGATITDiscriminator, UGATITGenerator

__all__ = [
    'AGGAN',
    'CAM',
    'LIN',
    'UGATIT',
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
    'UGATITDiscriminator',
    'UGATITGenerator',
    'UnpairedCycleGAN',
    'VGG19Features',
]
