"""A small unpaired data set that needs no download: colour photos against pencil drawings.

Both domains are cut from sample photographs that scikit-image and scikit-learn carry inside their
wheels. The photos of A and those drawn for B are different ones, and the test crops come from a
strip of each photo that no training crop touches. It is made to see a training run work, not to
compare results.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..files import whole
from .loading import read_rgb

PHOTOS = {
    'A': (
        ('sklearn', 'datasets/images/china.jpg'),
        ('sklearn', 'datasets/images/flower.jpg'),
        ('skimage', 'data/coffee.png'),
        ('skimage', 'data/chelsea.png'),
    ),
    'B': (
        ('skimage', 'data/astronaut.png'),
        ('skimage', 'data/motorcycle_left.png'),
        ('skimage', 'data/camera.png'),
        ('skimage', 'data/coins.png'),
        ('skimage', 'data/rocket.jpg'),
    ),
}
"""Package and file of every photograph, by domain."""

MANIFEST = 'manifest.json'
VERSION = 1  # raise when the images change for the same parameters

_TEST_SHARE = 0.4  # of a photo's width, on the right
_CANDIDATES = 3  # crops of which the most detailed is kept, as skies and walls show little
_PAPER = np.array([250, 245, 233], np.float32)  # RGB, a warm white
_GRAPHITE = np.array([46, 44, 50], np.float32)


def make_demo_data(
    out_dir: str | os.PathLike,
    size: int = 96,
    num_train: int = 200,
    num_test: int = 16,
    seed: int = 0,
) -> bool:
    """Write ``trainA``, ``trainB``, ``testA``, ``testB`` with PNGs of ``size`` x ``size`` pixels.

    The folder is built under a temporary name and renamed at the end, so it is complete or absent.

    Args:
        out_dir: Folder to create.
        size: Side of the images in pixels.
        num_train: Training images of each domain.
        num_test: Test images of each domain.
        seed: Image i of a folder depends on this, ``size`` and i alone.

    Returns:
        True if the data set was written, False if it was there already, complete and unchanged.

    Raises:
        FileExistsError: ``out_dir`` holds something else, or the set with other parameters.
        FileNotFoundError: A photograph's package, or the photograph in it, is missing.
        ValueError: A number is too small.
    """
    if size < 16 or num_train < 1 or num_test < 1 or seed < 0:
        raise ValueError(
            'size must be at least 16, num_train and num_test at least 1, seed not negative; got '
            f'size={size}, num_train={num_train}, num_test={num_test}, seed={seed}.'
        )
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


def pencil_drawing(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Redraw a photo in pencil: colour dodge for the lines, light shading, grain, warm paper.

    Args:
        photo: uint8 (H, W, 3), RGB.
        rng: Draws the grain and the pressure of the pencil.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    sigma = max(photo.shape[:2]) / 32
    # Colour dodge: grey / (1 - blurred negative), white wherever a pixel is no darker than its
    # surroundings, so that only lines and edges remain.
    surroundings = cv2.GaussianBlur(grey, (0, 0), sigma)
    softened = np.minimum(cv2.GaussianBlur(grey, (0, 0), sigma / 3), 1)  # rounding may exceed 1
    lines = np.minimum(grey / np.maximum(surroundings, 0.02), 1) ** rng.uniform(2.5, 4)
    shading = 1 - 0.3 * (1 - softened) ** 1.5
    # The grain shows where graphite is laid, hardly on bare paper.
    grain = cv2.GaussianBlur(rng.standard_normal(grey.shape).astype(np.float32), (0, 0), 0.7)
    light = lines * shading
    light = np.clip(light + grain * (0.02 + 0.25 * (1 - light) * light), 0, 1)[..., None]
    return np.rint(_GRAPHITE + (_PAPER - _GRAPHITE) * light).astype(np.uint8)


def _draw_all(
    size: int, num_train: int, num_test: int, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Relative path and pixels, uint8 (size, size, 3), of every image."""
    for d, (domain, sources) in enumerate(PHOTOS.items()):
        photos = [_read_photo(*source) for source in sources]
        for s, (split, count) in enumerate((('train', num_train), ('test', num_test))):
            for i in range(count):
                rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(d, s, i)))
                image = _random_crop(photos[i % len(photos)], split == 'test', size, rng)
                if domain == 'B':
                    image = pencil_drawing(image, rng)
                yield f'{split}{domain}/{i:04d}.png', image


def _read_photo(package: str, name: str) -> np.ndarray:
    spec = find_spec(package)  # finds the folder without importing the package
    if spec is None:
        raise FileNotFoundError(
            f"The demo data set needs the photos inside the package '{package}': install "
            'scikit-image and scikit-learn.'
        )
    path = Path(spec.submodule_search_locations[0], name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The demo data set needs the photo '{path}', which this release of '{package}' does "
            'not carry: install another release.'
        )
    return read_rgb(path)


def _random_crop(photo: np.ndarray, test: bool, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square from the photo's test strip or from the rest, scaled to ``size``."""
    width = photo.shape[1]
    strip = int(width * _TEST_SHARE)
    region = photo[:, width - strip :] if test else photo[:, : width - strip]
    crops = []
    for _ in range(_CANDIDATES):
        # The same range of scales in training and testing.
        side = int(rng.integers(strip // 2, strip * 3 // 4, endpoint=True))
        top = int(rng.integers(0, region.shape[0] - side, endpoint=True))
        left = int(rng.integers(0, region.shape[1] - side, endpoint=True))
        crop = Image.fromarray(region[top : top + side, left : left + side])
        crops.append(np.array(crop.resize((size, size), Image.Resampling.LANCZOS)))
    return max(crops, key=_detail)


def _detail(image: np.ndarray) -> float:
    """Mean absolute Laplacian of the grey image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


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
