"""Hooks of MMEngine's runner."""

from .bad_pictures import BadPicturesHook
from .checkpoint import UGATITCheckpointHook
from .console import ConsoleHook
from .ema import TranslationEMAHook
from .finite import FiniteHook, NotFiniteError
from .interrupt import InterruptHook
from .late import LateHook, LateRuntimeInfoHook
from .provenance import ProvenanceHook
from .sheets import TranslationSheetHook
from .watch import WatchHook
from .writer import SaveTranslationsHook

__all__ = [
    'BadPicturesHook',
    'ConsoleHook',
    'FiniteHook',
    'InterruptHook',
    'LateHook',
    'LateRuntimeInfoHook',
    'NotFiniteError',
    'ProvenanceHook',
    'SaveTranslationsHook',
    'TranslationEMAHook',
    'TranslationSheetHook',
    'UGATITCheckpointHook',
    'WatchHook',
]
