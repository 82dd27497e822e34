"""Hooks of MMEngine's runner."""

from .interrupt import InterruptHook
from .progress import ProgressBarHook
from .provenance import ProvenanceHook
from .rho import RhoHook
from .sheets import TranslationSheetHook
from .writer import SaveTranslationsHook

__all__ = [
    'InterruptHook',
    'ProgressBarHook',
    'ProvenanceHook',
    'RhoHook',
    'SaveTranslationsHook',
    'TranslationSheetHook',
]
