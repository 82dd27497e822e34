"""TIFFs of any number of bands, which Pillow does not read or cuts to three."""

from __future__ import annotations

import io
import logging
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .formats import is_tiff

if TYPE_CHECKING:
    from tifffile import TiffPage

# TIFF's numbers of the compressions that tifffile decodes without another package: none, and
# deflate under two numbers.
COMPRESSIONS = (1, 8, 32946)


for _name in ('tifffile', 'PIL.TiffImagePlugin'):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what they log is raised as well


class BandsError(ValueError):
    """A TIFF whose bands cannot be read; the message has the reason and a remedy."""


def count_bands(data: bytes) -> int:
    """Number of bands of a TIFF's first picture; 0 for any other file and for a damaged one."""
    if not is_tiff(data):
        return 0
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return file.pages.first.samplesperpixel
    except Exception:  # as below
        return 0


def read_bands(data: bytes, channels: int) -> np.ndarray | None:
    """Read a TIFF's first picture if it has the wanted number of bands.

    Args:
        data: The whole file.
        channels: Wanted number of bands.

    Returns:
        uint8 or uint16, (H, W, channels); ``None`` for a picture with another number of bands.

    Raises:
        BandsError: Its values or its compression are not supported, or it is too large or damaged.
    """
    import tifffile  # here: a tenth of a second

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            if page.samplesperpixel != channels:
                return None
            _check(page, data)
            values = page.asarray()
            if page.planarconfig == 2:
                values = values.transpose(1, 2, 0)
            if values.shape != (page.imagelength, page.imagewidth, channels):
                raise ValueError(f'pixels of shape {values.shape}')
    except BandsError:
        raise
    except Exception as error:  # the parser may raise anything on a damaged file
        raise BandsError(
            f'is damaged or truncated ({type(error).__name__}: {error}): replace or delete it.'
        ) from error
    return np.ascontiguousarray(values)


def _check(page: TiffPage, data: bytes) -> None:
    """Refuse what is not supported, before anything is decoded."""
    limit = Image.MAX_IMAGE_PIXELS
    width, height = page.imagewidth, page.imagelength
    if not width * height:
        raise BandsError('has no pixels: replace or delete it.')
    if limit is not None and width * height > limit:
        raise BandsError(
            f"is too large to decode safely: {width}x{height} pixels exceed Pillow's limit of "
            f'{limit}. Scale the file down.'
        )
    if page.dtype not in (np.uint8, np.uint16):
        kind = 'unknown values' if page.dtype is None else f'values of type {page.dtype}'
        raise BandsError(f'holds {kind}; only unsigned 8 and 16 bits are read: convert it.')
    if page.compression not in COMPRESSIONS:
        name = getattr(page.compression, 'name', page.compression)
        raise BandsError(
            f'is compressed by {name}, which is not read in a TIFF with bands: save it without '
            'compression, or with deflate.'
        )
    if (turned := page.tags.get('Orientation')) and turned.value != 1:
        raise BandsError(f'is stored rotated (orientation {turned.value}): save it upright.')
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        _check_segment(page, data[offset : offset + count], count)


def _check_segment(page: TiffPage, segment: bytes, count: int) -> None:
    """Refuse a strip or tile that is truncated, or decodes to more bytes than its pixels take."""
    if not count or len(segment) < count:
        raise ValueError(f'a strip of {count} bytes ends after {len(segment)}')
    if page.compression != 1:
        most = page.dtype.itemsize * math.prod(page.chunks)
        decoder = zlib.decompressobj()
        if len(decoder.decompress(segment, most + 1)) > most:
            raise ValueError(f'a strip decodes to more than its {most} bytes')
