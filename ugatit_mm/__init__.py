"""U-GAT-IT for MMagic: importing this package registers everything."""

from .compat import apply as _apply_mends
from .version import __version__

_apply_mends()
from . import datasets, engine, evaluation, hooks, models  # noqa: E402

__all__ = ["__version__", "datasets", "engine", "evaluation", "hooks", "models"]
