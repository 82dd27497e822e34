"""A small unpaired data set that needs no download: photographs, and drawings of others.

The photographs, daisies and sunflowers of 128 px, come with the package (``flowers/photos.zip``,
CC BY 2.0; ``flowers/CREDITS.txt`` names the photographers). A, B and their tests use different
photographs. The drawings are made by a function, so the ideal translations of the test photographs
are known.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import whole
from .drawings import photos_and_drawings, write_pictures
from .loading import decode_rgb, read_rgb

PHOTOS = Path(__file__).parent / 'flowers' / 'photos.zip'
SIZE = 128
"""Side of the photographs in pixels."""

MANIFEST = 'manifest.json'
VERSION = 3  # raise when the images change for the same parameters


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
        num_test: Test images of each domain; together with those of training at most 230.
        seed: Decides where each photograph goes.

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
        names = np.random.default_rng(seed).permutation(_names())
        with zipfile.ZipFile(PHOTOS) as photos:

            def read(name: str) -> np.ndarray:
                photo = Image.fromarray(decode_rgb(photos.read(name), name))
                if size == SIZE:
                    return np.array(photo)
                return np.array(photo.resize((size, size), Image.Resampling.LANCZOS))

            write_pictures(building, photos_and_drawings(names, read, 'ink', num_train, num_test))
        manifest = {**parameters, 'sha256': _hash_pixels(building)}
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
    return True


@cache
def _names() -> list[str]:
    with zipfile.ZipFile(PHOTOS) as photos:
        return sorted(photos.namelist())


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
