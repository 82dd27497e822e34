"""Pixels: 0 to 255 outside, [-1, 1] inside; each way stands here once."""

from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Values = TypeVar('Values', np.ndarray, Tensor)

INTERPOLATIONS = {
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
}
"""Pillow's filters, antialiased, by the names that configs use."""


def normalise(pixels: Values) -> Values:
    """Map 0..255, as floating point, to [-1, 1]."""
    return (pixels - 127.5) / 127.5


def to_uint8(image: Tensor) -> Tensor:
    """Round images in [-1, 1] to 0..255, the one place where values become pixels.

    The arithmetic is that of torchvision's ``save_image`` after MMagic's inferencer has mapped
    [-1, 1] to [0, 1], so every way out of the model writes the same pixels.
    """
    return ((image.float() + 1) / 2).mul(255).add(0.5).clamp(0, 255).to(torch.uint8)


def to_rgb(image: Tensor) -> np.ndarray:
    """Turn an image in [-1, 1], (3, H, W), into uint8 (H, W, 3)."""
    return to_uint8(image).permute(1, 2, 0).cpu().numpy()


def to_picture(bgr: Tensor) -> np.ndarray:
    """Turn what a model's ``val_step`` gives, BGR (3, H, W), into RGB (H, W, 3)."""
    return bgr.flip(0).permute(1, 2, 0).contiguous().cpu().numpy()


def resize(
    picture: np.ndarray, height: int, width: int, interpolation: str = 'bilinear'
) -> np.ndarray:
    """Resize by a filter of Pillow's, antialiased, as the pipelines of the configs do.

    Args:
        picture: uint8 or float32, (H, W) or (H, W, C).
        height: Of the result.
        width: Of the result.
        interpolation: One of :data:`INTERPOLATIONS`.
    """
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(picture)
    return np.array(image.resize((width, height), INTERPOLATIONS[interpolation]))
