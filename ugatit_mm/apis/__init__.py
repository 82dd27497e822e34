"""The functions that the tools call."""

from .arguments import (
    add_class_share,
    add_diversity,
    add_kid,
    add_options_argument,
    add_run_arguments,
    add_speed_arguments,
    apply_speed,
    config_of,
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
    'apply_speed',
    'config_of',
    'load_model',
    'results_path',
    'run_test',
    'run_training',
]
