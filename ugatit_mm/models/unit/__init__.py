"""UNIT: decoder and model; its encoder and discriminator are MUNIT's."""

from .unit import UNIT
from .unit_decoder import UNITDecoder

__all__ = ['UNIT', 'UNITDecoder']
