"""MUNIT: networks and model."""

from .munit import MUNIT
from .munit_decoder import MUNITDecoder
from .munit_discriminator import MUNITDiscriminator
from .munit_encoder import MUNITEncoder, MUNITStyleEncoder

__all__ = ['MUNIT', 'MUNITDecoder', 'MUNITDiscriminator', 'MUNITEncoder', 'MUNITStyleEncoder']
