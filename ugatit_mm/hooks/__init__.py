"""Hooks of MMEngine's runner."""

from .interrupt import InterruptHook
from .progress import ProgressBarHook
from .provenance import ProvenanceHook
from .sheets import TranslationSheetHook
from .writer import SaveTranslationsHook

__all__ = [
    'InterruptHook',
    'ProgressBarHook',
    'ProvenanceHook',
    'SaveTranslationsHook',
    'TranslationSheetHook',
]
