"""A small unpaired data set that needs no download: photographs against drawings of other ones.

The photographs, daisies and sunflowers of 128 px, come with the package (``flowers/photos.zip``,
CC BY 2.0; ``flowers/CREDITS.txt`` names who took each). Those of A and those drawn for B are
different ones, and so are those to test. As a function draws them, the ideal translations of the
test photographs are known.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..files import whole
from .loading import decode_rgb, read_rgb

PHOTOS = Path(__file__).parent / 'flowers' / 'photos.zip'
SIZE = 128
"""Side of the photographs in pixels."""

IDEAL = 'ideal'
"""Folder of the drawings of ``testA``, by the same names."""

MANIFEST = 'manifest.json'
VERSION = 2  # raise when the images change for the same parameters

_PAPER = np.array([250, 245, 233], np.float32)  # RGB, a warm white
_CHARCOAL = np.array([46, 44, 50], np.float32)


def make_demo_data(
    out_dir: str | os.PathLike,
    size: int = SIZE,
    num_train: int = 130,
    num_test: int = 100,
    seed: int = 0,
) -> bool:
    """Write ``trainA``, ``trainB``, ``testA``, ``testB``, ``ideal``: square PNGs of ``size`` px.

    The folder is built under a temporary name and renamed at the end, so it is complete or absent.

    Args:
        out_dir: Folder to create.
        size: Side of the images in pixels, 16 to 128.
        num_train: Training images of each domain.
        num_test: Test images of each domain; with those of training at most 460 in both.
        seed: Which photographs go where.

    Returns:
        True if the data set was written, False if it was there already, complete and unchanged.

    Raises:
        FileExistsError: ``out_dir`` holds something else, or the set with other parameters.
        ValueError: A number is out of its range.
    """
    most = len(_names()) // 2
    if not 16 <= size <= SIZE or min(num_train, num_test) < 1 or num_train + num_test > most:
        raise ValueError(
            f'size must be 16 to {SIZE}, num_train and num_test at least 1 and together at most '
            f'{most}; got size={size}, num_train={num_train}, num_test={num_test}'
        )
    if seed < 0:
        raise ValueError(f'seed must not be negative, got {seed}')
    out_dir = Path(out_dir)
    parameters = {
        'version': VERSION,
        'size': size,
        'num_train': num_train,
        'num_test': num_test,
        'seed': seed,
    }
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        if _is_complete(out_dir, parameters):
            return False
        raise FileExistsError(
            f"'{out_dir}' exists and is not this demo data set with {parameters}, complete and "
            'unchanged: delete it or choose another folder.'
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with whole(out_dir, durable=False) as building:
        building.mkdir()
        for name, image in _draw_all(size, num_train, num_test, seed):
            path = building / name
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path)
        manifest = {**parameters, 'sha256': _hash_pixels(building)}
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
    return True


def charcoal_drawing(photo: np.ndarray) -> np.ndarray:
    """Redraw a photograph in charcoal: dark outlines and two tones of shading on warm paper.

    Args:
        photo: uint8 (H, W, 3), RGB.

    Returns:
        uint8 (H, W, 3), RGB; the same for the same photograph.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    pixel = max(photo.shape[:2]) / 128

    def blurred(sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(grey, (0, 0), sigma * pixel)

    # A difference of Gaussians is negative on the dark side of an edge; a soft step makes it ink
    # (Winnemoeller, "XDoG", NPAR 2011).
    lines = _soft_step(60 * (blurred(0.9) - blurred(3.2)) + 2.2)
    shades = _soft_step(9 * (blurred(1.2) - 0.38))
    light = (lines * (0.35 + 0.65 * shades))[..., None]
    return np.rint(_CHARCOAL + (_PAPER - _CHARCOAL) * light).astype(np.uint8)


def _soft_step(values: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-values))


@cache
def _names() -> list[str]:
    with zipfile.ZipFile(PHOTOS) as photos:
        return sorted(photos.namelist())


def _draw_all(
    size: int, num_train: int, num_test: int, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Relative path and pixels, uint8 (size, size, 3), of every image."""
    names = np.random.default_rng(seed).permutation(_names())
    parts = (  # folders of the photographs and of their drawings
        ('trainA', None, num_train),
        (None, 'trainB', num_train),
        ('testA', IDEAL, num_test),
        (None, 'testB', num_test),
    )
    with zipfile.ZipFile(PHOTOS) as photos:
        for plain, drawn, count in parts:
            chosen, names = names[:count], names[count:]
            for index, name in enumerate(chosen):
                photo = decode_rgb(photos.read(name), name)
                if size != SIZE:
                    resized = Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS)
                    photo = np.array(resized)
                file = f'{index:04d}.png'
                if plain is not None:
                    yield f'{plain}/{file}', photo
                if drawn is not None:
                    yield f'{drawn}/{file}', charcoal_drawing(photo)


def _is_complete(folder: Path, parameters: dict) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return manifest == {**parameters, 'sha256': _hash_pixels(folder)}


def _hash_pixels(folder: Path) -> str:
    """SHA-256 of names and pixels, which does not depend on how PNGs are compressed."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob('*/*.png')):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(read_rgb(path).tobytes())
    return digest.hexdigest()
