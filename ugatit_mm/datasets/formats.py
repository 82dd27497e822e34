"""Which files are pictures, and what the others are."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from PIL import TiffImagePlugin

from ..pixels import MAX_CHANNELS, PNG_CHANNELS

# Pillow's names of the formats that are decoded, whatever the suffix. Of its other formats, EPS
# starts Ghostscript on the file, and several are slow or seldom looked at.
FORMATS: tuple[str, ...] = ('AVIF', 'BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')

IMAGE_SUFFIXES: tuple[str, ...] = (
    '.apng',
    '.avif',
    '.avifs',
    '.bmp',
    '.dib',
    '.gif',
    '.jfif',
    '.jpe',
    '.jpeg',
    '.jpg',
    '.mpo',
    '.pbm',
    '.pfm',
    '.pgm',
    '.png',
    '.pnm',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)
"""Suffixes that count as an image, in lower case; files are compared case-insensitively."""

HEIC_SUFFIXES = ('.heic', '.heif', '.hif')
HEIC_REMEDY = "HEIC needs pillow-heif: pip install 'ugatit_mm[heic]'"

try:
    import_module('pillow_heif').register_heif_opener()
except ImportError:  # the extra is not installed
    pass
else:
    FORMATS += ('HEIF',)
    IMAGE_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES + HEIC_SUFFIXES))

UNREAD_SUFFIXES = frozenset(
    (
        *HEIC_SUFFIXES,
        *('.ai', '.arw', '.cr2', '.cr3', '.cur', '.dcm', '.dcx', '.dds', '.dng', '.emf', '.eps'),
        *('.exr', '.fit', '.fits', '.hdr', '.icns', '.ico', '.j2c', '.j2k', '.jp2', '.jpf', '.jpx'),
        *('.jxl', '.jxr', '.nef', '.nii', '.nrrd', '.orf', '.pcx', '.psb', '.psd', '.qoi', '.raf'),
        *('.ras', '.rw2', '.sgi', '.svg', '.tga', '.wmf', '.xbm', '.xcf', '.xpm'),
    )
) - frozenset(IMAGE_SUFFIXES)
"""Suffixes of pictures in formats that are not read."""

CONVERT_BANDS = 'Write the bands to be seen to an RGB or grey file of 8 or 16 bits.'

_SAMPLES = {
    1: 'integers',
    2: 'signed integers',
    3: 'floating-point numbers',
    5: 'complex numbers',
    6: 'complex numbers',
}
_BRANDS = {
    **dict.fromkeys((b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis'), 'HEIC'),
    **dict.fromkeys((b'mif1', b'msf1'), 'HEIF'),
    b'crx ': 'Canon raw',
}
_STARTS = {
    b'\0\0\0\x0cjP  ': 'JPEG 2000',
    b'\xff\x4f\xff\x51': 'JPEG 2000',
    b'\0\0\0\x0cJXL ': 'JPEG XL',
    b'\xff\x0a': 'JPEG XL',
    b'8BPS': 'Photoshop',
    b'gimp xcf': 'GIMP',
    b'v/1\x01': 'OpenEXR',
    b'#?RADIANCE': 'Radiance HDR',
    b'DDS ': 'DDS',
    b'qoif': 'QOI',
    b'\0\0\1\0': 'Windows icon',
    b'\x93NUMPY': 'NumPy',
    b'%PDF': 'PDF',
    b'%!PS': 'PostScript',
}


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF, of 32 or of 64 bits."""
    return data.startswith((b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'))


def what_is_unread(data: bytes) -> str:
    """Say what a file is that no decoder of :data:`FORMATS` reads, and what to do.

    Args:
        data: Its whole content.
    """
    if is_tiff(data):
        tags = _read_tags(data)
        if 256 not in tags or 257 not in tags:
            return 'is damaged or truncated (a TIFF without a size): replace or delete it.'
        return (
            f'{describe_tiff(tags)}; only colours and greys of 8 or 16 bits, and greys of 32, are '
            f'read. {of_bands(tags)}'
        )
    kind = next((name for start, name in _STARTS.items() if data.startswith(start)), None)
    if data[4:8] == b'ftyp':
        kind = _BRANDS.get(data[8:12])
    elif data[128:132] == b'DICM':
        kind = 'DICOM'
    if kind in ('HEIC', 'HEIF'):
        if 'HEIF' in FORMATS:
            return 'is a damaged or truncated HEIC picture: replace or delete it.'
        return f'is a {kind} picture, as phones take them. {HEIC_REMEDY}, or save it as JPEG.'
    if kind is not None:
        return f'is a {kind} file, which is not read: save it as PNG or JPEG.'
    return (
        'is not an image of a known format (it may be a renamed or a text file, or a failed '
        'download): replace or delete it.'
    )


def of_bands(tags: Mapping[int, Any]) -> str:
    """What to do with a TIFF of more bands than can be shown.

    Args:
        tags: See :func:`describe_tiff`.
    """
    bands = tags.get(277, 1)
    if not PNG_CHANNELS < bands <= MAX_CHANNELS:
        return CONVERT_BANDS
    return (
        f'Networks trained with channels={bands} read all of them; for others w{CONVERT_BANDS[1:]}'
    )


def describe_tiff(tags: Mapping[int, Any]) -> str:
    """Describe the bands, bits, kind of numbers and size of a TIFF.

    Args:
        tags: Values by the format's tag numbers.
    """
    bands = tags.get(277, 1)
    bits = '/'.join(map(str, sorted(set(tags.get(258) or (1,)))))
    kind = _SAMPLES.get(max(tags.get(339) or (1,)), 'values of an unknown kind')
    return (
        f'is a TIFF of {tags[256]}x{tags[257]} pixels with {bands} '
        f'{"bands" if bands != 1 else "band"} of {bits}-bit {kind}'
    )


def _read_tags(data: bytes) -> Mapping[int, Any]:
    """The tags of a TIFF; a damaged one may lack some."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if b'+' in data[:4] else 8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        return dict(tags)
    except Exception:  # any error of the parser
        return {}
