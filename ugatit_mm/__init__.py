"""U-GAT-IT, and the models it is compared with, for MMagic.

Importing this package takes milliseconds. Our classes are registered: MMagic's registries import
them at the first lookup. The names below are imported when they are used.
"""

from importlib import import_module
from typing import Any

from . import compat
from .version import __version__

PUBLIC = {
    'TranslationInferencer': 'apis',
    'UGATITInferencer': 'apis',
    'load_config': 'config',
    'load_model': 'apis',
    'run_test': 'apis',
    'run_training': 'apis',
}
"""Names, and the modules that have them."""

PACKAGES = ('apis', 'datasets', 'engine', 'evaluation', 'export', 'hooks', 'models')

__all__ = ['__version__', *PUBLIC, *PACKAGES]

compat.install()


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name in PUBLIC:
        return getattr(import_module(f'.{PUBLIC[name]}', __name__), name)
    if name in PACKAGES:
        return import_module(f'.{name}', __name__)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
