"""The questions: sources with the methods' results, and the order in which a person sees them."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..datasets.loading import decode_rgb, find_images
from ..files import output_names

MAX_METHODS = 9  # keys 1 to 9


class Picture(NamedTuple):
    """A file, and the SHA-256 of its content when the study was opened."""

    path: Path
    sha256: str

    def for_browser(self) -> tuple[bytes, str]:
        """Return content and media type.

        Eight-bit RGB and grey PNGs and JPEGs are sent unchanged. Others become a PNG of what the
        networks see: no browser shows a TIFF, and transparency must not show the page's background.

        Raises:
            ValueError: The file has changed since the study was opened.
            OSError: It cannot be read.
        """
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ValueError(f"'{self.path}' has changed since the study was opened: start again.")
        with Image.open(io.BytesIO(data)) as image:
            plain = image.mode in ('L', 'RGB') and not image.has_transparency_data
            if plain and image.format in ('JPEG', 'PNG') and getattr(image, 'n_frames', 1) == 1:
                return data, f'image/{image.format.lower()}'
        png = io.BytesIO()
        Image.fromarray(decode_rgb(data, str(self.path))).save(png, 'PNG')
        return png.getvalue(), 'image/png'


@dataclass(frozen=True)
class Study:
    """One data set's questions: for each source, which method's result is preferred?

    Args:
        dataset: Name of the data set, the column of Table 2.
        question: The question, plain text.
        methods: Names of the methods, 2 to 9.
        sources: Source pictures by name (relative path without suffix).
        results: For the same names, the pictures by method.
        seed: Seed of both orders.
        per_person: Questions that one person answers; None for all.
    """

    dataset: str
    question: str
    methods: tuple[str, ...]
    sources: dict[str, Picture]
    results: dict[str, dict[str, Picture]]
    seed: int = 0
    per_person: int | None = None

    def __post_init__(self) -> None:
        for words in (self.dataset, self.question, *self.methods):
            if not words.strip() or not words.isprintable():
                raise ValueError(f'a name or question is empty or not one line of text: {words!r}.')
        if not 0 <= self.seed < 2**63:
            raise ValueError(f'seed must be from 0 to 2**63 - 1, got {self.seed}.')
        if self.per_person is not None and not 1 <= self.per_person <= len(self.sources):
            raise ValueError(
                f'per_person must be from 1 to the {len(self.sources)} sources, '
                f'got {self.per_person}.'
            )

    @property
    def digest(self) -> str:
        """SHA-256 of names and contents of all pictures, independent of their location."""
        words = [
            [name, source.sha256, sorted((m, p.sha256) for m, p in self.results[name].items())]
            for name, source in sorted(self.sources.items())
        ]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()

    def questions(self, person: str) -> list[str]:
        """Return the names of the sources in this person's order."""
        return self._shuffled(self.sources, person)[: self.per_person]

    def slots(self, person: str, source: str) -> list[str]:
        """Return the methods in this person's order for this source."""
        return self._shuffled(self.methods, person, source)

    def _shuffled(self, items: Iterable[str], *key: str) -> list[str]:
        # Sorted by hash: the same on every machine and version, for a person who returns.
        def rank(item: str) -> bytes:
            return hashlib.sha256(json.dumps([self.seed, *key, item]).encode()).digest()

        return sorted(items, key=rank)


def collect(
    sources: str | os.PathLike,
    methods: dict[str, str | os.PathLike],
    dataset: str,
    question: str,
    seed: int = 0,
    per_person: int | None = None,
) -> Study:
    """Pair the sources with the methods' results, reading every picture once.

    A source ``some/photo.jpg`` belongs to ``some/photo.*`` of a method. Sources that differ only in
    their suffix belong to ``photo.jpg.*`` and ``photo.bmp.*``, as ``tools/test.py`` writes them.
    Pictures of a method without a source are ignored.

    Args:
        sources: Folder of the source pictures, with sub-folders; its content determines the
            questions.
        methods: Folder of the results, by the method's name.
        dataset: See :class:`Study`.
        question: The question.
        seed: Seed of both orders.
        per_person: Questions that one person answers; None for all.

    Raises:
        OSError: A folder is missing, or a method lacks the result of a source.
        ImageReadError: A picture is damaged.
        ValueError: A folder holds no picture, a link that leads out of it, or two results of a
            source; the methods are too few or too many, or two of them are one folder.
    """
    if not 2 <= len(methods) <= MAX_METHODS:
        raise ValueError(f'a study needs 2 to {MAX_METHODS} methods, got {len(methods)}.')
    folders = {name: Path(folder).resolve() for name, folder in methods.items()}
    if len(set(folders.values())) < len(folders):
        raise ValueError(f'two methods are the same folder: {_listed(map(str, methods.values()))}.')
    found = _scan(sources)
    by_name = {
        name.removesuffix('.png'): found[relative]
        for relative, name in output_names(list(found), '.').items()
    }
    paired = {name: _paired(list(by_name), name, folder) for name, folder in methods.items()}
    return Study(
        dataset,
        question,
        tuple(methods),
        {name: _read(path) for name, path in by_name.items()},
        {name: {m: _read(paths[name]) for m, paths in paired.items()} for name in by_name},
        seed,
        per_person,
    )


def _paired(names: list[str], method: str, folder: str | os.PathLike) -> dict[str, Path]:
    """Return the method's result for each of these sources."""
    results = defaultdict(list)
    for relative, path in _scan(folder).items():
        results[os.path.splitext(relative)[0]].append(path)
    if missing := [name for name in names if name not in results]:
        raise FileNotFoundError(
            f"the method '{method}' lacks {len(missing)} of {len(names)} sources in '{folder}': "
            f'{_listed(f"{name}.png" for name in missing)}. Add them, or make a folder of the '
            'sources that all methods have.'
        )
    if several := [name for name in names if len(results[name]) > 1]:
        raise ValueError(
            f"the method '{method}' has several results for one source: "
            f'{_listed(str(path) for path in results[several[0]])}. Keep one of them.'
        )
    return {name: results[name][0] for name in names}


def _scan(folder: str | os.PathLike) -> dict[str, Path]:
    """Return every picture in the folder and its sub-folders by its relative name."""
    root = Path(folder).resolve()
    found = {}
    for path in map(Path, find_images(root)):
        if not path.resolve().is_relative_to(root):
            raise ValueError(
                f"'{path}' leads to '{path.resolve()}': only pictures inside the given folder are "
                'shown. Copy it there, or give the folder that holds it.'
            )
        if not str(path).isprintable():
            raise ValueError(f'{str(path)!r} has a name that cannot be stored: rename it.')
        found[path.relative_to(root).as_posix()] = path
    return found


def _read(path: Path) -> Picture:
    data = path.read_bytes()
    decode_rgb(data, str(path))  # find a damaged picture now, not during a person's answers
    return Picture(path, hashlib.sha256(data).hexdigest())


def _listed(words: Iterable[str]) -> str:
    """Join the first three words."""
    words = list(words)
    return ', '.join(words[:3]) + (', …' if len(words) > 3 else '')
