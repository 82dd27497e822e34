"""Pictures side by side, with words."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 4
LINE = 20  # height of a line of words
POINTS = 11


def make_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] | None = None,
    zoom: int = 1,
    captions: Sequence[Sequence[str]] | None = None,
) -> np.ndarray:
    """Lay pictures out in a grid.

    Args:
        rows: Pictures of one size, RGB, uint8, (H, W, 3); a row may be shorter than the longest.
        titles: Words above each column.
        zoom: Each pixel becomes a square of so many.
        captions: For each row the words below its pictures, in one line or more.

    Returns:
        RGB, uint8, with a white margin between the pictures. The last title, and the last caption
        of a row, has the room to the right edge; what does not fit loses its middle.
    """
    height, width = (zoom * side for side in rows[0][0].shape[:2])
    lines = max((text.count('\n') + 1 for row in captions or () for text in row), default=0)
    top, right = LINE if titles else 0, width + MARGIN
    down, columns = height + MARGIN + lines * LINE, max(map(len, rows))
    shape = (columns * right + MARGIN, top + len(rows) * down + MARGIN)
    sheet = Image.new('RGB', shape, 'white')
    pen = ImageDraw.Draw(sheet)

    def write(words: Sequence[str], y: int) -> None:
        for j, text in enumerate(words):
            x = MARGIN + j * right
            room = width if j + 1 < len(words) else shape[0] - x - MARGIN
            for n, line in enumerate(text.split('\n')):
                pen.text((x, y + n * LINE + 3), _fitted(line, room), 'black', _font())

    write(titles or (), 0)
    for i, row in enumerate(rows):
        y = top + MARGIN + i * down
        for j, picture in enumerate(row):
            zoomed = picture.repeat(zoom, 0).repeat(zoom, 1)
            sheet.paste(Image.fromarray(zoomed), (MARGIN + j * right, y))
        if captions:
            write(captions[i], y + height)
    return np.array(sheet)


def _fitted(text: str, width: int) -> str:
    """A text without as much of its middle as is too long."""
    short = text
    for kept in range(len(text) - 1, -1, -1):
        if _font().getlength(short) <= width:
            break
        short = f'{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}'
    return short


@cache
def _font() -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # slow to import, and no start needs it

    # Pillow's own font knows only ASCII.
    return ImageFont.truetype(Path(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), POINTS)
