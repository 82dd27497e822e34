"""Data: loading images, unpaired folders, a resumable sampler, size and channels, demo images."""

from .deep import apply_deep_range
from .edges import SmoothEdges
from .img_size import apply_channels, apply_img_size
from .loading import IMAGE_SUFFIXES, ImageReadError, LoadRGBImage, decode_rgb, read_rgb
from .sampler import PairIndex, UnpairedSampler
from .unpaired import UGATITDataset
from .workers import shield_worker

__all__ = [
    'IMAGE_SUFFIXES',
    'ImageReadError',
    'LoadRGBImage',
    'PairIndex',
    'SmoothEdges',
    'UGATITDataset',
    'UnpairedSampler',
    'apply_channels',
    'apply_deep_range',
    'apply_img_size',
    'decode_rgb',
    'read_rgb',
    'shield_worker',
]
