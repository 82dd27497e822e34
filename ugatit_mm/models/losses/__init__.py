"""Losses: the public ones, and all terms of an update as one operation."""

from .cam_loss import CAMLoss, cam_means
from .lsgan_loss import lsgan_loss
from .terms import LossTerms, Mean
from .vgg import VGG19Features

__all__ = ['CAMLoss', 'LossTerms', 'Mean', 'VGG19Features', 'cam_means', 'lsgan_loss']
