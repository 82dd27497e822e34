"""AGGAN: networks and model."""

from .aggan import AGGAN
from .aggan_discriminator import AGGANDiscriminator
from .aggan_generator import AGGANAttention, AGGANGenerator

__all__ = ['AGGAN', 'AGGANAttention', 'AGGANDiscriminator', 'AGGANGenerator']
