"""Pictures that cannot be read, and that training skips."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Mapping, Sequence

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.logging import print_log

from .loading import ImageReadError

MAX_BAD_SHARE = 0.5
"""Share of a folder's pictures; if more cannot be read, something else is wrong."""


class BadPictures:
    """The pictures that could not be read so far, the same for all workers of a data loader.

    Each is logged once, when it is first met: an array in shared memory, under a lock, records
    which were. It decides what is logged and when a run ends, never what a sample is.

    Args:
        folders: The paths of the pictures, by the folder that holds them.
    """

    def __init__(self, folders: Mapping[str, Sequence[str]]) -> None:
        self.paths = [path for paths in folders.values() for path in paths]
        self._index = {path: index for index, path in enumerate(self.paths)}
        self._ranges, end = {}, 0
        for folder, paths in folders.items():
            self._ranges[folder] = range(end, end + len(paths))
            end += len(paths)
        self._met = multiprocessing.Array('B', end)  # 1: could not be read

    def add(self, error: ImageReadError) -> None:
        """Log a picture that could not be read, unless it was logged before.

        Raises:
            ImageReadError: So many pictures of its folder cannot be read that training must stop.
        """
        index = self._index[error.path]
        if self._is_first(index):
            _warn(f'training goes on without a picture: {error}')
        folder = next(name for name, where in self._ranges.items() if index in where)
        where = self._ranges[folder]
        count = sum(self._met[where.start : where.stop])
        if count > MAX_BAD_SHARE * len(where):
            raise ImageReadError(
                f'{count} of the {len(where)} pictures in {folder!r} cannot be read, more than '
                f'{MAX_BAD_SHARE:.0%} of them: check that the folder is complete and accessible. '
                f'The last: {error}',
                error.path,
            ) from error

    def share(self) -> None:
        """Log what other ranks could not read; all ranks must call this together."""
        met = torch.tensor(self._met[:], dtype=torch.uint8, device=get_device())
        all_reduce(met, 'max')
        for index in met.nonzero().flatten().tolist():
            if self._is_first(index):
                name = repr(self.paths[index])
                _warn(f'training goes on without a picture: {name} cannot be read on another rank')

    def _is_first(self, index: int) -> bool:
        with self._met.get_lock():
            first = not self._met[index]
            self._met[index] = 1
        return first


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
