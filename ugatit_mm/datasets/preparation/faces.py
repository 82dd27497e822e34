"""Faces cut out of pictures, as the authors made selfie2anime.

They took the female photos of the Selfie data set by its attributes, found anime faces by the
lbpcascade_animeface cascade, left out monochrome pictures by hand, and enlarged small faces to
256 x 256 by a super-resolution network rather than by resizing.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ..deep import Range
from ..loading import ImageReadError, find_images, read_rgb
from .detectors import Box, Cascade, Detector
from .selfie_attributes import bare_name, choose_by_attributes
from .similarity import HASH_BITS, NEAR, find_repeats, is_monochrome, near_pairs, perceptual_hash
from .upscaling import Upscaler, resize


@dataclass(frozen=True)
class Face:
    """A face to cut out; pixels count from the top left corner of the upright source picture.

    Args:
        source: Path below the source folder.
        x, y, width, height: What the detector found.
        left, top, side: The square that is cut out.
    """

    source: str
    x: int
    y: int
    width: int
    height: int
    left: int
    top: int
    side: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The square from the source picture, (H, W, 3)."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True)
class Skipped:
    """A picture or a face that was left out; the coordinates are the detector's, if any."""

    source: str
    reason: str
    detail: str = ''
    x: int | None = None
    y: int | None = None


def square_around(box: Box, enlarge: float, width: int, height: int) -> tuple[int, int, int]:
    """The square around a box, inside the picture: nothing is padded beyond its edges.

    Args:
        box: x, y, width, height.
        enlarge: Ratio of the square's side to the longer side of the box.
        width: Width of the picture.
        height: Height of the picture.

    Returns:
        left, top, side. A square that leaves the picture is shifted inside; one that is larger
        than the picture becomes as large as fits.
    """
    x, y, w, h = box
    side = min(round(enlarge * max(w, h)), width, height)
    left = min(max(round(x + (w - side) / 2), 0), width - side)
    top = min(max(round(y + (h - side) / 2), 0), height - side)
    return left, top, side


def find_faces(
    folder: str | os.PathLike,
    files: Sequence[str],
    detector: Detector,
    enlarge: float = 1.5,
    min_face: int = 64,
    max_per_image: int | None = None,
    keep_monochrome: bool = False,
    near: int = NEAR,
    deep_range: Range | None = None,
) -> tuple[list[Face], list[int], list[Skipped]]:
    """Find the faces in pictures, except monochrome and repeated ones.

    Args:
        folder: Where the pictures are.
        files: Their paths below it.
        detector: Finds them.
        enlarge: Ratio of the cut square's side to that of the detected face.
        min_face: Minimum side of a detected face in pixels.
        max_per_image: Most faces of a picture to take, the largest first; None: all.
        keep_monochrome: Keep faces in shades of one tint.
        near: Greatest distance, of 256 bits, at which a face or a picture repeats an earlier one.
        deep_range: For pictures of more than 8 bits, see :func:`~ugatit_mm.datasets.decode_rgb`.

    Returns:
        The faces; for each the number of its group; what was skipped. Faces of one picture, and of
        pictures that share a repeated face, form one group and belong in the same split.

    Raises:
        ValueError: A number is out of range.
    """
    if enlarge <= 0 or min_face < 1 or not (max_per_image is None or max_per_image > 0) or near < 0:
        raise ValueError(
            'enlarge must be above 0, min_face and max_per_image at least 1, near at least 0; got '
            f'{enlarge}, {min_face}, {max_per_image}, {near}.'
        )
    found, skipped = [], []  # found: a face, its hash
    pictures = {}  # hashes of those with a face
    for file in tqdm(files, unit='file', disable=None):
        try:
            image = read_rgb(os.path.join(folder, file), deep_range=deep_range)
        except ImageReadError as error:
            skipped.append(Skipped(file, 'unreadable', str(error)))
            continue
        boxes = sorted(detector(image, min_face), key=lambda box: (-box[2] * box[3], box))
        if not boxes:
            skipped.append(Skipped(file, 'no face', f'of {min_face} pixels or more'))
        for number, box in enumerate(boxes):
            face = Face(file, *box, *square_around(box, enlarge, image.shape[1], image.shape[0]))
            crop = face.cut(image)
            if max_per_image is not None and number >= max_per_image:
                skipped.append(Skipped(file, 'more faces than asked for', '', face.x, face.y))
            elif not keep_monochrome and is_monochrome(crop):
                skipped.append(Skipped(file, 'monochrome', '', face.x, face.y))
            else:
                found.append((face, perceptual_hash(crop)))
        if found and found[-1][0].source == file:
            pictures[file] = perceptual_hash(image)

    # Whole pictures first: in two copies of one, the detector's squares may lie differently.
    names = list(pictures)
    repeats = find_repeats(*_near(pictures.values(), near))
    copies = {names[j]: f'{names[i]}, {d} of {HASH_BITS}' for j, (i, d) in repeats.items()}
    skipped += [Skipped(name, 'near-duplicate picture', copies[name]) for name in copies]
    found = [(face, bits) for face, bits in found if face.source not in copies]

    pairs, distances = _near([bits for _, bits in found], near)
    repeats = find_repeats(pairs, distances)
    for j, (i, distance) in repeats.items():
        face, first = found[j][0], found[i][0]
        detail = f'{first.source} ({first.x}, {first.y}), {distance} of {HASH_BITS}'
        skipped.append(Skipped(face.source, 'near-duplicate face', detail, face.x, face.y))

    numbers = {name: number for number, name in enumerate(names)}
    sources = np.array([numbers[face.source] for face, _ in found], int)
    rows, columns = sources[pairs].T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, components = connected_components(graph, directed=False)
    kept = [i for i in range(len(found)) if i not in repeats]
    return [found[i][0] for i in kept], components[sources[kept]].tolist(), skipped


def _near(hashes: Collection[np.ndarray], distance: int) -> tuple[np.ndarray, np.ndarray]:
    return near_pairs(np.reshape(list(hashes), (len(hashes), HASH_BITS)), distance)


def draw_test(groups: Sequence[int], count: int, seed: int) -> set[int]:
    """Draw whole groups until they hold ``count`` faces, or as many as fit.

    Args:
        groups: The group of each face.
        count: Faces for the test set.
        seed: Draws them.

    Returns:
        Indices of the faces.

    Raises:
        ValueError: ``count`` is negative, or nothing would be left to train on.
    """
    if not 0 <= count < len(groups):
        raise ValueError(f'cannot take {count} of {len(groups)} faces for the test set.')
    sizes = Counter(groups)
    drawn, total = set(), 0
    for group in np.random.default_rng(seed).permutation(sorted(sizes)).tolist():
        if total + sizes[group] <= count:
            drawn.add(group)
            total += sizes[group]
    return {index for index, group in enumerate(groups) if group in drawn}


def make_faces(
    source: str | os.PathLike,
    out: str | os.PathLike,
    detector: Detector | None = None,
    attributes: str | os.PathLike | None = None,
    wanted: dict[str, int] | None = None,
    size: int = 256,
    upscaler: Upscaler | None = None,
    domain: str | None = None,
    test: int = 0,
    seed: int = 0,
    deep_range: Range | None = None,
    **finding: float | bool | None,
) -> Counter:
    """Write the faces in a folder's pictures as PNGs, with tables of these and of what is skipped.

    Without ``domain``, PNGs and tables go to ``out``, which must be new or empty. With it, they go
    to ``trainA``, ``testA``, ``facesA.csv`` and ``skippedA.csv`` there (or B), which must not exist
    yet. The tables are written last: without them a run is not finished.

    Args:
        source: Folder of pictures, searched recursively as in training.
        out: Folder to write.
        detector: Finds the faces; None: OpenCV's own, for photographs.
        attributes: File to choose by, see :func:`choose_by_attributes`.
        wanted: Attributes and values to choose; needs ``attributes``.
        size: Side of the PNGs in pixels.
        upscaler: For faces smaller than ``size``.
        domain: 'A' or 'B'.
        test: Faces for the test set, see :func:`draw_test`; needs ``domain``.
        seed: Draws them.
        deep_range: For pictures of more than 8 bits, see :func:`~ugatit_mm.datasets.decode_rgb`.
        **finding: See :func:`find_faces`.

    Returns:
        Counts of faces written to each folder, by detector and by resizing, and of skipped ones by
        reason.

    Raises:
        FileExistsError: Something to write exists already; nothing is overwritten.
        OSError: A folder or file cannot be read or written.
        ValueError: No face was found, or an argument is wrong.
    """
    if size < 1:
        raise ValueError(f'size must be at least 1, got {size}.')
    if test and domain is None:
        raise ValueError('a test set needs a domain, A or B.')
    if (attributes is None) != (not wanted):
        raise ValueError('an attribute file and attributes to choose by go together.')
    source, out = Path(source), Path(out)
    suffix = domain or ''
    splits = [f'train{domain}', f'test{domain}'] if domain else ['']
    tables = [out / f'faces{suffix}.csv', out / f'skipped{suffix}.csv']
    _refuse_old([*(out / split for split in splits), *tables])
    detector = detector or Cascade()
    files = [Path(path).relative_to(source).as_posix() for path in find_images(source)]
    left_out, counts = [], Counter()
    if attributes is not None:
        chosen, known = choose_by_attributes(attributes, wanted)
        counts['chosen, but no picture of that name'] = len(
            chosen.difference(map(bare_name, files))
        )
        left_out = [
            Skipped(name, 'not chosen' if bare_name(name) in known else 'not in the attribute file')
            for name in files
            if bare_name(name) not in chosen
        ]
        files = [name for name in files if bare_name(name) in chosen]
    faces, groups, skipped = find_faces(source, files, detector, deep_range=deep_range, **finding)
    skipped = left_out + skipped
    if not faces:
        why = ', '.join(f'{n} {r}' for r, n in Counter(s.reason for s in skipped).items())
        raise ValueError(
            f"no face to keep in '{source}' ({why}): try another detector, or --min-face"
        )
    in_test = draw_test(groups, test, seed)

    rows, image, opened = [], None, None
    for number, face in enumerate(tqdm(faces, unit='face', disable=None)):
        if face.source != opened:
            image = read_rgb(source / face.source, deep_range=deep_range)
            opened = face.source
        picture, by = resize(face.cut(image), size, upscaler)
        split = splits[number in in_test] if domain else ''
        file = f'{split}/{number:05d}.png'.lstrip('/')
        (out / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(out / file)
        row = {'file': file, **asdict(face), 'detector': detector.name}
        rows.append({**row, 'scale': f'{size / face.side:.3f}', 'by': by})
        counts[f'written to {out / split}'] += 1
        counts[f'found by {detector.name}'] += 1
        counts[f'resized by {by}'] += 1
    _write_table(tables[0], list(rows[0]), rows)
    _write_table(tables[1], [f.name for f in fields(Skipped)], map(asdict, skipped))
    counts.update(f'skipped: {entry.reason}' for entry in skipped)
    return +counts


def _refuse_old(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir() and not any(path.iterdir()):
            continue
        if os.path.lexists(path):
            raise FileExistsError(f"'{path}' exists already: choose another folder to write to.")


def _write_table(path: Path, columns: list[str], rows: Iterable[dict]) -> None:
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
