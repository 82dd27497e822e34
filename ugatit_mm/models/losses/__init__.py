"""Losses: public ones, and all terms of an update as one operation."""

from .cam_loss import CAMLoss, cam_means
from .lsgan_loss import lsgan_loss
from .terms import LossTerms, Mean

__all__ = ['CAMLoss', 'LossTerms', 'Mean', 'cam_means', 'lsgan_loss']
