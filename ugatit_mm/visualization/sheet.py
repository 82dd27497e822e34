"""Picture sheets: a row for each picture, a column for each output of a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..pixels import to_rgb, words_of_displayed
from .grid import make_sheet
from .heatmap import colour_heatmap, normalise_heatmap

if TYPE_CHECKING:
    from ..models.base import Attention, UnpairedTranslation

READABLE = 128  # smaller pictures are enlarged, so that the titles fit


def attention(heatmap: Tensor | None, size: tuple[int, int]) -> np.ndarray:
    """Colour a heatmap (1, h, w); white without one, or if it is not finite (a diverged run)."""
    if heatmap is None or not heatmap.isfinite().all():
        return np.full((*size, 3), 255, np.uint8)
    return colour_heatmap(normalise_heatmap(heatmap[0].float().cpu().numpy(), size))


@torch.no_grad()
def translation_sheet(
    model: 'UnpairedTranslation', images: Tensor, target_domain: str, styles: int = 3
) -> np.ndarray:
    """Show a model's outputs for some images, in evaluation mode and without gradients.

    Args:
        model: The translation model; its mode is restored.
        images: In [-1, 1], (N, C, H, W), of the other domain.
        target_domain: Letter or name.
        styles: Number of styles to show, for a model with styles.

    Returns:
        A sheet with a row for each image: the model's ``columns``. RGB, uint8.
    """
    training = model.training
    model.eval()
    try:
        target = model.target(target_domain)
        # One at a time: a sheet must not need more memory than a step.
        rows = [_row(model.columns(image, target, styles), image.shape[1:]) for image in images]
    finally:
        model.train(training)
    zoom = max(1, READABLE // images.shape[-1])
    return make_sheet([list(row.values()) for row in rows], list(rows[0]), zoom)


def _row(columns: 'dict[str, Tensor | Attention]', size: Sequence[int]) -> dict[str, np.ndarray]:
    """Convert images and coloured heatmaps to pictures, by title."""
    row = {}
    for title, part in columns.items():
        if isinstance(part, Tensor):
            words = words_of_displayed(len(part))
            row[f'{title} ({words})' if words else title] = to_rgb(part)
        else:
            row[title] = attention(part.heatmap, (size[0], size[1]))
    return row
