"""What every translation model shares."""

from .registry import TRANSLATION_MODELS, translation_model
from .step import Step
from .unpaired import Plot, Translated, UnpairedTranslation
from .wrappers import unwrap

__all__ = [
    'TRANSLATION_MODELS',
    'Plot',
    'Step',
    'Translated',
    'UnpairedTranslation',
    'translation_model',
    'unwrap',
]
