"""Evaluation of translations."""

from .extractors import ColourHOGFeatures, InceptionFeatures, WeightsError
from .figures import Figure, Protocol
from .image_stats import colourfulness, edge_strength, gap_closed
from .kid import TooFewImagesError
from .trans_kid import TransKID
from .trans_metric import TransMetric
from .trans_stats import TransStats

__all__ = [
    'ColourHOGFeatures',
    'Figure',
    'InceptionFeatures',
    'Protocol',
    'TooFewImagesError',
    'TransKID',
    'TransMetric',
    'TransStats',
    'WeightsError',
    'colourfulness',
    'edge_strength',
    'gap_closed',
]
