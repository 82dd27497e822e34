"""DRIT: networks and model."""

from .drit import DRIT
from .drit_discriminator import DRITContentDiscriminator, DRITDiscriminator
from .drit_encoder import DRITAttributeEncoder, DRITContentEncoder
from .drit_generator import DRITGenerator

__all__ = [
    'DRIT',
    'DRITAttributeEncoder',
    'DRITContentDiscriminator',
    'DRITContentEncoder',
    'DRITDiscriminator',
    'DRITGenerator',
]
