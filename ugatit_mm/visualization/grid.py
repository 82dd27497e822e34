"""Pictures side by side, with text."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 4
LINE = 20  # height of a line of text
POINTS = 11


def make_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] | None = None,
    zoom: int = 1,
    captions: Sequence[Sequence[str]] | None = None,
) -> np.ndarray:
    """Arrange pictures in a grid.

    Args:
        rows: Pictures of one size, RGB, uint8, (H, W, 3); a row may be shorter than the longest.
        titles: Text above each column.
        zoom: Side of the square that each pixel becomes.
        captions: For each row the text below its pictures, in one line or more.

    Returns:
        RGB, uint8, with a white margin between the pictures. The last title, and the last caption
        of a row, may extend to the right edge; text that does not fit is shortened in the middle.
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
    """Shorten a text in the middle to a width."""
    short = text
    for kept in range(len(text) - 1, -1, -1):
        if _font().getlength(short) <= width:
            break
        short = f'{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}'
    return short


@cache
def _font() -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # imported late: it is slow, and no start needs it

    # Pillow's own font has only ASCII.
    return ImageFont.truetype(Path(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), POINTS)
