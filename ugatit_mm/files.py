"""The one way a file appears: whole, or not at all; and names for result files."""

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
    """A place to write a file or a folder to, which takes the name ``path`` if the block ends well.

    Before that a file's content is on the disk, if it is to be durable, so that a power cut leaves
    the old file or the new one.

    Raises:
        OSError: It cannot be written; there is no trace of it then.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
        building = Path(folder) / path.name
        yield building
        if durable:
            with open(building, 'rb') as file:
                os.fsync(file.fileno())
        os.replace(building, path)
    if durable:
        _sync_folder(path.parent)


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Remove what killed processes were writing in ``folder``; nobody may be writing there now."""
    for left in Path(folder).glob(f'{UNFINISHED}*'):
        shutil.rmtree(left, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Put a new name on the disk, where folders can be opened (not on Windows)."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError:
        pass  # some network file systems know no such thing
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
        ValueError: Two sources would get one name all the same.
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
    """Choose ``name``, or ``name_2`` and so on, so that no file of it is taken; they are then.

    Args:
        name: Path of a result, without what its files end in.
        taken: Paths that are in use, in lower case: some file systems take upper for it.
        endings: Ends of the names of its files.
    """
    names = chain([name], (f'{name}_{i}' for i in count(2)))
    free = next(n for n in names if taken.isdisjoint((n + end).lower() for end in endings))
    taken.update((free + end).lower() for end in endings)
    return free


def identity(path: str | os.PathLike) -> tuple[int, int] | None:
    """What all names of a file have in common; ``None`` if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
