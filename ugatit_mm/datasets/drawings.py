"""Photographs, and drawings of others: unpaired data whose ideal translations are known."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from ..files import whole
from ..messages import check_choice, check_counts
from .folders import find_images
from .loading import read_rgb

IDEAL = 'ideal'
"""Folder of the drawings of ``testA``, under the same names."""

SOURCES = 'sources.csv'
"""Table with the source picture of each file."""

_PAPER = np.array([250, 245, 233], np.float32)  # RGB, a warm white
_CHARCOAL = np.array([46, 44, 50], np.float32)


def charcoal_drawing(photo: np.ndarray) -> np.ndarray:
    """Redraw a photograph in charcoal: dark outlines and two tones of shading on warm paper.

    Args:
        photo: uint8 (H, W, 3), RGB.

    Returns:
        uint8 (H, W, 3), RGB; the same for the same photograph.
    """
    light = _drawn(photo)[..., None]
    return np.rint(_CHARCOAL + (_PAPER - _CHARCOAL) * light).astype(np.uint8)


def ink_drawing(photo: np.ndarray) -> np.ndarray:
    """Redraw a photograph in ink: as in charcoal, black on white, with more contrast.

    Args:
        photo: uint8 (H, W, 3), RGB.

    Returns:
        uint8 (H, W, 3), RGB; the same for the same photograph.
    """
    light = np.clip(1.15 * _drawn(photo) - 0.05, 0, 1)[..., None]
    return np.rint(255 * light).astype(np.uint8).repeat(3, axis=2)


STYLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'charcoal': charcoal_drawing,
    'ink': ink_drawing,
}


def _drawn(photo: np.ndarray) -> np.ndarray:
    """Lightness of the drawing, float32 (H, W), from 0 up to 1."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    pixel = max(photo.shape[:2]) / 128

    def blurred(sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(grey, (0, 0), sigma * pixel)

    # A difference of Gaussians is negative on the dark side of an edge; a soft step makes it ink
    # (Winnemoeller, "XDoG", NPAR 2011).
    lines = _soft_step(60 * (blurred(0.9) - blurred(3.2)) + 2.2)
    shades = _soft_step(9 * (blurred(1.2) - 0.38))
    return lines * (0.35 + 0.65 * shades)


def photos_and_drawings(
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    style: str,
    num_train: int,
    num_test: int,
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Make the pictures of ``trainA``, ``trainB``, ``testA`` with ``ideal``, ``testB`` in turn.

    Args:
        names: Names of photographs; the first ones are used.
        read: Returns the pixels of one, uint8 (H, W, 3), RGB.
        style: One of ``STYLES``.
        num_train: Pictures of each domain to train on.
        num_test: Pictures of each domain to test.

    Yields:
        Relative path, name of the photograph, pixels.
    """
    left = iter(names)
    parts = (  # folders of the photographs and of their drawings
        ('trainA', None, num_train),
        (None, 'trainB', num_train),
        ('testA', IDEAL, num_test),
        (None, 'testB', num_test),
    )
    for plain, drawn, count in parts:
        for index in range(count):
            name = next(left)
            photo = read(name)
            if plain is not None:
                yield f'{plain}/{index:04d}.png', name, photo
            if drawn is not None:
                yield f'{drawn}/{index:04d}.png', name, STYLES[style](photo)


def make_drawings(
    source: str | os.PathLike,
    out: str | os.PathLike,
    style: str = 'charcoal',
    size: int = 256,
    num_test: int = 60,
    seed: int = 0,
) -> int:
    """Write photographs to ``trainA`` and ``testA``, drawings of others to ``trainB``, ``testB``.

    ``ideal`` has the drawings of ``testA``, ``sources.csv`` names the source of each file.
    Photographs are cropped to their middle square. The folder is built under a temporary name and
    renamed at the end, so it is complete or absent.

    Args:
        source: Folder of photographs, searched recursively as in training.
        out: Folder to create.
        style: ``'charcoal'`` or ``'ink'``.
        size: Side of the PNGs in pixels, from 16 up.
        num_test: Test pictures of each domain; half of the other photographs trains each domain.
        seed: Decides where each photograph goes.

    Returns:
        Training pictures of each domain.

    Raises:
        FileExistsError: ``out`` exists.
        OSError: A folder or file cannot be read or written.
        ValueError: A number is out of its range, or there are too few photographs.
    """
    check_choice('style', style, STYLES)
    check_counts(num_test=num_test)
    if size < 16 or seed < 0:
        raise ValueError(f'size must be 16 or more and seed 0 or more, got {size} and {seed}')
    out = Path(out)
    if os.path.lexists(out):
        raise FileExistsError(f"'{out}' exists: name a new folder.")
    names = [os.path.relpath(path, source) for path in find_images(source)]
    num_train = len(names) // 2 - num_test
    if num_train < 1:
        raise ValueError(
            f"'{source}' has {len(names)} photographs; {num_test} and {num_test} to test, and one "
            'to train each domain, are needed: add some, or test on fewer.'
        )
    names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]

    def read(name: str) -> np.ndarray:
        photo = Image.fromarray(read_rgb(os.path.join(source, name)))
        return np.array(ImageOps.fit(photo, (size, size), Image.Resampling.LANCZOS))

    out.parent.mkdir(parents=True, exist_ok=True)
    made = photos_and_drawings(names, read, style, num_train, num_test)
    with whole(out, durable=False) as building:
        write_pictures(building, tqdm(made, unit='picture', disable=None))
    return num_train


def write_pictures(folder: Path, made: Iterator[tuple[str, str, np.ndarray]]) -> None:
    """Write what :func:`photos_and_drawings` yields, and the table of sources."""
    folder.mkdir()
    with open(folder / SOURCES, 'w', newline='', encoding='utf-8') as file:
        table = csv.writer(file)
        table.writerow(['file', 'source'])
        for path, name, image in made:
            (folder / path).parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / path)
            table.writerow([path, name])


def _soft_step(values: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-values))
