"""Pictures of the networks' results and attention."""

from .attention import (
    COLOUR_MAPS,
    add_legend,
    attention_figure,
    colour_heatmap,
    normalise_heatmap,
    overlay,
)
from .curves import plot_losses, read_scalars
from .grid import make_sheet
from .sheet import translation_sheet

__all__ = [
    'COLOUR_MAPS',
    'add_legend',
    'attention_figure',
    'colour_heatmap',
    'make_sheet',
    'normalise_heatmap',
    'overlay',
    'plot_losses',
    'read_scalars',
    'translation_sheet',
]
