"""Cartoons without clear edges, which CartoonGAN's discriminator learns to reject."""

import cv2
import numpy as np
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

LOW, HIGH = 100, 200  # thresholds of Canny
WIDE = np.ones((5, 5), np.uint8)  # dilates the edges
KERNEL = np.array([1, 4, 6, 4, 1], np.float64) / 16  # OpenCV's Gaussian of size 5 and sigma 0


@TRANSFORMS.register_module()
class SmoothEdges(BaseTransform):
    """Add a copy of a picture with its edges blurred (CartoonGAN, section 3.2.1).

    It goes after the step that loads the picture and before those that flip or crop, which must do
    the same to both: ``Flip(keys=['img_B', 'img_B_smooth'])``, ``FixedCrop`` with the same keys
    (``Crop`` draws for each key separately). ``PackInputs`` needs ``to`` in its
    ``keys``, and ``{to}_channel_order`` and ``{to}_color_type`` in its ``meta_keys``.

    The official program does this once, before training, at 256 pixels; here it takes
    milliseconds in each epoch, at the size at which the picture is loaded.

    Args:
        key: The picture, uint8 (H, W, C), RGB; with one or two channels the first is grey, with
            more than three the first three are RGB.
        to: Key of the copy.
    """

    def __init__(self, key: str = 'img_B', to: str = 'img_B_smooth') -> None:
        self.key = key
        self.to = to

    def transform(self, results: dict) -> dict:
        """Add ``to``, and its order of channels."""
        picture = results[self.key]
        results[self.to] = smooth_edges(picture, grey_of(picture))
        for what in ('channel_order', 'color_type'):
            if f'{self.key}_{what}' in results:
                results[f'{self.to}_{what}'] = results[f'{self.key}_{what}']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(key={self.key!r}, to={self.to!r})'


def grey_of(picture: np.ndarray) -> np.ndarray:
    """A picture with any number of channels in grey, uint8 (H, W), by OpenCV's weights."""
    if picture.shape[2] < 3:
        return np.ascontiguousarray(picture[..., 0])
    return cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_RGB2GRAY)


def smooth_edges(picture: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Blur a picture where it has edges.

    Byte for byte the result of znxlwm/pytorch-CartoonGAN for the same picture and grey: Canny's
    edges, dilated to 5 x 5 pixels, get a Gaussian mean of 5 x 5, truncated to integers.

    Args:
        picture: uint8 (H, W, C), channels in any order.
        grey: The same in grey, uint8 (H, W).

    Returns:
        uint8 (H, W, C), a new array.
    """
    edges = cv2.dilate(cv2.Canny(grey, LOW, HIGH), WIDE)
    blurred = cv2.sepFilter2D(
        np.ascontiguousarray(picture), cv2.CV_64F, KERNEL, KERNEL, borderType=cv2.BORDER_REFLECT_101
    )
    blurred = blurred.reshape(picture.shape).astype(np.uint8)  # truncated, not rounded
    return np.where(edges[..., None] != 0, blurred, picture)
