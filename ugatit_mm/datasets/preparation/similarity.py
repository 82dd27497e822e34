"""Which pictures look the same, and which show one colour only."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

HASH_BITS = 256
NEAR = 24
"""Greatest distance, of 256 bits, of two pictures that count as nearly the same.

Measured on 128 px cut-outs of scikit-image's and scikit-learn's photographs: after JPEG of quality
30, half or double size, brightness or contrast changed by a fifth or a crop by one pixel all round,
the distance was 38 at most and 24 or less for nine in ten; between different cut-outs it was 44 and
more, half of them at 128, as by chance.
"""

_FLAT = 2.0  # of 255; a JPEG of one colour stays below 1
_TINTED = 4.0  # greys and straight tints give below 1, the least colourful photographs 6


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """The signs of a picture's 16 x 16 lowest frequencies (pHash), from greys only.

    Args:
        image: RGB, uint8, (H, W, 3).

    Returns:
        bool, (HASH_BITS,).
    """
    # With the usual 8 x 8 bits, the distances of copies and of others overlap.
    return imagehash.phash(Image.fromarray(image), hash_size=16).hash.ravel()


def near_pairs(hashes: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Find all pairs of hashes that differ in at most ``distance`` bits.

    Args:
        hashes: bool, (N, bits).
        distance: Greatest number of differing bits; below 0 nothing is found.

    Returns:
        Pairs i < j, int, (P, 2), in ascending order, and the distance of each, int, (P,).
    """
    # With bits as -1 and 1, a matrix product counts the bits that agree minus those that do not.
    signs = np.where(hashes, 1, -1).astype(np.float32)
    pairs, distances = [np.empty((0, 2), int)], [np.empty(0, int)]
    for start in range(0, len(signs), 1000):
        block = (signs.shape[1] - signs[start : start + 1000] @ signs[start:].T) / 2
        i, j = np.nonzero(block <= distance)
        i, j = i[i < j], j[i < j]
        pairs.append(np.stack([i, j], axis=1) + start)
        distances.append(block[i, j].astype(int))
    return np.concatenate(pairs), np.concatenate(distances)


def find_repeats(pairs: np.ndarray, distances: np.ndarray) -> dict[int, tuple[int, int]]:
    """Say which pictures of :func:`near_pairs` repeat an earlier one.

    A picture is compared only with those that stay: of a slow film, where each frame is near the
    next, one frame in every few stays.

    Returns:
        For each that repeats, in ascending order, the first earlier one that stays and is near, and
        the distance from it.
    """
    repeats: dict[int, tuple[int, int]] = {}
    for k in np.argsort(pairs[:, 1], kind='stable'):  # all of j's pairs come after i's own
        i, j = map(int, pairs[k])
        if i not in repeats and j not in repeats:
            repeats[j] = i, int(distances[k])
    return repeats


def is_blank(image: np.ndarray) -> bool:
    """Whether a picture, RGB, uint8, (H, W, 3), shows nothing but one flat colour."""
    return bool(_spread(image)[0] < _FLAT)


def is_monochrome(image: np.ndarray) -> bool:
    """Whether a picture, RGB, uint8, (H, W, 3), has shades of one tint only: grey, sepia, blank."""
    return bool(_spread(image)[1] < _TINTED)


def _spread(image: np.ndarray) -> np.ndarray:
    """Standard deviations of the colours along their principal axes, of 255, greatest first."""
    # Shrinking first removes what noise and JPEG add.
    small = Image.fromarray(image).resize((64, 64), Image.Resampling.BOX)
    colours = np.asarray(small, np.float64).reshape(-1, 3)
    variances = np.linalg.eigvalsh(np.cov(colours, rowvar=False))
    return np.sqrt(variances.clip(min=0))[::-1]
