"""Two folders of pictures become a data set: a split that is drawn once and saved."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..domains import DOMAINS, domain_names
from ..files import whole
from .folders import describe_left_out, list_folder, shown

SPLIT = 'split.json'
SEED = 0
SHARE = '10%'  # of each folder, for testing
TEST = re.compile(r'(\d+(?:\.\d+)?)(%?)')
LINKS: dict[str, Callable[[str, Path], Any]] = {
    'symbolic links': lambda source, path: os.symlink(source, path),
    'hard links': lambda source, path: os.link(os.path.realpath(source), path),
    'copies': lambda source, path: shutil.copy2(source, path),
}


class SplitError(RuntimeError):
    """Two folders cannot be split, or were split differently; the message says what to do."""


def names_of(a: str, b: str, given: Mapping[str, str]) -> dict[str, str]:
    """The names of the domains: those of the folders, where none are given.

    Args:
        a: Folder of A.
        b: Folder of B.
        given: Names by letter, or some of them.

    Raises:
        SplitError: They are the same, or one cannot be a domain's name.
    """
    folders = {x: os.path.basename(os.path.abspath(f)) for x, f in zip(DOMAINS, (a, b))}
    names = folders | given
    try:
        return domain_names(names)
    except ValueError as error:
        same = f'both folders are called {shown(names["A"])}' if names['A'] == names['B'] else error
        raise SplitError(
            f'{same}: name the domains, --cfg-options domains.A=NAME domains.B=NAME'
        ) from error


def check_test(test: str) -> str:
    """Return a share such as ``'10%'``, or a number of pictures such as ``'100'``, as it is typed.

    Raises:
        SplitError: It is neither.
    """
    found = TEST.fullmatch(test)
    if found is None or (float(found[1]) >= 100 if found[2] else not found[1].isdigit()):
        raise SplitError(
            '--test must be a share below 100% or a number of pictures of each folder, got '
            f'{test!r}'
        )
    return test


def share_of(data: Path, test: str | None) -> str:
    """The value of ``--test``: as given, else that of the existing split, else :data:`SHARE`.

    Raises:
        SplitError: See :func:`check_test`.
    """
    if test is None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            test = json.loads((data / SPLIT).read_text(encoding='utf-8'))['test']
    return check_test(SHARE if test is None else str(test))


def split_folders(a: str, b: str, data: Path, test: str) -> list[str]:
    """Make ``trainA``, ``trainB``, ``testA`` and ``testB`` of two folders, once.

    The pictures are those that training reads (:func:`list_folder`), under their names below the
    folder. Each is a symbolic link; if the system refuses those, a hard link, else a copy.
    ``split.json`` has the folders, the seed, the value of ``--test`` and all names. If it exists,
    the split stays as it is.

    Args:
        a: Folder of A.
        b: Folder of B.
        data: Folder to create, in one that exists; it is complete or absent.
        test: See :func:`check_test`.

    Returns:
        Lines to print: pictures that were added since, files that are not pictures.

    Raises:
        SplitError: A folder is missing, empty or has too few pictures, or one lies in the other;
            the existing split is of other folders or another share; ``data`` is something else.
        OSError: Something cannot be read or written.
    """
    folders = {x: os.path.abspath(f) for x, f in zip(DOMAINS, (a, b), strict=True)}
    _check_folders(folders, data)
    if (data / SPLIT).is_file():
        return _compare(folders, data, test)
    if data.exists():
        raise SplitError(f'{data} exists and has no {SPLIT}: choose another --work-dir')
    notes: list[str] = []
    split: dict[str, Any] = {'seed': SEED, 'test': test, 'links': '', **folders}
    for domain, folder in folders.items():
        images, left_out = list_folder(folder)
        if said := describe_left_out(left_out):
            notes.append(f'left out of {shown(folder)}: {said}')
        tested = _drawn(folder, images, test, domain)
        split[f'train{domain}'] = [name for name in images if name not in tested]
        if tested:
            split[f'test{domain}'] = sorted(tested)
    with whole(data, durable=False) as building:
        building.mkdir()
        split['links'] = _link(split, building)
        text = json.dumps(split, indent=1, ensure_ascii=True)
        (building / SPLIT).write_text(text, encoding='utf-8')
    if split['links'] != next(iter(LINKS)):
        notes.append(f'{data} has {split["links"]}, as this system refuses symbolic links')
    return notes


def _check_folders(folders: Mapping[str, str], data: Path) -> None:
    for option, folder in zip(('--a', '--b'), folders.values(), strict=True):
        if not os.path.isdir(folder):
            what = 'is a file' if os.path.exists(folder) else 'does not exist'
            raise SplitError(f'{option} {shown(folder)} {what}: give a folder of pictures')
    one, two, third = (Path(os.path.realpath(f)) for f in (*folders.values(), data))
    if one == two:
        raise SplitError(f'--a and --b are one folder, {shown(os.fspath(one))}: give two')
    for outer, inner in ((one, two), (two, one)):
        if outer in inner.parents:
            raise SplitError(
                f'{shown(inner)} lies inside of {shown(outer)}, whose pictures would be in both '
                'domains: move it out'
            )
    for outer in (one, two):
        if outer in third.parents:
            raise SplitError(
                f'the work dir {shown(third.parent)} lies inside of {shown(outer)}, and what '
                'training writes would be trained on: choose another --work-dir'
            )


def _drawn(folder: str, images: list[str], test: str, domain: str) -> set[str]:
    """The test pictures: a share is at least one picture."""
    if not images:
        raise SplitError(f'{shown(folder)} holds no picture')
    if test.endswith('%'):
        share = float(test[:-1]) / 100
        count = max(1, round(share * len(images))) if share else 0
    else:
        count = int(test)
    if count >= len(images):
        has = f'{len(images)} pictures' if len(images) > 1 else 'one picture'
        raise SplitError(
            f'{shown(folder)} has {has}, and --test {test} leaves none to train on: add pictures, '
            'or give a smaller --test (0 for none)'
        )
    return set(random.Random(f'{SEED} {domain}').sample(images, count))


def _link(split: Mapping[str, Any], building: Path) -> str:
    """Put all pictures in their places; return which of ``LINKS`` did it."""
    kinds = list(LINKS)
    for part in [f'{part}{domain}' for part in ('train', 'test') for domain in DOMAINS]:
        for name in split.get(part, ()):
            path = building / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    LINKS[kinds[0]](os.path.join(split[part[-1]], name), path)
                    break
                except (OSError, NotImplementedError):  # the latter where there are no symlinks
                    if len(kinds) == 1:
                        raise
                    kinds.pop(0)
    return kinds[0]


def _compare(folders: Mapping[str, str], data: Path, test: str) -> list[str]:
    """Check that a split is of these folders; return notes about what was added since."""
    file = data / SPLIT
    try:
        split = json.loads(file.read_text(encoding='utf-8'))
        was, names = split['test'], {x: split[x] for x in DOMAINS}
        parts = {x: {*split[f'train{x}'], *split.get(f'test{x}', ())} for x in DOMAINS}
    except (ValueError, KeyError, TypeError) as error:
        raise SplitError(f'{file} is not a split ({error}): choose another --work-dir') from error
    new = 'choose another --work-dir'
    if any(os.path.realpath(names[x]) != os.path.realpath(folders[x]) for x in DOMAINS):
        raise SplitError(
            f'{data} is a split of {shown(names["A"])} and {shown(names["B"])}: give these, or '
            f'{new}'
        )
    if test != was:
        raise SplitError(f'{data} was split with --test {was}, not {test}: leave it out, or {new}')
    notes = []
    for domain, folder in folders.items():
        there = {*list_folder(folder).images}
        if gone := sorted(parts[domain] - there):
            raise SplitError(
                f'{len(gone)} of the pictures in {file} are gone from {shown(folder)}, such as '
                f'{shown(gone[0])}: put them back, or {new}'
            )
        if came := len(there - parts[domain]):
            said = '1 picture came' if came == 1 else f'{came} pictures came'
            left = 'it is' if came == 1 else 'they are'
            notes.append(f'{said} to {shown(folder)} after the split: {left} left out')
    return notes
