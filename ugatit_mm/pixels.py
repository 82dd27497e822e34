"""Pixels: 0 to 255 in pictures, [-1, 1] in networks; the conversions are all here.

A picture is uint8, (H, W, C), of 1 to 8 channels: grey, grey and alpha, RGB, RGBA, or bands.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeVar

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

MAX_CHANNELS = 8
PNG_CHANNELS = 4
"""A PNG holds pictures of up to so many channels; those with more are written as TIFF."""


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
    """Turn an image in [-1, 1], (C, H, W), into the RGB of :func:`displayed`."""
    return displayed(to_uint8(image).permute(1, 2, 0).cpu().numpy())


def check_channels(channels: object) -> int:
    """Return a number of channels that pictures may have.

    Raises:
        ValueError: It is not a whole number from 1 to :data:`MAX_CHANNELS`.
    """
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f'channels must be 1 to {MAX_CHANNELS}, got {channels!r}')
    return channels


def swap_colours(images: Tensor) -> Tensor:
    """Turn RGB into BGR, or back: images (..., C, H, W).

    Alpha, the last of four channels, stays where it is. Other numbers of channels have no order
    of colours, and stay as they are.
    """
    if images.size(-3) == 3:
        return images.flip(-3)
    if images.size(-3) == 4:
        colours, alpha = images.split((3, 1), -3)
        return torch.cat([colours.flip(-3), alpha], -3)
    return images


def to_picture(image: Tensor) -> np.ndarray:
    """Turn what a model's ``val_step`` gives, (C, H, W), BGR if coloured, into (H, W, C), RGB."""
    return swap_colours(image).permute(1, 2, 0).contiguous().cpu().numpy()


def displayed(picture: np.ndarray) -> np.ndarray:
    """A picture, uint8 (H, W, C), for display: RGB (H, W, 3).

    One or two channels: the first, as grey. Three or more: the first three, as red, green, blue.
    """
    if picture.shape[2] < 3:
        return picture[..., :1].repeat(3, 2)
    return picture[..., :3]


def words_of_displayed(channels: int) -> str:
    """Which channels :func:`displayed` shows, for a title; nothing where it shows all of them."""
    if channels in (1, 3):
        return ''
    return 'channel 1 of 2' if channels == 2 else f'channels 1 to 3 of {channels}'


def suffix_written(channels: int) -> str:
    """Suffix of :func:`write_picture`'s files: ``'.png'``, or ``'.tif'`` for many channels."""
    return '.png' if channels <= PNG_CHANNELS else '.tif'


def write_picture(picture: np.ndarray, file: str | os.PathLike | IO[bytes]) -> None:
    """Write a picture without loss, as it is.

    Args:
        picture: uint8, (H, W) or (H, W, C). Up to four channels make a PNG: grey, grey and alpha,
            RGB, RGBA; more make a TIFF, of one plane with all channels of each pixel.
        file: Path, or a file open for writing.

    Raises:
        OSError: It cannot be written.
    """
    if picture.ndim == 2 or picture.shape[2] <= PNG_CHANNELS:
        flat = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
        Image.fromarray(np.ascontiguousarray(flat)).save(file, 'PNG')
        return
    import tifffile  # here: a tenth of a second

    data = io.BytesIO()
    tifffile.imwrite(data, picture, photometric='minisblack', planarconfig='contig', metadata=None)
    if isinstance(file, (str, os.PathLike)):
        Path(file).write_bytes(data.getvalue())
    else:
        file.write(data.getvalue())


def sides_of(img_size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of a config's ``img_size``: a number is that of a square."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    return height, width


def sides_in_words(img_size: int | Sequence[int]) -> str:
    """A size for people: ``256``, or ``64x128`` for height and width."""
    height, width = sides_of(img_size)
    return str(height) if height == width else f'{height}x{width}'


def size_words(img_size: int | Sequence[int]) -> str:
    """The same in pixels: ``256 px``."""
    return f'{sides_in_words(img_size)} px'


def resize(
    picture: np.ndarray, height: int, width: int, interpolation: str = 'bilinear'
) -> np.ndarray:
    """Resize by a filter of Pillow's, antialiased, as the pipelines of the configs do.

    Args:
        picture: uint8 or float32, (H, W) or (H, W, C). Each channel is resized by itself.
        height: Of the result.
        width: Of the result.
        interpolation: One of :data:`INTERPOLATIONS`.
    """
    if picture.shape[:2] == (height, width):
        return picture
    if picture.ndim == 3 and picture.shape[2] != 3:
        # Pillow has few modes, and weights the others by alpha.
        bands = [resize(band, height, width, interpolation) for band in np.moveaxis(picture, 2, 0)]
        return np.stack(bands, 2)
    image = Image.fromarray(picture)
    return np.array(image.resize((width, height), INTERPOLATIONS[interpolation]))


def covering(scale: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of a picture's own proportions that covers another one.

    For a square the shorter side becomes the square's, as in torchvision's ``Resize``.

    Args:
        scale: (width, height) to cover.
        size: (width, height) of the picture.
    """
    width, height = size
    if scale[0] * height >= scale[1] * width:
        return scale[0], max(scale[1], scale[0] * height // width)
    return max(scale[0], scale[1] * width // height), scale[1]
