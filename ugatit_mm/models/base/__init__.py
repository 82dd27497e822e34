"""What every translation model shares."""

from .wrappers import unwrap

__all__ = ['unwrap']
