"""Weights of the official programs to ours and back."""

from .files import read_checkpoint
from .pytorch import describe, from_official, to_official

__all__ = ['describe', 'from_official', 'read_checkpoint', 'to_official']
