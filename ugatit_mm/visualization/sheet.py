"""Picture sheets: source, attention, translation, and the way back."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..domains import other
from ..pixels import to_rgb
from .grid import make_sheet
from .heatmap import colour_heatmap, normalise_heatmap

if TYPE_CHECKING:
    from ..models import UGATIT

COLUMNS = ('source', 'attention', 'translation', 'cycle')
READABLE = 128  # smaller pictures are enlarged, so that the titles fit


def attention(heatmap: Tensor | None, size: tuple[int, int]) -> np.ndarray:
    """Colour a heatmap (1, h, w); white without one, or where it is not finite (a diverged run)."""
    if heatmap is None or not heatmap.isfinite().all():
        return np.full((*size, 3), 255, np.uint8)
    return colour_heatmap(normalise_heatmap(heatmap[0].float().cpu().numpy(), size))


@torch.no_grad()
def translation_sheet(model: 'UGATIT', images: Tensor, target_domain: str) -> np.ndarray:
    """Show what the model makes of some images, in evaluation mode and without gradients.

    Args:
        model: The translation model; its mode is restored.
        images: RGB in [-1, 1], (N, 3, H, W), of the other domain.
        target_domain: Letter or name.

    Returns:
        A sheet with a row for each image: source, attention of the generator, translation, and
        the translation's translation back. RGB, uint8.
    """
    training = model.training
    model.eval()
    try:
        target = model._letter(target_domain)
        rows = []
        for image in images:  # one at a time: a sheet must not need more memory than a step
            fake, _, heatmap = model.translation(image[None], target, return_cam=True)
            cycle = model.translation(fake, other(target))
            seen = attention(None if heatmap is None else heatmap[0], tuple(image.shape[1:]))
            row = [to_rgb(image), seen, to_rgb(fake[0]), to_rgb(cycle[0])]
            rows.append(row)
    finally:
        model.train(training)
    return make_sheet(rows, COLUMNS, zoom=max(1, READABLE // images.shape[-1]))
