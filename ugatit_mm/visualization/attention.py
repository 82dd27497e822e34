"""Where the networks look: heatmaps, and the paper's Figure 2 for any image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..pixels import displayed, normalise, to_rgb
from .grid import make_sheet
from .heatmap import COLOUR_MAPS, add_legend, colour_heatmap, normalise_heatmap, overlay

if TYPE_CHECKING:
    from ..models.base import UnpairedTranslation

__all__ = [
    'COLOUR_MAPS',
    'add_legend',
    'attention_figure',
    'colour_heatmap',
    'normalise_heatmap',
    'overlay',
]

READABLE = 160  # narrower pictures are enlarged, so that the titles fit


@torch.no_grad()
def attention_figure(
    model: 'UnpairedTranslation',
    picture: np.ndarray,
    target_domain: str | None,
    colour_map: str = 'jet',
    styles: Sequence[Tensor | None] = (),
) -> np.ndarray:
    """Show the networks' attention while they translate an image (the paper's Figure 2).

    Columns: the source; the model's attention (:meth:`UnpairedTranslation.attention`; for U-GAT-IT
    that of the generator, and of the target domain's local and global discriminator, which see the
    translation); the translation, or one for each of several styles. The model is not changed.

    Args:
        model: The translation model, in any mode.
        picture: uint8, (h, w, C), with channels and a size that the networks take.
        target_domain: Letter or name; the model's default if ``None``.
        colour_map: One of ``COLOUR_MAPS``.
        styles: For a model with styles, each (1, *style_shape); by default that of seed 0 and the
            empty name.

    Returns:
        RGB, uint8, with a legend below if there is attention.

    Raises:
        ValueError: The networks do not take the picture or its size, or the colour map is unknown.
    """
    channels = model.in_channels
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != channels:
        raise ValueError(
            f'a picture is uint8, (h, w, {channels}), got {picture.dtype} {picture.shape}'
        )
    target = model.target(target_domain)
    device = next(model.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(picture)).to(device).permute(2, 0, 1)[None]
    with _evaluating(model):
        pixels = normalise(image.float())
        if model.style_shape is None:
            fake, maps = model.attention(pixels, target)
            fakes = [fake]
        else:
            styles, maps = styles or [model.styles([''], target)], {}
            fakes = [model.translate(pixels, target, style=style).image for style in styles]
    columns = {'source': displayed(picture)}
    for title, heatmap in maps.items():
        columns[f'attention: {title}'] = _colour(heatmap, picture.shape[:2], colour_map)
    titles = [f'style {k}' for k in range(1, len(fakes) + 1)] if len(fakes) > 1 else ['result']
    columns |= {title: to_rgb(each[0]) for title, each in zip(titles, fakes, strict=True)}
    zoom = max(1, -(-READABLE // picture.shape[1]))
    figure = make_sheet([list(columns.values())], list(columns), zoom)
    return add_legend(figure, colour_map) if maps else figure


def _colour(heatmap: Tensor, size: tuple[int, int], colour_map: str) -> np.ndarray:
    values = heatmap[0, 0].float().cpu().numpy()
    return colour_heatmap(normalise_heatmap(values, size), colour_map)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and restore each one's mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
