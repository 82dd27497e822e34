"""Find the four folders in a source, and which of its domains is A."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..folders import is_image, is_visible, suffix_of
from ..formats import IMAGE_SUFFIXES
from .archives import ARCHIVE_SUFFIXES, LIMITS, Entry, iter_entries
from .paper_sets import PaperSet

FOLDERS = ('trainA', 'trainB', 'testA', 'testB')

_CANONICAL = {folder.casefold(): folder for folder in FOLDERS}
_OTHER_DOMAIN = str.maketrans('AB', 'BA')


@dataclass(frozen=True)
class Layout:
    """What a source holds.

    Args:
        images: Path in the source -> ``FOLDER/path below it``, FOLDER in our order of domains.
        swapped: Whether the source has the domains in the other order.
        reason: How that was determined.
        outside: Images that are in none of the four folders.
        others: Visible files that are not images.
        archives: Paths of archives inside the source.
    """

    images: dict[str, str]
    swapped: bool
    reason: str
    outside: int
    others: list[str]
    archives: list[str]

    def counts(self) -> dict[str, int]:
        return count_folders(self.images.values())


def find_layout(
    source: str | os.PathLike, paper_set: PaperSet, paper: dict[str, int], swap: bool | None
) -> Layout:
    """List a source and find ``trainA trainB testA testB`` in it, at any depth and in any case.

    Args:
        source: An archive or a folder.
        paper_set: Which data set it should be.
        paper: The paper's number of images by folder.
        swap: Whether trainA is our domain B; None determines it.

    Raises:
        ArchiveError: See :func:`iter_entries`.
        ValueError: There are no such folders, those of several sets, or a folder is missing; or
            it is unclear which domain is which.
    """
    by_root: dict[str, dict[str, str]] = {}
    outside, others, archives = 0, [], []
    for entry in iter_entries(source):
        visible = is_visible(entry.name)
        if not (visible and _is_image(entry)):
            if visible:
                others.append(entry.name)
            if entry.name.lower().endswith(ARCHIVE_SUFFIXES):
                archives.append(entry.name)
            continue
        parts = entry.name.split('/')
        depth = next(
            (i for i, part in enumerate(parts[:-1]) if part.casefold() in _CANONICAL), None
        )
        if depth is None:
            outside += 1
            continue
        key = '/'.join([_CANONICAL[parts[depth].casefold()], *parts[depth + 1 :]])
        by_root.setdefault('/'.join(parts[:depth]), {})[entry.name] = key
    root = _choose_root(source, paper_set, by_root, archives)
    images = by_root.pop(root)
    swapped, reason = _find_swap(source, root, paper_set, images, paper, swap)
    if swapped:
        images = {member: _swap_domain(key) for member, key in images.items()}
    outside += sum(map(len, by_root.values()))
    return Layout(images, swapped, reason, outside, others, sorted(archives))


def _is_image(entry: Entry) -> bool:
    """Whether training will find an entry as an image in the folder that is written."""
    if suffix := suffix_of(entry.name):
        return suffix in IMAGE_SUFFIXES
    return entry.size <= LIMITS.file_bytes and is_image(io.BytesIO(entry.read()))


def count_folders(paths: Iterable[str]) -> dict[str, int]:
    """The number of paths in each of the four folders, which they begin with."""
    counts = Counter(path.split('/')[0] for path in paths)
    return {folder: counts[folder] for folder in FOLDERS}


def _choose_root(
    source: str | os.PathLike, paper_set: PaperSet, by_root: dict, archives: list[str]
) -> str:
    if not by_root:
        inside = f'. It holds an archive, {archives[0]!r}: unpack and give that' if archives else ''
        raise ValueError(
            f"'{source}' has no images in folders {', '.join(FOLDERS)}, at any depth{inside}"
        )
    named = [root for root in by_root if _named_order(root, paper_set) is not None]
    candidates = list(by_root) if len(by_root) == 1 else named
    if len(candidates) != 1:
        roots = ', '.join(repr(root or '.') for root in sorted(by_root))
        raise ValueError(
            f"'{source}' holds several data sets, in {roots}: give the one that is {paper_set.name}"
        )
    return candidates[0]


def _find_swap(
    source: str | os.PathLike,
    root: str,
    paper_set: PaperSet,
    images: dict[str, str],
    paper: dict[str, int],
    swap: bool | None,
) -> tuple[bool, str]:
    if swap is not None:
        return swap, 'as asked for'
    counts = count_folders(images.values())
    # Where the paper drew the test images itself, its training numbers count all images.
    found = [
        counts[f'train{domain}'] + paper_set.random_test * counts[f'test{domain}']
        for domain in 'AB'
    ]
    wanted = [paper['trainA'], paper['trainB']]
    if (found == wanted) != (found[::-1] == wanted):
        order = '' if found == wanted else ', exchanged'
        return found != wanted, f"its {found[0]} and {found[1]} images are the paper's{order}"
    for name in reversed([Path(source).name, *root.split('/')]):
        order = _named_order(name, paper_set)
        if order is not None:
            return order, f"its name is '{name}'"
    if paper_set.swapped is None:
        a, b = paper_set.domains
        raise ValueError(
            f"it is unclear whether trainA in '{source}' is {a} or {b}: its numbers of images, "
            f"{found[0]} and {found[1]}, are not the paper's, {wanted[0]} and {wanted[1]}, and it "
            f'is named neither {paper_set.name} nor {paper_set.reverse}. Look, and give --swap no '
            f'if trainA is {a}, --swap yes if it is {b}'
        )
    return paper_set.swapped, 'as published'


def _named_order(name: str, paper_set: PaperSet) -> bool | None:
    """Whether a name says that A and B are swapped; None if it says nothing."""
    for direction, swapped in ((paper_set.name, False), (paper_set.reverse, True)):
        if direction in name.casefold():
            return swapped
    return None


def _swap_domain(key: str) -> str:
    folder, rest = key.split('/', 1)
    return f'{folder.translate(_OTHER_DOMAIN)}/{rest}'
