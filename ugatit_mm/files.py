"""Writing files whole or not at all; and names for result files."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

UNFINISHED = '.unfinished-'  # start of the names of folders that a file is built in


@contextmanager
def whole(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """Yield a place to write a file or a folder to, renamed to ``path`` if the block succeeds.

    A durable file is synchronised to the disk before, so that a power cut leaves the old file or
    the new one.

    Raises:
        OSError: It cannot be written; nothing of it is left.
    """
    path = Path(path)
    folder = tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent)
    try:
        building = Path(folder) / path.name
        yield building
        if durable:
            with open(building, 'rb') as file:
                os.fsync(file.fileno())
        os.replace(building, path)
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except KeyboardInterrupt:  # in the middle of it
            shutil.rmtree(folder, ignore_errors=True)
            raise
    if durable:
        _sync_folder(path.parent)


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Remove unfinished files of killed processes; no other may be writing in ``folder`` now."""
    for left in Path(folder).glob(f'{UNFINISHED}*'):
        shutil.rmtree(left, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Synchronise a new name to the disk, where folders can be opened (not on Windows)."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError:
        pass  # some network file systems do not support it
    finally:
        os.close(number)


def output_names(paths: list[str], root: str, suffix: str = '.png') -> dict[str, str]:
    """Choose the name of a picture for each source file, relative to the folder of its domain.

    Args:
        paths: Source files under ``root``.
        root: Folder of the domain.
        suffix: Of the names.

    Returns:
        dict: Relative names by path; no two are equal.

    Raises:
        ValueError: Two sources would still get the same name.
    """
    relative = {path: os.path.relpath(path, root) for path in paths}
    count = Counter(_stem(name).lower() for name in relative.values())
    names = {
        path: (name if count[_stem(name).lower()] > 1 else _stem(name)) + suffix
        for path, name in relative.items()
    }
    taken = Counter(names.values())
    if clash := [path for path, name in names.items() if taken[name] > 1]:
        raise ValueError(f'these sources would get one name, rename one: {clash}')
    return names


def unused(name: str, taken: set[str], endings: Sequence[str]) -> str:
    """Choose ``name``, or ``name_2`` and so on, whose files are not taken, and take them.

    Args:
        name: Path of a result, without what its files end in.
        taken: Paths that are in use, in lower case: some file systems ignore case.
        endings: Ends of the names of its files.
    """
    names = chain([name], (f'{name}_{i}' for i in count(2)))
    free = next(n for n in names if taken.isdisjoint((n + end).lower() for end in endings))
    taken.update((free + end).lower() for end in endings)
    return free


def identity(path: str | os.PathLike) -> tuple[int, int] | None:
    """Device and inode of a file, the same for all its names; ``None`` if there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
