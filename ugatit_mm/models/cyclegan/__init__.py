"""CycleGAN: networks and model."""

from .cyclegan import UnpairedCycleGAN
from .cyclegan_discriminator import CycleGANDiscriminator
from .cyclegan_generator import CycleGANGenerator

__all__ = ['CycleGANDiscriminator', 'CycleGANGenerator', 'UnpairedCycleGAN']
