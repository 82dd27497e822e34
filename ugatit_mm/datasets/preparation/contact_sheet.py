"""A picture of a data set, with what :mod:`.checks` found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ...pixels import PNG_CHANNELS, displayed
from ...visualization.grid import make_sheet
from ..deep import Range
from ..loading import ImageReadError, decode_with_alpha, read_file, read_rgb
from .checks import MOVED, PROBLEM, Report, list_pictures

_TILE = 112
_ROWS = 4  # of problems at most


def contact_sheet(
    report: Report,
    columns: int = 10,
    seed: int = 0,
    deep_range: Range | None = None,
    channels: int = 3,
) -> Image.Image:
    """Some pictures of every split, drawn at random, and below them those with problems.

    Args:
        report: What was found; the files must still be where they were.
        columns: Pictures in a row.
        seed: Draws the pictures.
        deep_range: For pictures of more than 8 bits.
        channels: As for :func:`check_dataset`; with 5 or more the first three are shown.
    """
    root, rng = Path(report.root), np.random.default_rng(seed)
    bad = [f for f in report.of(MOVED, PROBLEM) if f.kind not in ('missing', 'empty')]
    bad_files = {finding.file for finding in bad}
    sections = []
    for split, stats in report.splits.items():
        files = [f'{split}/{name}' for name in list_pictures(root / split).images]
        fine = [file for file in files if file not in bad_files]
        drawn = rng.permutation(len(fine))[:columns]
        tiles = [(fine[i], fine[i].removeprefix(f'{split}/')) for i in sorted(drawn)]
        sections.append((f'{split}: {stats["images"]} images', tiles))
    limit = columns * _ROWS
    if bad:
        title = f'problems: {len(bad)}' + (f', {limit} shown' if len(bad) > limit else '')
        picked = sorted(rng.permutation(len(bad))[:limit])
        sections.append((title, [(bad[i].file, f'{bad[i].kind}\n{bad[i].file}') for i in picked]))
    blocks = [
        _section(root, title, tiles, columns, deep_range, channels) for title, tiles in sections
    ]
    return Image.fromarray(np.concatenate(blocks))


def _section(
    root: Path,
    title: str,
    tiles: list[tuple[str, str]],
    columns: int,
    deep_range: Range | None,
    channels: int,
) -> np.ndarray:
    """A titled block of tiles, each a file and its label."""
    blank = Image.new('RGB', (_TILE, _TILE), 'white'), ''
    shown = [(_thumbnail(root / file, deep_range, channels), label) for file, label in tiles]
    shown += [blank] * (-len(shown) % columns or columns * (not shown))
    rows = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    pictures = [[np.asarray(tile) for tile, _ in row] for row in rows]
    return make_sheet(pictures, [title], captions=[[label for _, label in row] for row in rows])


def _thumbnail(path: Path, deep_range: Range | None, channels: int) -> Image.Image:
    """The picture within a square, on grey; crossed out if it cannot be read."""
    try:
        if channels > PNG_CHANNELS:
            name = str(path)
            pixels, _ = decode_with_alpha(read_file(name), name, deep_range, channels)
            image = Image.fromarray(displayed(pixels))
        else:
            image = Image.fromarray(read_rgb(path, deep_range=deep_range))
    except ImageReadError:
        tile = Image.new('RGB', (_TILE, _TILE), 'lightgrey')
        draw = ImageDraw.Draw(tile)
        draw.line((0, 0, _TILE, _TILE), 'firebrick', 2)
        draw.line((0, _TILE, _TILE, 0), 'firebrick', 2)
        return tile
    return ImageOps.pad(image, (_TILE, _TILE), Image.Resampling.LANCZOS, 'lightgrey')
