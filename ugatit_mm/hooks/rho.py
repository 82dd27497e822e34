"""rho while training: where does the network lean to instance norm, where to layer norm?"""

from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ..models.base import unwrap
from ..models.layers import LIN, AdaLIN


@HOOKS.register_module()
class RhoHook(Hook):
    """Write the mean rho of each AdaLIN and LIN layer to the visualiser's backends.

    The names are ``rho/B.blocks.0.norm1`` and so on, the letter being the generator's target
    domain. The console stays as it is; :func:`ugatit_mm.visualization.plot_rho` draws them.

    Args:
        interval: Iterations between two times.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 100) -> None:
        if interval < 1:
            raise ValueError(f'interval must be 1 or more, got {interval}')
        self.interval = interval

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write them if it is time."""
        if self.every_n_train_iters(runner, self.interval):
            model = unwrap(runner.model)
            if means := mean_rho(model.get_module(model.generators)):
                scalars = {f'rho/{name}': mean for name, mean in means.items()}
                runner.visualizer.add_scalars(scalars, runner.iter + 1)


@torch.no_grad()
def mean_rho(generators: nn.Module) -> dict[str, float]:
    """Return the mean over the channels of rho as it is used, by layer, from input to output.

    1 is instance norm, 0 is layer norm. AdaLIN's rho is smoothed and clipped before use.
    """
    rhos = {}
    for name, layer in generators.named_modules():
        if isinstance(layer, AdaLIN):
            rhos[name] = layer.used_rho().mean()
        elif isinstance(layer, LIN):
            rhos[name] = layer.rho.mean()
    # One transfer from the device for all of them.
    return dict(zip(rhos, torch.stack(list(rhos.values())).tolist(), strict=True)) if rhos else {}
