"""Reading images of any usual kind as 8-bit RGB.

The official programs read with a bare ``Image.open(path).convert('RGB')`` (PyTorch) or TensorFlow's
JPEG decoder, which show the hidden colours of transparent pixels, ignore the camera's orientation
tag and clip 16-bit greys to white. This module is deliberately more careful; for plain 8-bit RGB
and grey files the result is the same. Colour profiles (ICC) are not applied, as there.
"""

from __future__ import annotations

import io
import os
import re
import stat

import numpy as np
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from mmengine.fileio import get as get_bytes
from PIL import Image, ImageOps, UnidentifiedImageError

from ..messages import check_choice
from ..pixels import INTERPOLATIONS
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

# Pillow's names of what is decoded, whatever the suffix. Among the others that it knows, EPS starts
# Ghostscript on the file, and several are slow or seldom looked at.
FORMATS = ('AVIF', 'BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')
MAX_BYTES = 1 << 30  # of a file, which is read as a whole
# Of a picture, as in JPEG: Pillow resizes rows first, so that 1 x 80,000,000 pixels, within its
# limit, would on the way to 286 x 286 be a picture of 286 x 80,000,000.
MAX_SIDE = 65_535
# Of a JPEG. Progressive ones have about ten; each takes time in proportion to the picture, however
# few bytes it has. libtiff has the same limit for the JPEGs inside of TIFFs.
MAX_SCANS = 100

# Start of scan, length, number of components: five bytes that do not come about by chance.
_SCAN = re.compile(rb'\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)')
_BAND = 64  # rows that are converted at a time
_AT_ONCE = getattr(os, 'O_NONBLOCK', 0)

Colour = int | tuple[int, int, int]


class ImageReadError(OSError):
    """A file that cannot be read as an image; the message names it, the reason and a remedy.

    In messages names are shown as ``repr`` does it: a new line, another control character or a byte
    that is no UTF-8 comes as its escape, so that any name fits a line of any log.

    Attributes:
        path: The file, as it was asked for; None in what torch made of an error in a worker.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


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
            raise NotADirectoryError(f'{_shown(folder)} is a file; a folder of images is expected.')
        raise FileNotFoundError(f'There is no folder {_shown(folder)}.')
    names = list_images(folder)
    if not names:
        suffixes = ' '.join(IMAGE_SUFFIXES)
        raise ValueError(f'The folder {_shown(folder)} holds no image ({suffixes}).')
    return [os.path.join(folder, name) for name in names]


def list_images(folder: str | os.PathLike, every_file: bool = False) -> list[str]:
    """Whatever has the name of a visible image under a local folder, sorted.

    Links are followed, and each folder is entered once, however many links lead to it: links in a
    loop end. What is no file in spite of its name (a dangling link, a pipe) is in the list, so that
    reading names it.

    Args:
        folder: Searched recursively.
        every_file: Files with other names, too; hidden ones never.

    Returns:
        Paths relative to ``folder``.

    Raises:
        OSError: A folder cannot be listed.
    """
    root = os.fspath(folder)
    names, entered, waiting = [], set(), ['']
    while waiting:
        inner = waiting.pop()
        path = os.path.join(root, inner) if inner else root
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        below = []
        with os.scandir(path) as entries:
            for entry in entries:
                name = os.path.join(inner, entry.name)
                if _is_hidden(entry.name):
                    continue
                # One look at the folder tells what its entries are, links alone take one each.
                if entry.is_dir(follow_symlinks=False) or (
                    entry.is_symlink() and os.path.isdir(entry.path)
                ):
                    below.append(name)
                elif every_file or is_visible_image(name):
                    names.append(name)
        waiting += sorted(below, reverse=True)
    return sorted(names)


def is_visible_image(name: str) -> bool:
    """Whether a relative path is an image and neither hidden nor an archiver's leftover."""
    parts = name.replace(os.sep, '/').split('/')
    return not any(map(_is_hidden, parts)) and name.lower().endswith(IMAGE_SUFFIXES)


def _is_hidden(part: str) -> bool:
    return part.startswith('.') or part == '__MACOSX'


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
    return decode_rgb(read_file(name), name, background)


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

    The content alone decides what a file is, its name does not; :data:`FORMATS` are read. For a
    while up to 19 bytes per pixel are taken, the 3 of the result among them: 1.7 GB for the largest
    picture that Pillow's limit of 89 million pixels lets through (tests/test_datasets).

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
    data: bytes,
    name: str,
    background: tuple[int, int, int],
    scale: tuple[int, int] | None = None,
    interpolation: str = 'bilinear',
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """:func:`decode_rgb`, resized to ``scale`` (width, height); also the shape before that."""
    if not data:
        raise _error(name, 'is empty (0 bytes): replace or delete it.')
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image, name)
            if image.format in ('JPEG', 'MPO'):  # MPO: a camera's, with a preview
                _check_scans(data, name)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _to_rgb(image, name, background)
            shape = (rgb.height, rgb.width, 3)
            if scale is not None:
                rgb = rgb.resize(scale, INTERPOLATIONS[interpolation])
            return np.array(rgb), shape  # a copy: MMagic's Flip works in place
    except ImageReadError:
        raise
    except UnidentifiedImageError as error:
        raise _error(
            name,
            'is not an image of a known format (it may be a renamed or a text file, or a failed '
            'download): replace or delete it.',
        ) from error
    except Image.DecompressionBombError as error:
        raise _error(
            name, f'is too large to decode safely: {error} Scale the file down.'
        ) from error
    except MemoryError as error:
        raise _error(
            name,
            'cannot be decoded in the memory that there is: scale it down, or replace it if it is '
            'damaged.',
        ) from error
    except Exception as error:
        # Pillow's decoders let through whatever their parser met in a damaged file: OSError,
        # SyntaxError, ValueError, EOFError, struct.error, zlib.error and more.
        raise _error(
            name,
            f'is damaged or truncated ({type(error).__name__}: {error}): replace or delete it.',
        ) from error


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Load ``results[f'{key}_path']`` into ``results[key]`` by :func:`decode_rgb`.

    The counterpart of MMagic's ``LoadImageFromFile``, with the same keys: adds ``key`` (uint8 RGB,
    (H, W, 3), 0 to 255), ``ori_{key}_shape``, ``{key}_channel_order`` ('RGB') and
    ``{key}_color_type`` ('color'). MMagic's data preprocessor learns the channel order from these
    last two only if ``PackInputs`` names them in its ``meta_keys``; otherwise it assumes BGR.

    With ``scale`` the picture is resized before it becomes an array, to the pixels of MMagic's
    ``Resize(scale, interpolation=interpolation, backend='pillow')`` behind this step, in about half
    the time for large photographs. A horizontal ``Flip`` may stand behind it as well as between
    the two: Pillow's weights of a mirrored row are the mirrored weights (tests/test_datasets).

    Args:
        key: Name of the image, for example ``'img_A'``.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.
        backend_args: MMEngine file backend, for storage other than the local disk.
        scale: (width, height) in pixels to resize to, by a filter of Pillow's, antialiased; None
            leaves the size. ``ori_{key}_shape`` is that of the file in any case.
        interpolation: The filter, ``'bilinear'`` or ``'bicubic'``.

    Attributes:
        cache: Where resized pictures are kept and looked for, None for nowhere; see
            ``UGATITDataset``'s ``cache``.

    Raises:
        ImageReadError: See :func:`decode_rgb`.
        TypeError: The path is neither a string nor a path.
        ValueError: ``background`` is not a colour, ``scale`` no size or ``interpolation`` no known
            filter.
    """

    def __init__(
        self,
        key: str,
        background: Colour = 255,
        backend_args: dict | None = None,
        scale: tuple[int, int] | None = None,
        interpolation: str = 'bilinear',
    ) -> None:
        check_choice('interpolation', interpolation, INTERPOLATIONS)
        self.key = key
        self.background = _check_colour(background)
        self.backend_args = backend_args
        self.scale = None if scale is None else _check_scale(scale)
        self.interpolation = interpolation
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
            image, shape = self.cache.get(
                name, self.scale, self.background, self.interpolation, self._decode
            )
        results[self.key] = image
        results[f'ori_{self.key}_shape'] = shape
        results[f'{self.key}_channel_order'] = 'RGB'
        results[f'{self.key}_color_type'] = 'color'
        return results

    def _decode(self, path: str) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Pixels, resized if asked for, and the shape of the file."""
        if self.backend_args is None:
            data = read_file(path)
        else:
            try:
                data = get_bytes(path, backend_args=self.backend_args)
            except OSError as error:
                raise _cannot_open(path, error) from error
        return _decode(data, path, self.background, self.scale, self.interpolation)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(key={self.key!r}, background={self.background}, '
            f'backend_args={self.backend_args}, scale={self.scale}, '
            f'interpolation={self.interpolation!r})'
        )


def _to_rgb(image: Image.Image, name: str, background: tuple[int, int, int]) -> Image.Image:
    """A decoded image of any mode in mode RGB; itself if it is in that mode."""
    if image.mode.startswith('I') or image.mode == 'F':
        rgb = Image.fromarray(_grey_to_uint8(image, name)).convert('RGB')
        if 'transparency' in image.info:  # a value of 16-bit PNGs
            hidden = np.asarray(image) == image.info['transparency']
            rgb.paste(background, mask=Image.fromarray(hidden))
        return rgb
    if image.has_transparency_data:
        if image.mode == 'La':  # premultiplied grey has no direct way to RGBA
            image = image.convert('LA')
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, (*background, 255)), image)
    return image if image.mode == 'RGB' else image.convert('RGB')


def _grey_to_uint8(image: Image.Image, name: str) -> np.ndarray:
    """A one-channel image of more than 8 bits as uint8 (H, W)."""
    grey = np.asarray(image)
    scale = 255.0 if image.mode == 'F' else 1 / 257
    top = 1 if image.mode == 'F' else 65535
    low, high = grey.min(), grey.max()
    if not (low >= 0 and high <= top):  # nor is NaN, which minimum and maximum pass on
        kind = 'floating-point' if image.mode == 'F' else 'integer'
        raise _error(
            name,
            f'holds {kind} greys from {low:g} to {high:g}; only 0 to {top} has a known '
            'brightness: convert the file to 8 bits.',
        )
    result = np.empty(grey.shape, np.uint8)
    for start in range(0, len(grey), _BAND):  # in float64, 8 times as large
        rows = slice(start, start + _BAND)
        result[rows] = np.rint(grey[rows].astype(np.float64) * scale)
    return result


def _check_size(image: Image.Image, name: str) -> None:
    # Pillow only warns up to twice its limit; a data set should not hold such files.
    limit = Image.MAX_IMAGE_PIXELS
    size = f'{image.width}x{image.height}'
    if limit is not None and image.width * image.height > limit:
        reason = f"{size} pixels exceed Pillow's limit of {limit}. Scale the file down."
    elif max(image.size) > MAX_SIDE:
        reason = f'{size} pixels, where {MAX_SIDE} is the longest side. Scale the file down.'
    else:
        return
    raise _error(name, f'is too large to decode safely: {reason}')


def _check_scans(data: bytes, name: str) -> None:
    # Counting is much faster than searching, and nearly always enough.
    if data.count(b'\xff\xda') > MAX_SCANS and len(_SCAN.findall(data)) > MAX_SCANS:
        raise _error(
            name,
            f'is too slow to decode: a JPEG of more than {MAX_SCANS} scans. Save it anew.',
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


def read_file(path: str) -> bytes:
    """Read the whole of an ordinary file; opening a pipe does not wait for who writes to it.

    Raises:
        ImageReadError: It is no ordinary file, too large, or cannot be opened.
    """
    try:
        with open(path, 'rb', opener=lambda name, flags: os.open(name, flags | _AT_ONCE)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _error(path, 'is a pipe or a device, not a file: give an image file.')
            if status.st_size > MAX_BYTES:
                raise _error(
                    path,
                    f'is too large to decode safely: {status.st_size} bytes, where {MAX_BYTES} is '
                    'the most. Scale the file down.',
                )
            return file.read()
    except ImageReadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _cannot_open(path, error) from error


def _cannot_open(name: str, error: Exception) -> ImageReadError:
    if isinstance(error, FileNotFoundError):
        if os.path.islink(name):
            return _error(name, f'is a link to {_shown(os.readlink(name))}, which does not exist.')
        return _error(name, 'does not exist: check the path.')
    return _error(
        name,
        f'cannot be opened ({getattr(error, "strerror", None) or error}): '
        'check that it is a file and that you may read it.',
    )


def _error(name: str, reason: str) -> ImageReadError:
    return ImageReadError(f'{_shown(name)} {reason}', name)


def _shown(name: str | os.PathLike) -> str:
    """A name between quotes that fits a line and any terminal."""
    return repr(os.fspath(name))
