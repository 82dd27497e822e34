"""Resized pictures on disk, so that each is decoded once and not in every epoch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL

from ..files import whole
from ..pixels import covering
from .deep import Range

Picture = tuple[np.ndarray, tuple[int, int, int]]
"""Pixels, uint8 (H, W, C), and the shape of the file that they were resized from."""

_HEADER = np.dtype('<u4')  # the file's height and width, before the pixels


class PictureCache:
    """A folder with the pixels of each picture that :class:`LoadRGBImage` has resized.

    A picture takes channels * width * height + 8 bytes (245 KB at 286 px and 3 channels) on the
    disk and nothing in memory but the system's file cache. A file is named by a hash of the
    picture's path, length and time of change, of size, background, interpolation and range of deep
    pictures, and of Pillow's version: a picture that was changed is not found, and is decoded
    again. A file appears complete or not at all, so any number of workers, ranks and runs may share
    the folder, and any file in it may be deleted at any time.

    Args:
        folder: Created if it is absent.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def get(
        self,
        path: str,
        scale: tuple[int, int],
        background: tuple[int, int, int],
        interpolation: str,
        deep_range: Range | None,
        keep_ratio: bool,
        channels: int,
        decode: Callable[[str], Picture],
    ) -> Picture:
        """Return what ``decode(path)`` returns, from the folder if the picture is in it.

        Args:
            path: A local file.
            scale: (width, height) that ``decode`` resizes to, or covers.
            background: Colour that ``decode`` shows behind transparent pixels.
            interpolation: Filter that ``decode`` resizes by.
            deep_range: Values that ``decode`` takes as black and white in deep pictures.
            keep_ratio: Whether ``decode`` covers ``scale`` rather than resizing to it.
            channels: Channels of the picture.
            decode: Called if the picture is not in the folder.

        Raises:
            OSError: The folder cannot be written.
        """
        try:
            stat = os.stat(path)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return decode(path)  # which raises the error
        origin = (os.path.abspath(path), stat.st_size, stat.st_mtime_ns)
        made: tuple = (scale, background, interpolation, deep_range, channels)
        made += (keep_ratio,) if keep_ratio else ()
        key = repr((origin, *made, PIL.__version__))
        file = self.folder / hashlib.sha256(key.encode()).hexdigest()
        try:
            data = np.fromfile(file, np.uint8)
        except OSError:  # absent; anything worse shows when it is written
            data = np.empty(0, np.uint8)
        header = 2 * _HEADER.itemsize
        rows, columns = data[:header].view(_HEADER).tolist() if data.size > header else (1, 1)
        width, height = covering(scale, (columns, rows)) if keep_ratio else scale
        if (
            data.size != header + channels * width * height
        ):  # absent, or truncated by a crash of the machine
            picture, shape = decode(path)
            self._write(file, np.array(shape[:2], _HEADER).tobytes() + picture.tobytes())
            return picture, shape
        return data[header:].reshape(height, width, channels), (rows, columns, channels)

    def _write(self, file: Path, data: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole(file, durable=False) as building:
                building.write_bytes(data)
        except OSError as error:
            raise OSError(
                f"The data set's cache folder {str(self.folder)!r} cannot be written "
                f'({error.strerror or error}): a picture takes {len(data)} bytes there. Make room, '
                'choose another folder, or leave cache out.'
            ) from error
