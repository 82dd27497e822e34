"""Weights of the official programs to ours and back."""

from .pytorch import describe, from_official, to_official

__all__ = ['describe', 'from_official', 'to_official']
