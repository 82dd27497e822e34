"""Signs of a collapse that U-GAT-IT's attention and rho show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..base import unwrap
from ..layers import LIN, AdaLIN

if TYPE_CHECKING:
    from .ugatit import UGATIT

Signs = dict[tuple[str, str], str]

PLACES: dict[type[Any], str] = {AdaLIN: 'residual blocks', LIN: 'up-sampling layers'}
BOUNDS = {0: 'layer norm', 1: 'instance norm'}


def of_attention(model: 'UGATIT', limit: float, heatmaps: Mapping[str, Tensor | None]) -> Signs:
    """Find attention that is the same everywhere in a picture.

    Args:
        model: The model.
        limit: Standard deviation of a heatmap over its pixels, as a share of its mean.
        heatmaps: By target, (1, 1, h, w).
    """
    signs = {}
    for target, heatmap in heatmaps.items():
        if heatmap is None:
            continue
        heatmap = heatmap.float()
        if not heatmap.std() <= limit * heatmap.abs().mean():  # NaN is not a sign
            continue
        signs['attention', target] = (
            f'the attention of {model.direction(target)} has been the same at all places of the '
            'picture, so it leads nowhere: its classifier has died. Go back to an earlier '
            'checkpoint, with a lower learning rate or a lower loss_config.cam.'
        )
    return signs


@torch.no_grad()
def of_rho(model: 'UGATIT', limit: float) -> Signs:
    """Find rho at a bound where it did not start.

    Args:
        model: The model.
        limit: Share of the channels in one kind of layer.
    """
    signs = {}
    for target, network in unwrap(model.generators).items():
        for kind, place in PLACES.items():
            layers = [layer for layer in network.modules() if isinstance(layer, kind)]
            layers = [layer for layer in layers if isinstance(layer.rho, nn.Parameter)]
            for bound in BOUNDS.keys() - {layer.rho_init for layer in layers} if layers else ():
                rho = torch.cat([layer.rho.flatten() for layer in layers])
                share = (rho == bound).float().mean().item()
                if share > limit:
                    signs[f'rho at {bound}', f'{target}, {place}'] = (
                        f'rho has stood at {bound} in {share:.0%} of the channels of the {place} '
                        f'of {model.direction(target)}: they are plain {BOUNDS[bound]}, and adapt '
                        'no more. Look at the sheets; if they are poor, go back to an earlier '
                        'checkpoint with a lower learning rate.'
                    )
    return signs
