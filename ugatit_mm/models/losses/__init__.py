"""Losses of U-GAT-IT."""

from .cam_loss import CAMLoss
from .lsgan_loss import lsgan_loss
from .total import total

__all__ = ['CAMLoss', 'lsgan_loss', 'total']
