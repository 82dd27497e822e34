"""The pictures of a folder, and its other files."""

from __future__ import annotations

import io
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from PIL import Image

from ..messages import listed, printable
from .formats import FORMATS, HEIC_REMEDY, HEIC_SUFFIXES, IMAGE_SUFFIXES, UNREAD_SUFFIXES

_LETTER = re.compile('[A-Za-z]')


class Listing(NamedTuple):
    """What a folder holds, paths relative to it, sorted.

    Attributes:
        images: Files that are read.
        left_out: Visible files that are not read.
    """

    images: list[str]
    left_out: list[str]


def find_images(folder: str | os.PathLike, known: Callable[[str], bool] | None = None) -> list[str]:
    """Find the images under a local folder: the first part of :func:`find_files`."""
    return find_files(folder, known)[0]


def find_files(
    folder: str | os.PathLike, known: Callable[[str], bool] | None = None
) -> tuple[list[str], list[str]]:
    """Find the images under a local folder, as :class:`UGATITDataset` does, and known files.

    Files that are left out are reported in one line on stderr, with counts.

    Args:
        folder: Searched recursively; links are followed, hidden files and folders left out.
        known: Says by name whether the caller reads another file: those are not left out.

    Returns:
        Paths of the images and of the known files, each in the order of their names relative to
        the folder.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        ValueError: It holds no image and no known file.
    """
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise NotADirectoryError(f'{shown(folder)} is a file; a folder of images is expected.')
        raise FileNotFoundError(f'There is no folder {shown(folder)}.')
    images, others = list_folder(folder)
    taken: list[str] = []
    left_out: list[str] = []
    for name in others:
        (taken if known and known(name) else left_out).append(name)
    said = describe_left_out(left_out)
    if not images and not taken:
        suffixes = ' '.join(IMAGE_SUFFIXES)
        beside = f': it has {said}' if said else ''
        raise ValueError(f'The folder {shown(folder)} holds no image ({suffixes}){beside}.')
    if said:
        print(f'left out of {shown(folder)}: {said}', file=sys.stderr)
    return (
        [os.path.join(folder, name) for name in images],
        [os.path.join(folder, name) for name in taken],
    )


def list_images(folder: str | os.PathLike, every_file: bool = False) -> list[str]:
    """The visible images under a local folder, sorted; see :func:`list_folder`.

    Args:
        folder: Searched recursively.
        every_file: Include other files; hidden ones never.

    Returns:
        Paths relative to ``folder``.

    Raises:
        OSError: A folder cannot be listed.
    """
    images, left_out = list_folder(folder)
    return sorted(images + left_out) if every_file else images


def list_folder(folder: str | os.PathLike) -> Listing:
    """Separate the visible images under a local folder from its other visible files.

    The suffix decides, or the content of a file without one. Links are followed, and each folder is
    entered once, however many links lead to it: loops of links end. What has an image's name but is
    not a file (a dangling link, a pipe) counts as an image, so that reading reports it.

    Args:
        folder: Searched recursively.

    Raises:
        OSError: A folder cannot be listed.
    """
    root = os.fspath(folder)
    images, left_out, entered, waiting = [], [], set(), ['']
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
                # The listing has the kinds of the entries; only links need a call each.
                if entry.is_dir(follow_symlinks=False) or (
                    entry.is_symlink() and os.path.isdir(entry.path)
                ):
                    below.append(name)
                    continue
                suffix = suffix_of(name)
                known = suffix in IMAGE_SUFFIXES if suffix else is_image(entry.path)
                (images if known else left_out).append(name)
        waiting += sorted(below, reverse=True)
    return Listing(sorted(images), sorted(left_out))


def is_visible(name: str) -> bool:
    """Whether no part of a relative path is hidden or an archiver's leftover."""
    return not any(map(_is_hidden, name.replace(os.sep, '/').split('/')))


def suffix_of(name: str) -> str:
    """The suffix of a file in lower case; '' for ``IMG_1``, ``12.30`` and ``Mr. B``."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if _LETTER.search(suffix) and ' ' not in suffix else ''


def is_image(file: str | os.PathLike | io.BytesIO) -> bool:
    """Whether the content of a file begins like that of a picture that is read."""
    try:
        if not isinstance(file, io.BytesIO) and not os.path.isfile(file):
            return False
        with Image.open(file, formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True  # reading reports the error
    except Exception:  # not a picture, or any error of the parser
        return False


def describe_left_out(names: Iterable[str]) -> str:
    """Count files that are left out by suffix, in words; '' if there are none.

    Args:
        names: ``left_out`` of :func:`list_folder`.
    """
    suffixes = Counter(suffix_of(name) for name in names)
    pictures = Counter({s: n for s, n in suffixes.items() if s in UNREAD_SUFFIXES})
    parts = []
    if total := pictures.total():
        remedy = ''
        if any(suffix in HEIC_SUFFIXES for suffix in pictures):
            remedy = f'; {HEIC_REMEDY}'
        kinds = 'a format' if len(pictures) == 1 else 'formats'
        parts.append(
            f'{total} {"picture" if total == 1 else "pictures"} of {kinds} not read '
            f'({_counts(pictures)}{remedy})'
        )
    if total := (others := suffixes - pictures).total():
        parts.append(f'{total} other {"file" if total == 1 else "files"} ({_counts(others)})')
    return ', '.join(parts)


def shown(name: str | os.PathLike) -> str:
    """A name in quotes that fits in one line of any terminal."""
    return repr(os.fspath(name))


def _counts(suffixes: Counter) -> str:
    ordered = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    return listed([f'{printable(s, 20) or "without a suffix"} {n}' for s, n in ordered])


def _is_hidden(part: str) -> bool:
    return part.startswith('.') or part == '__MACOSX'
