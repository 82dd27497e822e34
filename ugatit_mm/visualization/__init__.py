"""Pictures of what the networks do."""

from .curves import plot_losses, read_scalars
from .sheet import colour_heatmap, make_sheet, translation_sheet

__all__ = ['colour_heatmap', 'make_sheet', 'plot_losses', 'read_scalars', 'translation_sheet']
