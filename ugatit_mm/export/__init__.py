"""``ugatit export``: generators for other programs, compared with torch."""

from .check import verify
from .command import main
from .files import export_model, open_exported

__all__ = ['export_model', 'main', 'open_exported', 'verify']
