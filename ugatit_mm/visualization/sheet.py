"""Picture sheets: a row for each picture, a column for what a model shows of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from ..pixels import to_rgb
from .heatmap import colour_heatmap, normalise_heatmap

if TYPE_CHECKING:
    from ..models.base import UnpairedTranslation

MARGIN = 4
TITLE = 20
READABLE = 128  # smaller pictures are enlarged, so that the titles fit


def attention(heatmap: Tensor | None, size: tuple[int, int]) -> np.ndarray:
    """Colour a heatmap (1, h, w); white without one, or where it is not finite (a diverged run)."""
    if heatmap is None or not heatmap.isfinite().all():
        return np.full((*size, 3), 255, np.uint8)
    return colour_heatmap(normalise_heatmap(heatmap[0].float().cpu().numpy(), size))


def make_sheet(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] | None = None, zoom: int = 1
) -> np.ndarray:
    """Lay pictures out in a grid.

    Args:
        rows: Pictures of one size, RGB, uint8, (H, W, 3).
        titles: A word above each column.
        zoom: Each pixel becomes a square of so many.

    Returns:
        RGB, uint8, with a white margin between the pictures.
    """
    height, width = (zoom * side for side in rows[0][0].shape[:2])
    top = TITLE if titles else 0
    shape = (
        top + len(rows) * (height + MARGIN) + MARGIN,
        len(rows[0]) * (width + MARGIN) + MARGIN,
        3,
    )
    sheet = np.full(shape, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = top + MARGIN + i * (height + MARGIN), MARGIN + j * (width + MARGIN)
            sheet[y : y + height, x : x + width] = picture.repeat(zoom, 0).repeat(zoom, 1)
    for j, title in enumerate(titles or ()):
        origin = (MARGIN + j * (width + MARGIN), TITLE - 5)
        cv2.putText(sheet, title, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


@torch.no_grad()
def translation_sheet(
    model: 'UnpairedTranslation', images: Tensor, target_domain: str
) -> np.ndarray:
    """Show what the model makes of some images, in evaluation mode and without gradients.

    Args:
        model: The translation model; its mode is restored.
        images: RGB in [-1, 1], (N, 3, H, W), of the other domain.
        target_domain: Letter or name.

    Returns:
        A sheet with a row for each image: what the model's ``columns`` has. RGB, uint8.
    """
    training = model.training
    model.eval()
    try:
        target = model.target(target_domain)
        # One at a time: a sheet must not need more memory than a step.
        rows = [_row(model.columns(image, target), image.shape[1:]) for image in images]
    finally:
        model.train(training)
    zoom = max(1, READABLE // images.shape[-1])
    return make_sheet([list(row.values()) for row in rows], list(rows[0]), zoom)


def _row(columns: dict[str, Tensor | None], size: Sequence[int]) -> dict[str, np.ndarray]:
    """Images as they are, heatmaps coloured."""
    return {
        title: to_rgb(part) if part is not None and len(part) == 3 else attention(part, tuple(size))
        for title, part in columns.items()
    }
