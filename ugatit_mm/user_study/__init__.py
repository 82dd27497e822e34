"""The user study of the paper's Table 2: which method's picture do people prefer?"""

from .app import build_app, serve
from .questions import Study, collect
from .store import Store
from .table import Column, columns, csv_rows, markdown

__all__ = [
    'Column',
    'Store',
    'Study',
    'build_app',
    'collect',
    'columns',
    'csv_rows',
    'markdown',
    'serve',
]
