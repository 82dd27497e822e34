"""Code that all translation models share."""

from .log import StepLog
from .preprocessor import TranslationPreprocessor
from .registry import TRANSLATION_MODELS, translation_model
from .step import Step
from .styles import StyleChoice
from .unpaired import Attention, Plot, Translated, UnpairedTranslation
from .wrappers import AveragedParallel, unwrap

__all__ = [
    'TRANSLATION_MODELS',
    'Attention',
    'AveragedParallel',
    'Plot',
    'Step',
    'StepLog',
    'StyleChoice',
    'Translated',
    'TranslationPreprocessor',
    'UnpairedTranslation',
    'translation_model',
    'unwrap',
]
