"""What the tools call, and the door to MMagic's inferencer."""

from .arguments import add_run_arguments, config_of
from .mmagic_inferencer import add_to_mmagic_inferencer
from .running import run_test, run_training

__all__ = ['add_run_arguments', 'add_to_mmagic_inferencer', 'config_of', 'run_test', 'run_training']
