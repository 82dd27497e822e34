"""What the tools call, and the entry point for MMagic's inferencer."""

from .arguments import (
    add_class_share,
    add_diversity,
    add_kid,
    add_options_argument,
    add_run_arguments,
    add_speed_arguments,
    apply_speed,
    config_of,
    width_options,
    widths_of,
)
from .inferencer import Translation, TranslationInferencer, UGATITInferencer
from .loading import DEFAULT_WEIGHTS, load_model
from .running import results_path, run_test, run_training
from .sizes import SIZE_MODES
from .sources import Failure
from .styles import StyleError, add_style_argument, add_styles_argument

__all__ = [
    'DEFAULT_WEIGHTS',
    'SIZE_MODES',
    'Failure',
    'StyleError',
    'Translation',
    'TranslationInferencer',
    'UGATITInferencer',
    'add_class_share',
    'add_diversity',
    'add_kid',
    'add_options_argument',
    'add_run_arguments',
    'add_speed_arguments',
    'add_style_argument',
    'add_styles_argument',
    'add_to_mmagic_inferencer',
    'apply_speed',
    'config_of',
    'load_model',
    'results_path',
    'run_test',
    'run_training',
    'width_options',
    'widths_of',
]


def add_to_mmagic_inferencer() -> None:
    """As :func:`ugatit_mm.apis.mmagic_inferencer.add_to_mmagic_inferencer`."""
    import mmagic.apis  # noqa: F401 - first, as its end calls ours; takes a second

    from . import mmagic_inferencer

    mmagic_inferencer.add_to_mmagic_inferencer()
