"""Fit pictures of any size to the networks, and translations back to the pictures."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ..pixels import resize, sides_of

SIZE_MODES = {
    'resize': "the whole picture, soft above the network's size",
    'crop': 'only the middle, the rest stays',
    'pad': 'the whole picture, not squeezed: its edges are reflected to fill the size',
    'keep': 'the whole picture at its own size, at once: memory grows with it',
    'tiles': 'the whole picture at its own size, part by part: tones may change between parts',
}
"""Ways to fit a picture to the network, with their results."""

MAX_PIXELS = 100_000_000  # of a padded picture
LEAST = 4  # strides; enough for every reflection padding of a network
FEATHER = 1 / 8  # of a cropped part's side, where it blends into the rest
OVERLAP = 1 / 4  # of a tile's side, at least


class Fitted(NamedTuple):
    """A picture as the network takes it, and the part of the source that it shows.

    Attributes:
        image: uint8, (h, w, C).
        window: Top, left, height and width in the source; it may reach beyond the source.
    """

    image: np.ndarray
    window: tuple[int, int, int, int]

    def restore(self, out: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Put the network's output for ``image`` back into its window.

        Args:
            out: (h, w) or (h, w, C), uint8 or float32.
            around: (H, W) or (H, W, C); shown outside the window. A window's edge inside of it
                blends into it, by :data:`FEATHER`.
        """
        top, left, height, width = self.window
        whole = around.copy()
        rows, columns = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
        part = whole[rows, columns]
        y, x = max(-top, 0), max(-left, 0)
        new = resize(out, height, width)[y : y + part.shape[0], x : x + part.shape[1]]
        down, across = (
            rise(size, *(round(FEATHER * size) if inside else 0 for inside in ends))
            for size, ends in (
                (part.shape[0], (top > 0, top + height < whole.shape[0])),
                (part.shape[1], (left > 0, left + width < whole.shape[1])),
            )
        )
        if min(down.min(), across.min()) < 1:
            share = np.outer(down, across).astype(np.float32)
            share = share.reshape(*part.shape[:2], *[1] * (part.ndim - 2))
            new = part + share * (new.astype(np.float32) - part)
            new = np.rint(new) if part.dtype == np.uint8 else new
        part[:] = new
        return whole


def fit(
    picture: np.ndarray,
    img_size: int | Sequence[int],
    mode: str,
    stride: int = 4,
    interpolation: str = 'bilinear',
) -> Fitted:
    """Fit a picture to the network's size; one of that size stays as it is.

    Args:
        picture: uint8, (H, W, C).
        img_size: Side of the square that the network takes, or (height, width).
        mode: ``'resize'``: squeezed into that size, as validation and tests do it. ``'crop'``: the
            largest part in the middle of that size's proportions is translated and put back; around
            it the picture stays as it is. ``'pad'``: reflected to those proportions. ``'keep'``: at
            its own size, reflected to a multiple of ``stride``, at least four times it; for models
            that take any size. ``'tiles'``: at its own size, reflected to that size at least, for
            :func:`tiles`.
        stride: The model's ``STRIDE``.
        interpolation: The model's ``INTERPOLATION``.

    Raises:
        ValueError: The mode is unknown, or makes more than :data:`MAX_PIXELS` of a long picture.
    """
    height, width = picture.shape[:2]
    h, w = sides_of(img_size)
    if mode == 'resize':
        rows, columns = height, width
    elif mode in ('crop', 'pad'):
        # One side of the window is the picture's, the other follows by proportion.
        if (width * h > height * w) == (mode == 'crop'):
            rows, columns = height, max(1, round(height * w / h))
        else:
            rows, columns = max(1, round(width * h / w)), width
    elif mode == 'keep':
        rows, columns = (max(-(-side // stride), LEAST) * stride for side in (height, width))
    elif mode == 'tiles':
        rows, columns = max(height, h), max(width, w)
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
    # 'symmetric' repeats as often as needed, also a line of one pixel.
    image = np.pad(picture, (*margins, (0, 0)), 'symmetric') if max(map(max, margins)) else picture
    y, x = max(top, 0), max(left, 0)
    image = image[y : y + rows, x : x + columns]
    if mode not in ('keep', 'tiles'):
        image = resize(image, h, w, interpolation)
    return Fitted(image, (top, left, rows, columns))


def tiles(
    size: tuple[int, int], tile: tuple[int, int]
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Parts of a picture that overlap by :data:`OVERLAP` or more, with weights to blend them.

    Args:
        size: Height and width of the picture, of a tile's at least.
        tile: Height and width of a part.

    Yields:
        Rows and columns of a part, and its weights, float32, (h, w), which fall towards its
        neighbours; those of all parts add up to 1 in each pixel.
    """
    for (top, down), (left, across) in product(*map(_along, size, tile)):
        places = slice(top, top + tile[0]), slice(left, left + tile[1])
        yield places, np.outer(down, across).astype(np.float32)


def _along(size: int, tile: int) -> list[tuple[int, np.ndarray]]:
    """Starts of tiles along one side, evenly spread, and their weights, which add up to 1."""
    count = 1 + int(np.ceil((size - tile) / (tile * (1 - OVERLAP))))
    starts = np.linspace(0, size - tile, count).round().astype(int)
    common = [0, *(tile - np.diff(starts)), 0]  # lines that neighbours share
    weights = [rise(tile, *common[i : i + 2]) for i in range(count)]
    total = np.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    return [(s, w / total[s : s + tile]) for s, w in zip(starts, weights, strict=True)]


def rise(size: int, before: int, after: int) -> np.ndarray:
    """Weights of a part's lines, (size,): 1, with a smooth rise over so many lines at each end."""
    at = np.arange(size) + 0.5
    ends = [np.clip(d / n, 0, 1) for d, n in ((at, before), (size - at, after)) if n]
    return np.prod([np.sin(np.pi / 2 * end) ** 2 for end in [np.ones(size), *ends]], axis=0)
