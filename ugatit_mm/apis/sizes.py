"""Pictures of any size to the networks' size, and translations back to the pictures'."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..pixels import resize, sides_of

SIZE_MODES = ('resize', 'crop', 'pad', 'keep')
MAX_PIXELS = 100_000_000  # of a padded picture
LEAST = 4  # strides; every reflection in a network finds them enough


class Fitted(NamedTuple):
    """A picture as the network takes it, and the part of the source that it shows.

    Attributes:
        image: uint8, (h, w, C).
        window: Top, left, height and width in the source; it may reach beyond the source.
    """

    image: np.ndarray
    window: tuple[int, int, int, int]

    def restore(self, out: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Put what the network made of ``image`` back where it belongs.

        Args:
            out: (h, w) or (h, w, C), uint8 or float32.
            around: (H, W) or (H, W, C); it shows where the window does not reach.
        """
        top, left, height, width = self.window
        whole = around.copy()
        rows, columns = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
        part = whole[rows, columns]
        y, x = max(-top, 0), max(-left, 0)
        part[:] = resize(out, height, width)[y : y + part.shape[0], x : x + part.shape[1]]
        return whole


def fit(
    picture: np.ndarray,
    img_size: int | Sequence[int],
    mode: str,
    stride: int = 4,
    interpolation: str = 'bilinear',
) -> Fitted:
    """Fit a picture to the network's size; one of that size goes through as it is.

    Args:
        picture: uint8, (H, W, C).
        img_size: Side of the square that the network takes, or (height, width).
        mode: ``'resize'``: squeezed into that size, as validation and tests do it. ``'crop'``: the
            largest part in the middle of that size's proportions is translated and put back; around
            it the picture stays as it is. ``'pad'``: reflected to those proportions. ``'keep'``: at
            its own size, reflected to a multiple of ``stride``, at least four times it; for models
            that take any size.
        stride: The model's ``STRIDE``.
        interpolation: The model's ``INTERPOLATION``.

    Raises:
        ValueError: The mode is unknown, or makes more than :data:`MAX_PIXELS` of a long picture.
    """
    height, width = picture.shape[:2]
    if mode == 'resize':
        rows, columns = height, width
    elif mode in ('crop', 'pad'):
        h, w = sides_of(img_size)
        # One side of the window is the picture's, the other follows by proportion.
        if (width * h > height * w) == (mode == 'crop'):
            rows, columns = height, max(1, round(height * w / h))
        else:
            rows, columns = max(1, round(width * h / w)), width
    elif mode == 'keep':
        rows, columns = (max(-(-side // stride), LEAST) * stride for side in (height, width))
    else:
        raise ValueError(f'size must be one of {list(SIZE_MODES)}, got {mode!r}')
    if rows * columns > MAX_PIXELS:
        raise ValueError(
            f'size={mode!r} makes {columns} x {rows} pixels of {width} x {height}, more than '
            f'{MAX_PIXELS}: choose resize or crop'
        )
    top, left = (height - rows) // 2, (width - columns) // 2
    margins = [
        (max(-start, 0), max(start + side - have, 0))
        for start, side, have in ((top, rows, height), (left, columns, width))
    ]
    # Symmetric repeats as often as it takes, also a line of one pixel.
    image = np.pad(picture, (*margins, (0, 0)), 'symmetric') if max(map(max, margins)) else picture
    y, x = max(top, 0), max(left, 0)
    image = image[y : y + rows, x : x + columns]
    if mode != 'keep':
        image = resize(image, *sides_of(img_size), interpolation)
    return Fitted(image, (top, left, rows, columns))
