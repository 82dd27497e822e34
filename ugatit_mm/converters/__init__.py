"""Weights of the official programs to ours and back."""

from .files import CheckpointError, read_checkpoint
from .pytorch import describe, from_official, to_official

__all__ = ['CheckpointError', 'describe', 'from_official', 'read_checkpoint', 'to_official']
