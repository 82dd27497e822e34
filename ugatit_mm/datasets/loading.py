"""Reading images of any common format as 8-bit RGB.

The official programs read with a bare ``Image.open(path).convert('RGB')`` (PyTorch) or TensorFlow's
JPEG decoder, which show the hidden colours of transparent pixels, ignore the camera's orientation
tag and clip 16-bit greys to white. This module is deliberately more careful; for plain 8-bit RGB
and grey files the result is the same. Colour profiles (ICC) are not applied, as in those.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import NamedTuple

import numpy as np
from mmagic.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from mmengine.fileio import get as get_bytes
from mmengine.logging import print_log
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..messages import check_choice
from ..pixels import INTERPOLATIONS, check_channels, covering, resize
from .bands import BandsError, count_bands, read_bands
from .cache import PictureCache
from .deep import (
    Range,
    check_deep_range,
    decode_deep_colour,
    decode_every_band,
    full_limits,
    is_deep_colour,
    is_deep_grey,
    own_limits,
    stretch,
    tiff_tags,
)
from .folders import find_images, list_images, shown
from .formats import FORMATS, IMAGE_SUFFIXES, describe_tiff, is_tiff, of_bands, what_is_unread

__all__ = [
    'IMAGE_SUFFIXES',
    'ImageReadError',
    'LoadRGBImage',
    'decode_rgb',
    'find_images',
    'list_images',
    'read_rgb',
]

MAX_BYTES = 1 << 30  # of a file, which is read as a whole
# Longest side of a picture, as in JPEG. Pillow resizes rows first: 1 x 80,000,000 pixels, within
# its limit, would become 286 x 80,000,000 on the way to 286 x 286.
MAX_SIDE = 65_535
# Scans of a JPEG. Progressive ones have about ten; each takes time in proportion to the
# picture, however few bytes it has. libtiff has the same limit for the JPEGs inside of TIFFs.
MAX_SCANS = 100

# Start of scan, length, number of components: five bytes that do not occur by chance.
_SCAN = re.compile(rb'\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)')
_reported: list[str] = []  # by tell_of_narrow
_LOOKS = 16  # pictures that a loader checks for it: deep ones are decoded twice
_AT_ONCE = getattr(os, 'O_NONBLOCK', 0)

Colour = int | tuple[int, int, int]


class ImageReadError(OSError):
    """A file that cannot be read as an image; the message names it, the reason and a remedy.

    Messages show names as ``repr`` does: line breaks, other control characters and bytes that are
    not UTF-8 are escaped, so that any name fits in one line of a log.

    Attributes:
        path: The file, as the caller named it; None if torch re-raised the error of a worker.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        # Of a worker's error, torch makes one with the worker's traceback as its message.
        last = message.rstrip().rpartition('\n')[2]
        super().__init__(last.removeprefix(f'{__name__}.{type(self).__name__}: '))
        self.path = path


def read_rgb(
    path: str | os.PathLike, background: Colour = 255, deep_range: Range | None = None
) -> np.ndarray:
    """Read an image file; see :func:`decode_rgb` for how each kind is converted.

    Args:
        path: A local file.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.
        deep_range: See :func:`decode_rgb`.

    Returns:
        A writable, contiguous uint8 array (H, W, 3), RGB, 0 to 255.

    Raises:
        ImageReadError: The file is missing, not accessible, empty, damaged, not an image, or too
            large.
    """
    name = os.fspath(path)
    return decode_rgb(read_file(name), name, background, deep_range)


def decode_rgb(
    data: bytes,
    name: str = '<bytes>',
    background: Colour = 255,
    deep_range: Range | None = None,
) -> np.ndarray:
    """Decode the bytes of an image file to 8-bit RGB.

    - grey, bi-level and palette images are expanded to three channels;
    - transparency (alpha, or a transparent colour) is composited on ``background``;
    - CMYK is converted without a profile; inverted Adobe JPEGs are read correctly;
    - integer greys of more than 8 bits are read as 16-bit: 0 to 65535 becomes 0 to 255 (v / 257);
      16-bit colour keeps its high byte (Pillow's decoder); if the file itself states fewer bits
      (TIFFs of 12, PGM and PPM with another maximum), its own maximum is white;
    - floating-point greys must lie in [0, 1], which becomes 0 to 255;
    - the EXIF orientation is applied;
    - only the first frame of an animation or a multi-page file is read;
    - a TIFF with more bands than colours and alpha is refused, unless a fourth band is one value.

    Only the content decides what a file is, not its name; :data:`FORMATS` are read. Decoding takes
    up to 19 bytes per pixel, including the 3 of the result: 1.7 GB for the largest picture that
    Pillow's limit of 89 million pixels lets through (tests/test_datasets).

    Args:
        data: The whole content of the file.
        name: What error messages call it.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.
        deep_range: The values (low, high) that become 0 and 255 in pictures of more than 8 bits a
            channel, integer or floating-point, for example (0, 4095) for 12 bits in a 16-bit file;
            values beyond are black or white. None: the whole range of the file, as above. Files
            that state their own white, and 8-bit pictures, are read as without it.

    Returns:
        A writable, contiguous uint8 array (H, W, 3), RGB, 0 to 255.

    Raises:
        ImageReadError: The data is empty, damaged, not an image, too large, or has values of an
            unknown scale.
        ValueError: ``background`` is not a colour, or ``deep_range`` is not a range.
    """
    return _decode(data, name, _check_colour(background), deep_range=check_deep_range(deep_range))[
        0
    ]


def decode_with_alpha(
    picture: bytes | Image.Image,
    name: str,
    deep_range: Range | None = None,
    channels: int = 3,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and transparency of a file's content or of a Pillow image.

    A Pillow image of any mode gives the pixels that a file of it would; it is not changed. By
    ``channels``, the pixels are

    - 3: those of :func:`decode_rgb`, on white;
    - 1: their luminance (ITU-R BT.601); greys stay as they are;
    - 2, 4: grey or RGB, and alpha (255 where there is none), without a background;
    - 2, 4, and 5 to 8: the bands of a TIFF that has that many, as they are stored; 16 bits become
      8 as those of greys.

    Args:
        picture: The whole content of a file, or a picture.
        name: What error messages call it.
        deep_range: See :func:`decode_rgb`.
        channels: Channels of the pixels, 1 to 8.

    Returns:
        uint8 (H, W, channels); and uint8 (H, W), 0 where the picture is transparent and 255 where
        it is opaque, None for pictures without transparency, and if alpha is one of the channels.

    Raises:
        ImageReadError: See :func:`decode_rgb`; or there are not that many channels.
        ValueError: See :func:`decode_rgb`; or ``channels`` is not such a number.
    """
    deep_range, white = check_deep_range(deep_range), (255, 255, 255)
    if check_channels(channels) not in (1, 3):
        return _decode(picture, name, white, deep_range=deep_range, channels=channels)[0], None
    with _converted(picture, name, white, deep_range) as (to_rgb, image):
        rgb = to_rgb()
        return _as_array(rgb.convert('L') if channels == 1 else rgb), _alpha(image)


def _decode(
    picture: bytes | Image.Image,
    name: str,
    background: tuple[int, int, int],
    scale: tuple[int, int] | None = None,
    interpolation: str = 'bilinear',
    deep_range: Range | None = None,
    keep_ratio: bool = False,
    channels: int = 3,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Pixels, resized to ``scale`` (width, height) or to cover it, and the shape before that.

    See :func:`decode_with_alpha`, with any background.
    """
    if channels not in (1, 3):
        pixels = _bands(picture, name, channels, deep_range)
        if pixels is None:
            pixels = _decode_alpha(picture, name, background, channels, deep_range)
        size = pixels.shape[1::-1] if scale is None else scale
        if keep_ratio:
            size = covering(size, pixels.shape[1::-1])
        return resize(pixels, size[1], size[0], interpolation), pixels.shape
    with _converted(picture, name, background, deep_range) as (to_rgb, _):
        rgb = to_rgb()
        shape = (rgb.height, rgb.width, channels)
        if channels == 1:
            rgb = rgb.convert('L')
        if scale is not None:
            size = covering(scale, rgb.size) if keep_ratio else scale
            rgb = rgb.resize(size, INTERPOLATIONS[interpolation])
        return _as_array(rgb), shape


def _load(image: Image.Image) -> None:
    """Decode a picture if it is not decoded yet.

    Pillow 13 maps the file of a plain TIFF into memory, with its sides exchanged if it is stored
    rotated by 90 degrees; without the name of the file it decodes.
    """
    name = getattr(image, 'filename', '')
    if not name or tiff_tags(image).get(ExifTags.Base.Orientation, 1) <= 4:
        image.load()
        return
    image.filename = ''
    try:
        image.load()
    finally:
        image.filename = name


def _as_array(image: Image.Image) -> np.ndarray:
    """A copy, (H, W, C): MMagic's Flip works in place."""
    return np.array(image).reshape(image.height, image.width, -1)


def _decode_alpha(
    picture: bytes | Image.Image,
    name: str,
    background: tuple[int, int, int],
    channels: int,
    deep_range: Range | None,
) -> np.ndarray:
    """Grey or RGB, and alpha."""
    mode = 'LA' if channels == 2 else 'RGBA'
    with _converted(picture, name, background, deep_range) as (to_rgb, image):
        if image.has_transparency_data and not is_deep_grey(image):
            return np.array(_with_alpha(image).convert(mode))  # with the hidden colours
        pixels = to_rgb().convert(mode)
        if (alpha := _alpha(image)) is not None:
            pixels.putalpha(Image.fromarray(alpha))
        return np.array(pixels)


def _bands(
    picture: bytes | Image.Image, name: str, channels: int, deep_range: Range | None
) -> np.ndarray | None:
    """Bands of a TIFF, uint8 (H, W, channels); ``None`` if Pillow can read that many channels."""
    data = b'' if isinstance(picture, Image.Image) else picture
    try:
        bands = read_bands(data, channels) if is_tiff(data) else None
    except BandsError as error:
        raise _error(name, str(error)) from error
    if bands is None:
        if channels in (2, 4):
            return None
        there = count_bands(data)
        has = f'a TIFF of {there} bands, not' if there else 'not a TIFF'
        raise _error(
            name,
            f'is {has} of {channels} bands, which channels={channels} asks for: leave it out, or '
            'give the number that all pictures have.',
        )
    return bands if bands.dtype == np.uint8 else stretch(bands, deep_range or (0, 65535))


def _opened(picture: bytes | Image.Image, name: str) -> AbstractContextManager[Image.Image]:
    """Open a file's picture, and close it at the end; a Pillow image stays open for the caller."""
    if isinstance(picture, Image.Image):
        return nullcontext(picture)
    if not picture:
        raise _error(name, 'is empty (0 bytes): replace or delete it.')
    return Image.open(io.BytesIO(picture), formats=FORMATS)


@contextmanager
def _explained(name: str, data: bytes | None) -> Iterator[None]:
    """Turn any error of Pillow's into an ImageReadError."""
    try:
        yield
    except ImageReadError:
        raise
    except UnidentifiedImageError as error:
        raise _error(name, what_is_unread(data or b'')) from error
    except Image.DecompressionBombError as error:
        raise _error(
            name, f'is too large to decode safely: {error} Scale the file down.'
        ) from error
    except MemoryError as error:
        raise _error(
            name,
            'cannot be decoded in the available memory: scale it down, or replace it if it is '
            'damaged.',
        ) from error
    except Exception as error:
        # Pillow's decoders pass on any error of their parsers in a damaged file: OSError,
        # SyntaxError, ValueError, EOFError, struct.error, zlib.error and more.
        what = type(error).__name__ + (f': {error}' if str(error) else '')
        if data is None:
            what = f'is damaged or truncated, or its file is closed ({what}): give the path.'
        else:
            what = f'is damaged or truncated ({what}): replace or delete it.'
        raise _error(name, what) from error


@contextmanager
def _converted(
    picture: bytes | Image.Image,
    name: str,
    background: tuple[int, int, int],
    deep_range: Range | None,
) -> Iterator[tuple[Callable[[], Image.Image], Image.Image]]:
    """Yield a function that makes RGB of a picture, and the upright picture in its own mode.

    Args:
        picture: A file's content, or a picture, which is not changed.
        name: What error messages call it.
        background: Colour behind transparent pixels.
        deep_range: See :func:`decode_rgb`.
    """
    data = None if isinstance(picture, Image.Image) else picture
    with _explained(name, data), _opened(picture, name) as image:
        _check_size(image, name)
        if data and image.format in ('JPEG', 'MPO'):  # MPO: a camera's, with a preview
            _check_scans(data, name)
        own = own_limits(image)
        clipped = deep_range is not None and own is None
        limits = own or deep_range or full_limits(image)
        deep_colour = clipped and is_deep_colour(image)
        _load(image)
        _check_bands(image, name, data)
        if deep_colour:
            image = _stretched(_deep_colour(image, name, data), image, limits)
        if data is None:
            image = ImageOps.exif_transpose(image)
        else:
            ImageOps.exif_transpose(image, in_place=True)
        yield partial(_to_rgb, image, name, background, limits, clipped), image


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Load ``results[f'{key}_path']`` into ``results[key]`` by :func:`decode_rgb`.

    The counterpart of MMagic's ``LoadImageFromFile``, with the same keys: adds ``key`` (uint8 RGB,
    (H, W, 3), 0 to 255), ``ori_{key}_shape``, ``{key}_channel_order`` ('RGB') and
    ``{key}_color_type`` ('color', or 'grayscale' for one channel). MMagic's data preprocessor
    knows the channel order from these last two only if ``PackInputs`` names them in its
    ``meta_keys``; otherwise it assumes BGR.

    With ``scale`` the picture is resized before it becomes an array, to the pixels of MMagic's
    ``Resize(scale, interpolation=interpolation, backend='pillow')`` after this step, in about half
    the time for large photographs. A horizontal ``Flip`` may come after resizing as well as
    before it: Pillow's weights of a mirrored row are the mirrored weights (tests/test_datasets).

    Args:
        key: Name of the image, for example ``'img_A'``.
        background: Colour shown behind transparent pixels, a grey or (R, G, B), each 0 to 255.
        backend_args: MMEngine file backend, for storage other than the local disk.
        scale: (width, height) in pixels to resize to, by a filter of Pillow's, antialiased; None
            leaves the size. ``ori_{key}_shape`` is that of the file in any case.
        interpolation: The filter, ``'bilinear'`` or ``'bicubic'``.
        deep_range: The values (low, high) that are black and white in pictures of more than 8 bits,
            see :func:`decode_rgb`; None for the whole range of the file.
        channels: Channels of the picture, 1 to 8; see :func:`decode_with_alpha`.
        keep_ratio: Keep the picture's aspect ratio: resize to the smallest size that covers
            ``scale``, for a crop after it.

    Attributes:
        cache: Cache of resized pictures, None for no cache; see
            ``UGATITDataset``'s ``cache``.

    Raises:
        ImageReadError: See :func:`decode_rgb`.
        TypeError: The path is neither a string nor a path.
        ValueError: ``background`` is not a colour, ``scale`` not a size, ``interpolation`` not a
            known filter, ``deep_range`` not a range or ``channels`` not such a number.
    """

    def __init__(
        self,
        key: str,
        background: Colour = 255,
        backend_args: dict | None = None,
        scale: tuple[int, int] | None = None,
        interpolation: str = 'bilinear',
        deep_range: Range | None = None,
        channels: int = 3,
        keep_ratio: bool = False,
    ) -> None:
        check_choice('interpolation', interpolation, INTERPOLATIONS)
        self.key = key
        self.background = _check_colour(background)
        self.backend_args = backend_args
        self.scale = None if scale is None else _check_scale(scale)
        self.interpolation = interpolation
        self.deep_range = check_deep_range(deep_range)
        self.channels = check_channels(channels)
        self.keep_ratio = keep_ratio
        self.cache: PictureCache | None = None
        self._looks = _LOOKS if deep_range is None else 0

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
            fields = (self.scale, self.background, self.interpolation, self.deep_range)
            more = (self.keep_ratio, self.channels)
            image, shape = self.cache.get(name, *fields, *more, self._decode)
        results[self.key] = image
        results[f'ori_{self.key}_shape'] = shape
        results[f'{self.key}_channel_order'] = 'RGB'
        results[f'{self.key}_color_type'] = 'grayscale' if self.channels == 1 else 'color'
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
        if self._looks:
            self._looks -= 1
            tell_of_narrow(data, path, partial(print_log, logger='current', level=logging.WARNING))
        fields = (self.background, self.scale, self.interpolation, self.deep_range)
        return _decode(data, path, *fields, self.keep_ratio, self.channels)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(key={self.key!r}, background={self.background}, '
            f'backend_args={self.backend_args}, scale={self.scale}, '
            f'interpolation={self.interpolation!r}, deep_range={self.deep_range}, '
            f'channels={self.channels}, keep_ratio={self.keep_ratio})'
        )


def _to_rgb(
    image: Image.Image,
    name: str,
    background: tuple[int, int, int],
    limits: Range,
    clipped: bool,
) -> Image.Image:
    """Convert a decoded image of any mode to RGB; an RGB image is returned as it is."""
    if is_deep_grey(image):
        rgb = Image.fromarray(_grey_to_uint8(image, name, limits, clipped)).convert('RGB')
        if 'transparency' in image.info:  # a grey value, in 16-bit PNGs
            rgb.paste(background, mask=Image.fromarray(_hidden(image)))
        return rgb
    if image.has_transparency_data:
        image = _with_alpha(image)
        image = Image.alpha_composite(Image.new('RGBA', image.size, (*background, 255)), image)
    return image if image.mode == 'RGB' else image.convert('RGB')


def _alpha(image: Image.Image) -> np.ndarray | None:
    """Transparency of a decoded image of any mode, uint8 (H, W); None if it has none."""
    if is_deep_grey(image):
        if 'transparency' not in image.info:
            return None
        return np.where(_hidden(image), np.uint8(0), np.uint8(255))
    return np.array(_with_alpha(image).getchannel('A')) if image.has_transparency_data else None


def _with_alpha(image: Image.Image) -> Image.Image:
    # Premultiplied grey has no direct conversion to RGBA.
    return (image.convert('LA') if image.mode == 'La' else image).convert('RGBA')


def _hidden(image: Image.Image) -> np.ndarray:
    return np.asarray(image) == image.info['transparency']


def _grey_to_uint8(image: Image.Image, name: str, limits: Range, clipped: bool) -> np.ndarray:
    """A one-channel image of more than 8 bits as uint8 (H, W).

    Args:
        image: The image.
        name: What error messages call it.
        limits: Values that become 0 and 255.
        clipped: Whether values beyond them are black and white, or an error.
    """
    grey = np.asarray(image)
    kind = 'floating-point' if image.mode == 'F' else 'integer'
    low, high = grey.min().item(), grey.max().item()
    if math.isnan(low):  # minimum and maximum propagate it
        raise _error(name, f'holds {kind} greys that are not numbers: convert it to 8 bits.')
    if not clipped and not limits[0] <= low <= high <= limits[1]:
        example = f' (deep_range={low:g},{high:g} for these)' if math.isfinite(high - low) else ''
        raise _error(
            name,
            f'holds {kind} greys from {low:g} to {high:g}; only {limits[0]} to {limits[1]} has a '
            f'known brightness: say which values are black and white{example}, or convert it to 8 '
            'bits.',
        )
    return stretch(grey, limits)


class Values(NamedTuple):
    """The values of a picture of more than 8 bits.

    Attributes:
        least: Smallest value of all channels but alpha.
        greatest: Largest value of the same.
        low: What becomes 0.
        high: What becomes 255.
        own: Whether the file states these itself; a ``deep_range`` then changes nothing.
    """

    least: float
    greatest: float
    low: float
    high: float
    own: bool

    @property
    def narrow(self) -> bool:
        """Whether they fill a quarter of the range or less, as 14 bits of 16, but are not equal."""
        used = min(self.greatest, self.high) - max(self.least, self.low)
        return self.least < self.greatest and 4 * used <= self.high - self.low

    def __str__(self) -> str:
        return f'values {self.least:g} to {self.greatest:g} of {self.low:g} to {self.high:g}'


def deep_values(picture: bytes | Image.Image, deep_range: Range | None = None) -> Values | None:
    """Look at the values of a picture of more than 8 bits.

    Args:
        picture: A file or a picture that :func:`decode_with_alpha` reads.
        deep_range: See :func:`decode_rgb`.

    Returns:
        Its values; None for pictures of 8 bits.
    """
    data = None if isinstance(picture, Image.Image) else picture
    if data and (channels := count_bands(data)) > 4:
        try:
            bands = read_bands(data, channels)
        except BandsError as error:
            raise _error('', str(error)) from error
        if bands is None or bands.dtype == np.uint8:
            return None
        limits = deep_range or (0, 65535)
        return Values(bands.min().item(), bands.max().item(), *limits, False)
    with _explained('', data), _opened(picture, '') as image:
        deep_colour = is_deep_colour(image)
        if not (deep_colour or is_deep_grey(image)):
            return None
        _check_size(image, '')
        own = own_limits(image)
        limits = own or deep_range or full_limits(image)
        _load(image)
        if deep_colour:
            deep = None if data is None else decode_deep_colour(data, image)
            if deep is None:
                return None
            values = deep[..., :3]
        else:
            values = np.asarray(image)
        return Values(values.min().item(), values.max().item(), *limits, own is not None)


def tell_of_narrow(picture: bytes | Image.Image, name: str, tell: Callable[[str], object]) -> None:
    """Report the first deep picture in a process that comes out nearly black, as 12 bits of 16 do.

    Args:
        picture: As for :func:`decode_with_alpha`; what cannot be read is not reported here.
        name: What the message calls it.
        tell: Called with the line.
    """
    if _reported:
        return
    with suppress(ImageReadError):
        if (values := deep_values(picture)) and values.narrow:
            _reported.append(name)
            tell(
                f'{shown(name)} has {values}, so it is nearly one brightness: if black and white '
                'are meant to be other values, give them as deep_range (--deep-range LOW HIGH); '
                'further pictures are not reported'
            )


def _deep_colour(image: Image.Image, name: str, data: bytes | None) -> np.ndarray:
    """Colours with all of their 16 bits, uint16 (H, W, 3 or 4)."""
    if data is None:
        raise _error(
            name,
            'has colours of 16 bits, of which Pillow keeps 8: for a deep_range give the path of '
            'the file.',
        )
    deep = decode_deep_colour(data, image)
    if deep is None:
        raise _error(
            name,
            f'has colours of 16 bits of which 8 are read ({image.mode}), and a deep_range needs '
            'them all: convert it to plain RGB of 16 bits, or to 8.',
        )
    return deep


def _stretched(deep: np.ndarray, image: Image.Image, limits: Range) -> Image.Image:
    """Colours of 16 bits as a picture of 8, with the transparency and orientation of ``image``."""
    rgb = Image.fromarray(stretch(deep[..., :3], limits))
    if image.mode == 'RGBA':
        rgb.putalpha(image.getchannel('A'))
    elif 'transparency' in image.info:  # a colour; OpenCV makes an alpha of it
        rgb.putalpha(Image.fromarray((deep[..., 3] >> 8).astype(np.uint8)))
    turn = ExifTags.Base.Orientation
    rgb.getexif()[turn] = image.getexif().get(turn, 1)
    return rgb


def _check_bands(image: Image.Image, name: str, data: bytes | None) -> None:
    """Refuse a TIFF with bands that Pillow does not read, unless they are constant."""
    tags, read = tiff_tags(image), len(image.getbands())
    if tags.get(277, 1) <= read:
        return
    if image.mode == 'RGB' and tags[277] == 4:  # the fourth may be padding to 32 bits
        if data is None:
            return
        bands = decode_every_band(data)
        if bands is not None and bands.shape[2] == 4 and np.ptp(bands[..., 3]) == 0:
            return
    raise _error(name, f'{describe_tiff(tags)}, of which {read} would be read. {of_bands(tags)}')


def _check_size(image: Image.Image, name: str) -> None:
    # Pillow only warns up to twice its limit; a data set should not hold such files.
    limit = Image.MAX_IMAGE_PIXELS
    size = f'{image.width}x{image.height}'
    if not image.width * image.height:
        raise _error(name, f'has no pixels ({size}): leave it out.')
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
            f'is too slow to decode: a JPEG of more than {MAX_SCANS} scans. Save it again.',
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
    """Read a whole regular file; opening a pipe does not wait for a writer.

    Raises:
        ImageReadError: It is not a regular file, is too large, or cannot be opened.
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
            return _error(name, f'is a link to {shown(os.readlink(name))}, which does not exist.')
        return _error(name, 'does not exist: check the path.')
    return _error(
        name,
        f'cannot be opened ({getattr(error, "strerror", None) or error}): '
        'check that it is a file and that you may read it.',
    )


def _error(name: str, reason: str) -> ImageReadError:
    return ImageReadError(f'{shown(name)} {reason}', name)
