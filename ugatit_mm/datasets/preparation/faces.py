"""Faces cut out of pictures, as the authors made selfie2anime.

They took the female photos of the Selfie data set by its attributes, found anime faces by the
lbpcascade_animeface cascade, left out monochrome pictures by hand, and brought small faces to
256 x 256 by a super-resolution network rather than by resizing.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ...converters import read_checkpoint
from ..loading import IMAGE_SUFFIXES, ImageReadError, find_images, read_rgb
from .similarity import HASH_BITS, NEAR, find_repeats, is_monochrome, near_pairs, perceptual_hash

OPENCV_CASCADE = os.path.join(cv2.data.haarcascades, 'haarcascade_frontalface_default.xml')

SELFIE_ATTRIBUTES = (  # noqa: SIM905, a list takes 36 lines
    'partial_faces is_female baby child teenager youth middle_age senior white black asian '
    'oval_face round_face heart_face smiling mouth_open frowning wearing_glasses '
    'wearing_sunglasses wearing_lipstick tongue_out duck_face black_hair blond_hair brown_hair '
    'red_hair curly_hair straight_hair braid_hair showing_cellphone using_earphone using_mirror '
    'braces wearing_hat harsh_lighting dim_lighting'
).split()
"""Columns of the Selfie data set's ``selfie_dataset.txt`` behind a name and a popularity score.

The file has no header. The order is the one that published programs reading the file agree on.
"""


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
    """A picture or a face that was left out; the coordinates are of the detector, if any."""

    source: str
    reason: str
    detail: str = ''
    x: int | None = None
    y: int | None = None


# -- choosing by attribute -----------------------------------------------------------------------


def choose_by_attributes(
    path: str | os.PathLike, wanted: dict[str, int]
) -> tuple[set[str], set[str]]:
    """Read an attribute file like the Selfie data set's and choose by it.

    A line has a name, a popularity score and 36 attributes, each -1, 0 or 1, apart by blanks.

    Args:
        path: The file.
        wanted: Attributes and the value that each must have.

    Returns:
        Names that have all of them, and all names of the file, without suffixes.

    Raises:
        ValueError: An attribute is unknown, or a line is not as said.
        OSError: The file cannot be read.
    """
    unknown = [name for name in wanted if name not in SELFIE_ATTRIBUTES]
    if unknown:
        raise ValueError(f'unknown attribute {unknown[0]}; known: {" ".join(SELFIE_ATTRIBUTES)}')
    columns = 2 + len(SELFIE_ATTRIBUTES)
    chosen, known = set(), set()
    with open(path, encoding='utf-8') as stream:
        for number, line in enumerate(stream, 1):
            words = line.split()
            if not words:
                continue
            if len(words) != columns or not {'-1', '0', '1'}.issuperset(words[2:]):
                raise ValueError(
                    f"'{path}', line {number}: a name, a score and {len(SELFIE_ATTRIBUTES)} "
                    f'values of -1, 0 or 1 are expected, got {len(words)} columns: '
                    f'{line.strip()[:60]}'
                )
            name = _bare(words[0])
            values = dict(zip(SELFIE_ATTRIBUTES, map(int, words[2:])))
            known.add(name)
            if all(values[attribute] == value for attribute, value in wanted.items()):
                chosen.add(name)
    return chosen, known


def _bare(file: str) -> str:
    """The name of an image without folder and suffix, with any other dots."""
    stem, suffix = os.path.splitext(os.path.basename(file))
    return stem if suffix.lower() in IMAGE_SUFFIXES else stem + suffix


# -- finding -------------------------------------------------------------------------------------


def load_cascade(path: str | os.PathLike = OPENCV_CASCADE) -> cv2.CascadeClassifier:
    """Load a cascade of OpenCV, for example ``lbpcascade_animeface.xml``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no cascade.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"'{path}' does not exist: give the cascade's XML file.")
    cascade = cv2.CascadeClassifier()
    try:
        loaded = cascade.load(os.fspath(path))
    except (cv2.error, SystemError):
        loaded = False
    if not loaded:
        raise ValueError(f"'{path}' is not a cascade that OpenCV can read.")
    return cascade


def detect(
    cascade: cv2.CascadeClassifier, image: np.ndarray, min_face: int
) -> list[tuple[int, int, int, int]]:
    """Find faces.

    Args:
        cascade: Of :func:`load_cascade`.
        image: RGB, uint8, (H, W, 3).
        min_face: Least side of a face in pixels.

    Returns:
        Boxes (x, y, width, height) in pixels, the largest first.
    """
    # The histogram is often equalised here. The detectors do without, as they look at contrasts
    # within a window; on a plain background it cost OpenCV's own a quarter of the faces.
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    boxes = cascade.detectMultiScale(grey, 1.1, 5, minSize=(min_face, min_face))
    boxes = [tuple(map(int, box)) for box in boxes]
    return sorted(boxes, key=lambda box: (-box[2] * box[3], box))


def square_around(
    box: tuple[int, int, int, int], enlarge: float, width: int, height: int
) -> tuple[int, int, int]:
    """The square around a box, inside the picture: nothing is invented beyond its edges.

    Args:
        box: x, y, width, height.
        enlarge: Side of the square over the longer side of the box.
        width: Of the picture.
        height: Of the picture.

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
    cascade: cv2.CascadeClassifier,
    enlarge: float = 1.5,
    min_face: int = 64,
    max_per_image: int | None = None,
    keep_monochrome: bool = False,
    near: int = NEAR,
) -> tuple[list[Face], list[int], list[Skipped]]:
    """Find the faces in pictures, without those of one tint and those that came before.

    Args:
        folder: Where the pictures are.
        files: Their paths below it.
        cascade: Of :func:`load_cascade`.
        enlarge: Side of the cut square over the side of the detected face.
        min_face: Least side of a detected face in pixels.
        max_per_image: Take so many of a picture, the largest; None: all.
        keep_monochrome: Keep faces in shades of one tint.
        near: Greatest distance, of 256 bits, at which a face or a picture repeats an earlier one.

    Returns:
        The faces; for each the number of its group; what was skipped. Faces of one picture, and of
        pictures that share a repeated face, are of one group and belong in the same split.

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
            image = read_rgb(os.path.join(folder, file))
        except ImageReadError as error:
            skipped.append(Skipped(file, 'unreadable', str(error)))
            continue
        boxes = detect(cascade, image, min_face)
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
        ValueError: ``count`` is negative, or nothing would be left to train.
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


# -- resizing ------------------------------------------------------------------------------------


class Upscaler:
    """A super-resolution network of MMagic: SRCNN, EDSR, RDN, ESRGAN, Real-ESRGAN, SwinIR, ...

    The network alone is built, ``model.generator`` of the config, as the losses beside it would
    download weights of their own. All of its weights must be in the checkpoint, which is read
    without running code from it; of an averaged generator, the average is taken.

    Args:
        config: MMagic's config of a model that reads RGB, as all of its super-resolution does.
        checkpoint: Weights.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: They do not fit together, or the network does not enlarge pictures.
    """

    def __init__(self, config: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
        cfg = Config.fromfile(config)
        weights = read_checkpoint(checkpoint)
        weights = weights.get('state_dict', weights)
        prefixes = [f'{name}.' for name in ('generator_ema', 'generator')]
        prefix = next((p for p in prefixes if any(key.startswith(p) for key in weights)), '')
        state = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        try:
            self.net = MODELS.build(cfg.model.generator).eval()
            self.net.load_state_dict(state)
        except (AttributeError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"'{checkpoint}' does not fit '{config}': {error}") from error
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.net.to(self.device)
        norm = cfg.model.get('data_preprocessor') or {}
        self.mean = self._channels(norm.get('mean', (0, 0, 0)))
        self.std = self._channels(norm.get('std', (255, 255, 255)))
        side = 48
        try:
            self.scale = len(self(np.zeros((side, side, 3), np.uint8))) / side
        except Exception as error:  # whatever a network of another kind does with a picture
            raise ValueError(f"'{config}' is no network for single pictures: {error}") from error
        if self.scale <= 1:
            raise ValueError(f"'{config}' does not enlarge: {side} pixels give {self.scale:g}x")
        kind = cfg.model.generator.type
        self.name = f'{kind} x{self.scale:g} ({os.path.basename(checkpoint)})'

    def _channels(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(-1, 1, 1)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Enlarge a picture, RGB, uint8, (H, W, 3)."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        out = self.net(((pixels.permute(2, 0, 1) - self.mean) / self.std)[None])[0]
        out = (out * self.std + self.mean).clamp(0, 255).round().byte()
        return out.permute(1, 2, 0).cpu().numpy()


def resize(crop: np.ndarray, size: int, upscaler: Upscaler | None = None) -> tuple[np.ndarray, str]:
    """Bring a square to ``size`` pixels.

    Args:
        crop: RGB, uint8, (S, S, 3).
        size: Wanted side.
        upscaler: Enlarges what is smaller than wanted; what then remains is done by Lanczos.

    Returns:
        RGB, uint8, (size, size, 3), and what did it.
    """
    done = []
    if upscaler is not None and len(crop) < size:
        crop = upscaler(crop)
        done.append(upscaler.name)
    if len(crop) != size:
        crop = np.array(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
        done.append('Lanczos')
    return crop, ' + '.join(done) or 'nothing'


# -- the whole -----------------------------------------------------------------------------------


def make_faces(
    source: str | os.PathLike,
    out: str | os.PathLike,
    cascade: str | os.PathLike = OPENCV_CASCADE,
    attributes: str | os.PathLike | None = None,
    wanted: dict[str, int] | None = None,
    size: int = 256,
    upscaler: Upscaler | None = None,
    domain: str | None = None,
    test: int = 0,
    seed: int = 0,
    **finding: float | bool | None,
) -> Counter:
    """Write the faces in the pictures of a folder as PNGs, with two tables of where from and why.

    Without ``domain``, PNGs and tables go to ``out``, which must be new or empty. With it, they go
    to ``trainA``, ``testA``, ``facesA.csv`` and ``skippedA.csv`` there (or B), which must not exist
    yet. The tables are written last: without them a run was not finished.

    Args:
        source: Folder of pictures, searched recursively as in training.
        out: Folder to write.
        cascade: Detector, see :func:`load_cascade`.
        attributes: File to choose by, see :func:`choose_by_attributes`.
        wanted: Attributes and values to choose; needs ``attributes``.
        size: Side of the PNGs in pixels.
        upscaler: For faces that are smaller.
        domain: 'A' or 'B'.
        test: Faces for the test set, see :func:`draw_test`; needs ``domain``.
        seed: Draws them.
        **finding: See :func:`find_faces`.

    Returns:
        How many faces were written to each folder, faces resized by what, and what was skipped why.

    Raises:
        FileExistsError: There is something in the way; nothing is overwritten.
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
    detector = load_cascade(cascade)
    files = [Path(path).relative_to(source).as_posix() for path in find_images(source)]
    left_out, counts = [], Counter()
    if attributes is not None:
        chosen, known = choose_by_attributes(attributes, wanted)
        counts['chosen, but no picture of that name'] = len(chosen.difference(map(_bare, files)))
        left_out = [
            Skipped(name, 'not chosen' if _bare(name) in known else 'not in the attribute file')
            for name in files
            if _bare(name) not in chosen
        ]
        files = [name for name in files if _bare(name) in chosen]
    faces, groups, skipped = find_faces(source, files, detector, **finding)
    skipped = left_out + skipped
    if not faces:
        why = ', '.join(f'{n} {r}' for r, n in Counter(s.reason for s in skipped).items())
        raise ValueError(f"no face to keep in '{source}' ({why}): another cascade, or --min-face?")
    in_test = draw_test(groups, test, seed)

    rows, image, opened = [], None, None
    for number, face in enumerate(tqdm(faces, unit='face', disable=None)):
        if face.source != opened:
            image, opened = read_rgb(source / face.source), face.source
        picture, by = resize(face.cut(image), size, upscaler)
        split = splits[number in in_test] if domain else ''
        file = f'{split}/{number:05d}.png'.lstrip('/')
        (out / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(out / file)
        rows.append({'file': file, **asdict(face), 'scale': f'{size / face.side:.3f}', 'by': by})
        counts[f'written to {out / split}'] += 1
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
