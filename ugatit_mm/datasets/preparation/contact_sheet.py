"""A picture of a data set, with what :mod:`.checks` found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..loading import ImageReadError, is_visible_image, read_rgb
from .checks import MOVED, PROBLEM, Report, list_files

_TILE, _GAP, _LINE = 112, 6, 14


def contact_sheet(report: Report, columns: int = 10, rows: int = 4, seed: int = 0) -> Image.Image:
    """Some pictures of every split, drawn at random, and below them those with problems.

    Args:
        report: What was found; the files are still where they were.
        columns: Pictures in a row.
        rows: Rows of problems at most.
        seed: Draws the pictures.
    """
    root, rng = Path(report.root), np.random.default_rng(seed)
    bad = [f for f in report.of(MOVED, PROBLEM) if f.kind not in ('missing', 'empty')]
    bad_files = {finding.file for finding in bad}
    sections = []
    for split, figures in report.splits.items():
        files = [f'{split}/{name}' for name in list_files(root / split) if is_visible_image(name)]
        fine = [file for file in files if file not in bad_files]
        drawn = rng.permutation(len(fine))[:columns]
        tiles = [(fine[i], fine[i].removeprefix(f'{split}/')) for i in sorted(drawn)]
        sections.append((f'{split}: {figures["images"]} images', tiles))
    limit = columns * rows
    if bad:
        title = f'problems: {len(bad)}' + (f', {limit} shown' if len(bad) > limit else '')
        picked = sorted(rng.permutation(len(bad))[:limit])
        sections.append((title, [(bad[i].file, f'{bad[i].kind}\n{bad[i].file}') for i in picked]))
    return _lay_out(root, sections, columns)


def _lay_out(
    root: Path, sections: Iterable[tuple[str, list[tuple[str, str]]]], columns: int
) -> Image.Image:
    """Titled blocks of tiles, each tile a file and its label of one or two lines."""
    sections = list(sections)
    step = _TILE + 2 * _LINE + _GAP
    height = sum(_LINE + 2 * _GAP + step * -(-len(tiles) // columns) for _, tiles in sections)
    sheet = Image.new('RGB', (columns * (_TILE + _GAP) + _GAP, height + _GAP), 'white')
    draw = ImageDraw.Draw(sheet)
    title_font, font = ImageFont.load_default(13), ImageFont.load_default(10)
    top = _GAP
    for title, tiles in sections:
        draw.text((_GAP, top), title, 'black', title_font)
        top += _LINE + _GAP
        for i, (file, label) in enumerate(tiles):
            x, y = _GAP + i % columns * (_TILE + _GAP), top + i // columns * step
            sheet.paste(_thumbnail(root / file), (x, y))
            for n, line in enumerate(label.split('\n')):
                colour = 'firebrick' if '\n' in label and n == 0 else 'black'
                draw.text((x, y + _TILE + n * _LINE), _cut(line, font), colour, font)
        top += step * -(-len(tiles) // columns) + _GAP
    return sheet


def _thumbnail(path: Path) -> Image.Image:
    """The picture within a square, on grey; crossed out if it cannot be read."""
    try:
        image = Image.fromarray(read_rgb(path))
    except ImageReadError:
        tile = Image.new('RGB', (_TILE, _TILE), 'lightgrey')
        draw = ImageDraw.Draw(tile)
        draw.line((0, 0, _TILE, _TILE), 'firebrick', 2)
        draw.line((0, _TILE, _TILE, 0), 'firebrick', 2)
        return tile
    return ImageOps.pad(image, (_TILE, _TILE), Image.Resampling.LANCZOS, 'lightgrey')


def _cut(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The end of a text, as much as fits under a tile."""
    text = text.encode('ascii', 'replace').decode()  # what Pillow's own font can draw
    while font.getlength(text) > _TILE:
        text = '..' + text.removeprefix('..')[1:]
    return text
