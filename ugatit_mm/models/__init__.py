"""Networks, layers, losses and models; importing this registers them with MMagic."""

from .cartoongan import CartoonGAN, CartoonGANDiscriminator, CartoonGANGenerator
from .cyclegan import CycleGANDiscriminator, CycleGANGenerator, UnpairedCycleGAN
from .layers import CAM, LIN, AdaLIN
from .losses import CAMLoss, VGG19Features
from .ugatit import UGATIT, UGATITDiscriminator, UGATITGenerator

__all__ = [
    'CAM',
    'LIN',
    'UGATIT',
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
