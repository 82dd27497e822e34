"""What can be translated: files, folders, patterns, addresses, pictures in memory."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import requests
from PIL import Image
from torch import Tensor

from ..datasets.deep import Range
from ..datasets.folders import find_files
from ..datasets.loading import (
    ImageReadError,
    decode_with_alpha,
    read_file,
    tell_of_narrow,
)

MAX_DOWNLOAD = 50_000_000  # bytes
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
Picture = str | os.PathLike | np.ndarray | Image.Image | Tensor


class Source(NamedTuple):
    """A picture that has not been read yet.

    Attributes:
        name: Path, address, or ``picture 3``: what messages call it.
        relative: Path of its result below an output folder, without suffix.
        picture: The path, the address, or the picture itself.
    """

    name: str
    relative: str
    picture: Picture


class Failure(NamedTuple):
    """What could not be translated, and why."""

    name: str
    error: Exception


def is_video(path: object) -> bool:
    """Whether a path looks like a video."""
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).lower().endswith(VIDEO_SUFFIXES)


def names_file(path: str) -> bool:
    """Whether a path for results names a picture's or a video's file, not a folder."""
    suffix = os.path.splitext(path)[1].lower()
    return not os.path.isdir(path) and (
        suffix in VIDEO_SUFFIXES or suffix in Image.registered_extensions()
    )


def find_sources(
    inputs: Picture | Source | Iterable[Picture | Source],
    allow_url: bool = False,
    videos: bool = False,
) -> Iterator[Source | Failure]:
    """List the pictures that ``inputs`` names.

    Args:
        inputs: A file, a folder (with those below it), a pattern (``photos/*.jpg``; ``**`` is any
            folders), an address (``https://``), an array (H, W, C), a tensor (C, H, W), a PIL
            image, or any number of them.
        allow_url: Whether addresses may be fetched.
        videos: Whether to include the videos of a folder, after its pictures.

    Yields:
        Sources, and failures where a folder or a pattern has none.

    Raises:
        TypeError: Something else was given.
    """
    if isinstance(inputs, (str, os.PathLike, np.ndarray, Image.Image, Tensor, Source)):
        inputs = [inputs]
    for index, picture in enumerate(inputs):
        if isinstance(picture, Source):
            yield picture
        elif isinstance(picture, (np.ndarray, Image.Image, Tensor)):
            yield Source(f'picture {index}', f'picture_{index}', picture)
        elif isinstance(picture, (str, os.PathLike)):
            try:
                yield from _of_path(os.fspath(picture), allow_url, videos)
            except (OSError, ValueError) as error:
                yield Failure(os.fspath(picture), error)
        else:
            raise TypeError(
                'a picture is a path, an address, an array, a tensor or a PIL image, got '
                f'{type(picture).__name__}'
            )


def _of_path(path: str, allow_url: bool, videos: bool) -> Iterator[Source]:
    if _is_address(path):
        if not allow_url:
            raise ValueError('addresses are fetched only with allow_url (--allow-url)')
        name = os.path.basename(unquote(urlsplit(path).path)) or 'picture'
        yield Source(path, _stem(name), path)
    elif os.path.isdir(path):
        images, films = find_files(path, is_video if videos else None)
        for file in images + films:
            yield Source(file, _stem(os.path.relpath(file, path)), file)
    elif os.path.lexists(path) or not glob.has_magic(path):
        yield Source(path, _stem(os.path.basename(path)), path)
    else:
        files = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
        if not files:
            raise FileNotFoundError('no file fits this pattern')
        root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
        for file in files:
            yield Source(file, _stem(os.path.relpath(os.path.abspath(file), root)), file)


def read(picture: Picture, deep_range: Range | None = None, channels: int = 3) -> np.ndarray:
    """Read a picture as uint8, (H, W, channels); see :func:`read_with_alpha`."""
    return read_with_alpha(picture, deep_range, channels)[0]


def read_with_alpha(
    picture: Picture, deep_range: Range | None = None, channels: int = 3
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture as uint8, (H, W, channels), and its transparency.

    A path and its image by ``Image.open`` give the same pixels.

    Args:
        picture: A path, an address or a PIL image; or an array (H, W, C) or a tensor (C, H, W),
            uint8, or float32 or float64 in [0, 1]. It is not changed.
        deep_range: The values that are black and white in pictures of more than 8 bits, see
            :func:`decode_rgb`.
        channels: See :func:`decode_with_alpha`; an array may be RGB where 1 is asked for.

    Returns:
        As :func:`decode_with_alpha`.

    Raises:
        ImageReadError: It cannot be read, which the message explains.
        ValueError: An array of another shape or type, or with values outside of [0, 1].
        OSError: An address cannot be fetched.
    """
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()
        picture = np.moveaxis(picture, 0, -1) if picture.ndim == 3 else picture
    if isinstance(picture, np.ndarray):
        return _of_array(picture, channels), None
    content: bytes | Image.Image
    if isinstance(picture, Image.Image):
        content, name = picture, 'the PIL image'
    else:
        name = os.fspath(picture)
        content = _fetch(name) if _is_address(name) else read_file(name)
    if deep_range is None:
        tell_of_narrow(content, name, partial(print, file=sys.stderr))
    return decode_with_alpha(content, name, deep_range, channels)


def _of_array(picture: np.ndarray, channels: int) -> np.ndarray:
    if picture.dtype in (np.float32, np.float64) and picture.size:
        low, high = picture.min(), picture.max()
        if not (low >= 0 and high <= 1):  # NaN, too
            raise ValueError(
                f'an array of floats must lie in [0, 1], got {low:g} to {high:g}: scale it, or '
                'give uint8'
            )
        picture = np.rint(255 * picture).astype(np.uint8)
    if picture.dtype == np.uint8 and channels == 1:
        if picture.ndim == 2:
            picture = picture[..., None]
        elif picture.ndim == 3 and picture.shape[2] == 3 and picture.size:
            grey = Image.fromarray(np.ascontiguousarray(picture)).convert('L')
            picture = np.array(grey)[..., None]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != channels:
        kind = {1: 'grey or RGB', 3: 'RGB'}.get(channels, f'{channels} channels')
        shape = '(H, W) or (H, W, 3)' if channels == 1 else f'(H, W, {channels})'
        raise ValueError(
            f'an array must be {kind}, uint8 or float32 in [0, 1], {shape}, got {picture.dtype} '
            f'{picture.shape}'
        )
    if not picture.size:
        raise ImageReadError('the array has no pixels')
    return np.ascontiguousarray(picture)


def _is_address(path: str) -> bool:
    return path.startswith(('http://', 'https://'))


def _fetch(url: str) -> bytes:
    with requests.get(url, stream=True, timeout=(10, 30)) as answer:
        answer.raise_for_status()
        data = bytearray()
        for part in answer.iter_content(1 << 16):
            data += part
            if len(data) > MAX_DOWNLOAD:
                raise OSError(f'larger than {MAX_DOWNLOAD / 1e6:.0f} MB')
        return bytes(data)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
