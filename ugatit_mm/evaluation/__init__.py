"""Evaluation of translations."""

from ..published import WeightsError
from .class_share import ClassShare
from .diversity import StyleDiversity
from .evaluator import MetricError, TransEvaluator
from .extractors import ColourHOGFeatures, EfficientNetLite0Features, InceptionFeatures
from .folders import Compared, compare_folders, folder_features
from .image_stats import colourfulness, edge_strength, gap_closed
from .kid import TooFewImagesError
from .measurements import Measurement, Protocol
from .trans_kid import TransKID
from .trans_metric import TransMetric
from .trans_stats import TransStats

__all__ = [
    'ClassShare',
    'ColourHOGFeatures',
    'Compared',
    'EfficientNetLite0Features',
    'InceptionFeatures',
    'Measurement',
    'MetricError',
    'Protocol',
    'StyleDiversity',
    'TooFewImagesError',
    'TransEvaluator',
    'TransKID',
    'TransMetric',
    'TransStats',
    'WeightsError',
    'colourfulness',
    'compare_folders',
    'edge_strength',
    'folder_features',
    'gap_closed',
]
