"""Reading images of any usual kind as 8-bit RGB.

The official programs read with a bare ``Image.open(path).convert('RGB')`` (PyTorch) or TensorFlow's
JPEG decoder, which show the hidden colours of transparent pixels, ignore the camera's orientation
tag and clip 16-bit greys to white. This module is deliberately more careful; for plain 8-bit RGB
and grey files the result is the same. Colour profiles (ICC) are not applied, as there.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from mmengine.fileio import LocalBackend
from mmengine.fileio import get as get_bytes
from PIL import Image, ImageOps, UnidentifiedImageError

from .cache import PictureCache

IMAGE_SUFFIXES = (
    '.bmp',
    '.gif',
    '.jfif',
    '.jpeg',
    '.jpg',
    '.pbm',
    '.pgm',
    '.png',
    '.pnm',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)
"""Suffixes that count as an image, in lower case; files are compared case-insensitively."""

Colour = int | tuple[int, int, int]


class ImageReadError(OSError):
    """A file that cannot be read as an image; the message names it, the reason and a remedy."""


def find_images(folder: str | os.PathLike) -> list[str]:
    """Find the images under a local folder, as :class:`UGATITDataset` does.

    Args:
        folder: Searched recursively; links are followed, hidden files and folders left out.

    Returns:
        Paths in the order of their names relative to the folder.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        ValueError: It holds no image.
    """
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise NotADirectoryError(f"'{folder}' is a file; a folder of images is expected.")
        raise FileNotFoundError(f"There is no folder '{folder}'.")
    found = LocalBackend().list_dir_or_file(folder, list_dir=False, recursive=True)
    names = sorted(name for name in found if is_visible_image(name))
    if not names:
        suffixes = ' '.join(IMAGE_SUFFIXES)
        raise ValueError(f"The folder '{folder}' holds no image ({suffixes}).")
    return [os.path.join(folder, name) for name in names]


def is_visible_image(name: str) -> bool:
    """Whether a relative path is an image and neither hidden nor an archiver's leftover."""
    parts = name.replace(os.sep, '/').split('/')
    hidden = any(part.startswith('.') or part == '__MACOSX' for part in parts)
    return not hidden and name.lower().endswith(IMAGE_SUFFIXES)


def read_rgb(path: str | os.PathLike, background: Colour = 255) -> np.ndarray:
    """Read an image file; see :func:`decode_rgb` for how each kind is converted.

    Args:
        path: A local file.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.

    Returns:
        A writable, contiguous uint8 array (H, W, 3), RGB, 0 to 255.

    Raises:
        ImageReadError: The file is missing, not accessible, empty, damaged, no image, or too large.
    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _cannot_open(name, error) from error
    return decode_rgb(data, name, background)


def decode_rgb(data: bytes, name: str = '<bytes>', background: Colour = 255) -> np.ndarray:
    """Decode the bytes of an image file to 8-bit RGB.

    - grey, bi-level and palette images are expanded to three channels;
    - transparency (alpha, or a transparent colour) is composited on ``background``;
    - CMYK is converted without a profile; inverted Adobe JPEGs come in right;
    - integer greys of more than 8 bits are taken as 16-bit: 0 to 65535 becomes 0 to 255 (v / 257);
      16-bit colour keeps its high byte (Pillow's decoder);
    - floating-point greys must lie in [0, 1], which becomes 0 to 255;
    - the EXIF orientation is applied;
    - of an animation or a multi-page file, the first frame is read.

    Args:
        data: The whole content of the file.
        name: What error messages call it.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.

    Returns:
        A writable, contiguous uint8 array (H, W, 3), RGB, 0 to 255.

    Raises:
        ImageReadError: The data is empty, damaged, no image, too large, or of values whose scale
            is unknown.
        ValueError: ``background`` is not a colour.
    """
    return _decode(data, name, _check_colour(background))[0]


def _decode(
    data: bytes, name: str, background: tuple[int, int, int], scale: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """:func:`decode_rgb`, resized to ``scale`` (width, height); also the shape before that."""
    if not data:
        raise ImageReadError(f"'{name}' is empty (0 bytes): replace or delete it.")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_pixel_count(image, name)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _to_rgb(image, name, background)
            shape = (rgb.height, rgb.width, 3)
            if scale is not None:
                rgb = rgb.resize(scale, Image.Resampling.BILINEAR)
            return np.array(rgb), shape  # a copy: MMagic's Flip works in place
    except ImageReadError:
        raise
    except UnidentifiedImageError as error:
        raise ImageReadError(
            f"'{name}' is not an image of a known format (it may be a renamed or a text file, or "
            'a failed download): replace or delete it.'
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"'{name}' is too large to decode safely: {error} Scale the file down."
        ) from error
    except Exception as error:
        # Pillow's decoders let through whatever their parser met in a damaged file: OSError,
        # SyntaxError, ValueError, EOFError, struct.error, zlib.error and more.
        raise ImageReadError(
            f"'{name}' is damaged or truncated ({type(error).__name__}: {error}): "
            'replace or delete it.'
        ) from error


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Load ``results[f'{key}_path']`` into ``results[key]`` by :func:`decode_rgb`.

    The counterpart of MMagic's ``LoadImageFromFile``, with the same keys: adds ``key`` (uint8 RGB,
    (H, W, 3), 0 to 255), ``ori_{key}_shape``, ``{key}_channel_order`` ('RGB') and
    ``{key}_color_type`` ('color'). MMagic's data preprocessor learns the channel order from these
    last two only if ``PackInputs`` names them in its ``meta_keys``; otherwise it assumes BGR.

    With ``scale`` the picture is resized before it becomes an array, to the pixels of MMagic's
    ``Resize(scale, interpolation='bilinear', backend='pillow')`` behind this step, in about half
    the time for large photographs. A horizontal ``Flip`` may stand behind it as well as between
    the two: Pillow's weights of a mirrored row are the mirrored weights (tests/test_datasets).

    Args:
        key: Name of the image, for example ``'img_A'``.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.
        backend_args: MMEngine file backend, for storage other than the local disk.
        scale: (width, height) in pixels to resize to, by Pillow's bilinear filter; None leaves the
            size. ``ori_{key}_shape`` is that of the file in any case.

    Attributes:
        cache: Where resized pictures are kept and looked for, None for nowhere; see
            ``UGATITDataset``'s ``cache``.

    Raises:
        ImageReadError: See :func:`decode_rgb`.
        TypeError: The path is neither a string nor a path.
        ValueError: ``background`` is not a colour or ``scale`` no size.
    """

    def __init__(
        self,
        key: str,
        background: Colour = 255,
        backend_args: dict | None = None,
        scale: tuple[int, int] | None = None,
    ) -> None:
        self.key = key
        self.background = _check_colour(background)
        self.backend_args = backend_args
        self.scale = None if scale is None else _check_scale(scale)
        self.cache: PictureCache | None = None

    def transform(self, results: dict) -> dict:
        path = results[f'{self.key}_path']
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f"'{self.key}_path' must be the path of one image file, got {type(path).__name__}."
            )
        name = os.fspath(path)
        if self.cache is None:
            image, shape = self._decode(name)
        else:
            image, shape = self.cache.get(name, self.scale, self.background, self._decode)
        results[self.key] = image
        results[f'ori_{self.key}_shape'] = shape
        results[f'{self.key}_channel_order'] = 'RGB'
        results[f'{self.key}_color_type'] = 'color'
        return results

    def _decode(self, path: str) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Pixels, resized if asked for, and the shape of the file."""
        try:
            if self.backend_args is None:
                data = Path(path).read_bytes()
            else:
                data = get_bytes(path, backend_args=self.backend_args)
        except OSError as error:
            raise _cannot_open(path, error) from error
        return _decode(data, path, self.background, self.scale)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(key={self.key!r}, background={self.background}, '
            f'backend_args={self.backend_args}, scale={self.scale})'
        )


def _to_rgb(image: Image.Image, name: str, background: tuple[int, int, int]) -> Image.Image:
    """A decoded image of any mode in mode RGB; itself if it is in that mode."""
    if image.mode.startswith('I') or image.mode == 'F':
        rgb = np.repeat(_grey_to_uint8(image, name)[:, :, None], 3, axis=2)
        if 'transparency' in image.info:  # a value of 16-bit PNGs
            rgb[np.asarray(image) == image.info['transparency']] = background
        return Image.fromarray(rgb)
    if image.has_transparency_data:
        if image.mode == 'La':  # premultiplied grey has no direct way to RGBA
            image = image.convert('LA')
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, (*background, 255)), image)
    return image if image.mode == 'RGB' else image.convert('RGB')


def _grey_to_uint8(image: Image.Image, name: str) -> np.ndarray:
    """A one-channel image of more than 8 bits as uint8 (H, W)."""
    grey = np.asarray(image).astype(np.float64)
    scale = 255.0 if image.mode == 'F' else 1 / 257
    top = 1 if image.mode == 'F' else 65535
    low, high = grey.min(), grey.max()
    if not (np.isfinite(grey).all() and low >= 0 and high <= top):
        kind = 'floating-point' if image.mode == 'F' else 'integer'
        raise ImageReadError(
            f"'{name}' holds {kind} greys from {low:g} to {high:g}; only 0 to {top} has a known "
            'brightness: convert the file to 8 bits.'
        )
    return np.rint(grey * scale).astype(np.uint8)


def _check_pixel_count(image: Image.Image, name: str) -> None:
    # Pillow only warns up to twice its limit; a data set should not hold such files.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ImageReadError(
            f"'{name}' is too large to decode safely: {image.width}x{image.height} pixels exceed "
            f"Pillow's limit of {limit}. Scale the file down."
        )


def _check_colour(colour: Colour) -> tuple[int, int, int]:
    channels = (colour,) * 3 if isinstance(colour, int) else tuple(colour)
    if len(channels) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in channels):
        raise ValueError(
            f'background must be a grey or three channels, each 0 to 255, got {colour}.'
        )
    return channels


def _check_scale(scale: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(scale) if isinstance(scale, (tuple, list)) else ()
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f'scale must be (width, height), positive integers, got {scale}.')
    return sides


def _cannot_open(name: str, error: OSError) -> ImageReadError:
    if isinstance(error, FileNotFoundError):
        return ImageReadError(f"'{name}' does not exist: check the path.")
    return ImageReadError(
        f"'{name}' cannot be opened ({error.strerror or error}): "
        'check that it is a file and that you may read it.'
    )
