"""What the tools call, and the door to MMagic's inferencer."""

from .arguments import add_kid, add_run_arguments, config_of
from .mmagic_inferencer import add_to_mmagic_inferencer
from .running import results_path, run_test, run_training

__all__ = [
    'add_kid',
    'add_run_arguments',
    'add_to_mmagic_inferencer',
    'config_of',
    'results_path',
    'run_test',
    'run_training',
]
