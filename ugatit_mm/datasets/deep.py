"""Pictures of more than 8 bits per channel, and which of their values are black and white."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image

from .img_size import loading_steps

Range = tuple[float, float]

_BAND = 64  # rows that are converted at a time


def check_deep_range(value: Range | None) -> Range | None:
    """Return a range of values as a pair, None for None.

    Raises:
        ValueError: It is not a pair of a lower and a higher number.
    """
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, (tuple, list)) else ()
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in pair)
    if len(pair) != 2 or not numbers or not -math.inf < pair[0] < pair[1] < math.inf:
        raise ValueError(
            'deep_range must be two numbers, the values that are black and white, such as '
            f'(0, 4095), or None, got {value!r}.'
        )
    return pair


def add_deep_range(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--deep-range LOW HIGH``."""

    def number(text: str) -> float:
        return float(text) if set(text) & set('.einf') else int(text)

    parser.add_argument(
        '--deep-range',
        nargs=2,
        type=number,
        metavar=('LOW', 'HIGH'),
        help='the values that are black and white in pictures of more than 8 bits per channel, '
        'such as 0 4095 for 12 bits in 16-bit files (default: their whole range)',
    )


def apply_deep_range(cfg: Config) -> None:
    """Copy ``cfg.deep_range`` into every ``LoadRGBImage`` step of the pipelines, in place.

    A config without it, or with None, is left unchanged.

    Args:
        cfg: ``deep_range`` is the range of both domains, or a dict by the domains' letters.

    Raises:
        ValueError: It is not a range, or no pipeline has such a step.
    """
    value = cfg.get('deep_range')
    if value is None:
        return
    steps = loading_steps(cfg, 'deep_range')
    keys = {step['key'].removeprefix('img_') for step in steps}
    ranges = dict(value) if isinstance(value, Mapping) else dict.fromkeys(keys, value)
    if unknown := ranges.keys() - keys:
        raise ValueError(f'deep_range has {sorted(unknown)}, the domains are {sorted(keys)}.')
    for step in steps:
        key = step['key'].removeprefix('img_')
        if key in ranges:
            step['deep_range'] = check_deep_range(ranges[key])


def deep_ranges(cfg: Config) -> dict[str, Range]:
    """The ranges that a training reads its pictures with, by the domains' letters.

    Args:
        cfg: Config of the training; its ``train_dataloader`` is read.
    """
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    letters = {dataset.get(f'domain_{letter.lower()}', letter): letter for letter in 'AB'}
    found = {}
    for step in dataset.get('pipeline') or ():
        if isinstance(step, dict) and step.get('type') == 'LoadRGBImage':
            letter = letters.get(step['key'].removeprefix('img_'))
            if letter and (limits := check_deep_range(step.get('deep_range'))):
                found[letter] = limits
    return found


def is_deep_grey(image: Image.Image) -> bool:
    """Whether Pillow holds the values of a picture as integers or floats of more than 8 bits."""
    return image.mode.startswith('I') or image.mode == 'F'


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a file, perhaps not decoded yet, has colours of 16 bits; Pillow keeps 8 of them."""
    if image.mode not in ('RGB', 'RGBA', 'CMYK'):
        return False
    return max(tiff_tags(image).get(258) or (0,)) > 8 or any(
        ';16' in str(tile[3]) or (tile[0] == 'ppm' and tile[3][1] == 65535)
        for tile in getattr(image, 'tile', ())
    )


def own_limits(image: Image.Image) -> Range | None:
    """Black and white values that a file, not decoded yet, states: 12 bits, or a maximum."""
    if is_deep_grey(image):
        if tiff_tags(image).get(258) == (12,):
            return 0, 4095
        if any(tile[0] == 'ppm' for tile in getattr(image, 'tile', ())):
            return 0, 65535  # Pillow stretches to that
    return None


def full_limits(image: Image.Image) -> Range:
    """Black and white values if neither the file nor the user states them."""
    return (0, 1) if image.mode == 'F' else (0, 65535)


def tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; empty for other files."""
    return getattr(image, 'tag_v2', {}) if image.format == 'TIFF' else {}


def stretch(values: np.ndarray, limits: Range) -> np.ndarray:
    """Map ``limits`` to 0 and 255, and clip the values beyond them; uint8."""
    low, high = limits
    result = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _BAND):  # in float64, 8 times as large
        rows = slice(start, start + _BAND)
        part = (values[rows].astype(np.float64) - low) * (255 / (high - low))
        result[rows] = np.rint(part.clip(0, 255))
    return result


def decode_every_band(data: bytes) -> np.ndarray | None:
    """Decode all bands with all of their bits by OpenCV, RGB or RGBA, as Pillow drops some.

    Args:
        data: A file that Pillow has decoded.

    Returns:
        (H, W, 3) or (H, W, 4); None if OpenCV finds another number of bands.
    """
    bands = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bands is None or bands.ndim != 3 or bands.shape[2] not in (3, 4):
        return None
    return cv2.cvtColor(bands, cv2.COLOR_BGR2RGB if bands.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def decode_deep_colour(data: bytes, image: Image.Image) -> np.ndarray | None:
    """Decode colours with all of their 16 bits.

    Args:
        data: Content of a file.
        image: The same file, decoded by Pillow.

    Returns:
        uint16 (H, W, 3 or 4); None if these and Pillow's 8 bits differ by more than rounding.
    """
    deep, known = decode_every_band(data), np.asarray(image)[..., :3]
    if deep is None or deep.dtype != np.uint16 or deep.shape[:2] != known.shape[:2]:
        return None
    for row, its in zip(deep, known):
        if np.abs(row[:, :3] // 257 - its.astype(np.int32)).max() > 1:
            return None
    return None if image.mode == 'CMYK' else deep
