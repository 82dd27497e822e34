"""CartoonGAN: networks and model."""

from .cartoongan import CartoonGAN
from .cartoongan_discriminator import CartoonGANDiscriminator
from .cartoongan_generator import CartoonGANGenerator

__all__ = ['CartoonGAN', 'CartoonGANDiscriminator', 'CartoonGANGenerator']
