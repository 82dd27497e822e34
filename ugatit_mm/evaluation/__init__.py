"""Evaluation of translations."""

from .image_stats import colourfulness, edge_strength, gap_closed
from .trans_stats import TransStats

__all__ = ['TransStats', 'colourfulness', 'edge_strength', 'gap_closed']
