"""Pictures of what the networks do."""

from .sheet import colour_heatmap, make_sheet, translation_sheet

__all__ = ['colour_heatmap', 'make_sheet', 'translation_sheet']
