"""What the tools call, and the door to MMagic's inferencer."""

from .arguments import add_kid, add_run_arguments, add_speed_arguments, apply_speed, config_of
from .running import results_path, run_test, run_training

__all__ = [
    'add_kid',
    'add_run_arguments',
    'add_speed_arguments',
    'add_to_mmagic_inferencer',
    'apply_speed',
    'config_of',
    'results_path',
    'run_test',
    'run_training',
]


def add_to_mmagic_inferencer() -> None:
    """As :func:`ugatit_mm.apis.mmagic_inferencer.add_to_mmagic_inferencer`."""
    from . import mmagic_inferencer  # imports mmagic.apis, which takes a second

    mmagic_inferencer.add_to_mmagic_inferencer()
