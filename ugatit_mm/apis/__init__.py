"""What the tools call, and the door to MMagic's inferencer."""

from .mmagic_inferencer import add_to_mmagic_inferencer
from .running import run_test, run_training

__all__ = ['add_to_mmagic_inferencer', 'run_test', 'run_training']
