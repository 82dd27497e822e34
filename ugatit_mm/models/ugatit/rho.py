"""rho during training: where does the network prefer instance norm, where layer norm?"""

import os
from collections.abc import Mapping
from typing import IO, Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ...visualization.curves import read_scalars
from ..base import Plot, unwrap
from ..layers import LIN, AdaLIN

PREFIX = 'rho/'
TICKS = {0: '0\nlayer norm', 0.25: '0.25', 0.5: '0.5', 0.75: '0.75', 1: '1\ninstance norm'}


@HOOKS.register_module()
class RhoHook(Hook):
    """Writes the mean rho of each AdaLIN and LIN layer to the visualiser's backends.

    The names are ``rho/B.blocks.0.norm1`` and so on, with the letter of the generator's target
    domain. Nothing goes to the console; :func:`plot_rho` draws them.

    Args:
        interval: Iterations between two writes.
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
        """Write the values if they are due."""
        if self.every_n_train_iters(runner, self.interval):
            generators = unwrap(unwrap(runner.model).generators)
            if means := mean_rho(generators):
                scalars = {f'{PREFIX}{name}': mean for name, mean in means.items()}
                runner.visualizer.add_scalars(scalars, runner.iter + 1)


@torch.no_grad()
def mean_rho(generators: nn.Module) -> dict[str, float]:
    """Return the mean over the channels of the effective rho, by layer, from input to output.

    1 is instance norm, 0 is layer norm. AdaLIN's rho is smoothed and clipped before use.
    """
    rhos = {}
    for name, layer in generators.named_modules():
        if isinstance(layer, AdaLIN):
            rhos[name] = layer.used_rho().mean()
        elif isinstance(layer, LIN):
            rhos[name] = layer.rho.mean()
    # One transfer from the device for all layers.
    return dict(zip(rhos, torch.stack(list(rhos.values())).tolist(), strict=True)) if rhos else {}


def plot_rho(
    work_dir: str | os.PathLike,
    path: str | os.PathLike | IO[bytes],
    domains: Mapping[str, str] | None = None,
) -> None:
    """Draw the mean rho of each AdaLIN and LIN layer, for both directions.

    Top: over the iterations. Bottom: the last values by depth. They show which layers prefer
    instance norm (rho is 1), which layer norm (0).

    Args:
        work_dir: As for :func:`read_scalars`; holds the log of :class:`RhoHook`.
        path: Picture to write; the suffix chooses the format.
        domains: Readable names of ``A`` and ``B``.

    Raises:
        FileNotFoundError: The folder holds no log.
        ValueError: The log holds no rho.
    """
    from matplotlib import colormaps  # imported late: it takes half a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logged = {
        name.removeprefix(PREFIX): points
        for name, points in read_scalars(work_dir).items()
        if name.startswith(PREFIX)
    }
    if not logged:
        raise ValueError(
            f"no rho was logged under {work_dir}: dict(type='RhoHook') in default_hooks logs it, "
            'for networks that have AdaLIN or LIN'
        )
    names = {'A': 'A', 'B': 'B', **(domains or {})}
    layers = list(dict.fromkeys(name.split('.', 1)[1] for name in logged))
    blocks = [layer for layer in layers if layer.startswith('blocks.')]
    # Blocks from dark to light by depth, both norms of a block alike; up-sampling in reds.
    shades = colormaps['viridis'].resampled(max(2, len(blocks) // 2 + 1))
    reds = colormaps['autumn'].resampled(max(2, len(layers) - len(blocks) + 1))
    colours = {layer: shades(index // 2) for index, layer in enumerate(blocks)}
    ups = [layer for layer in layers if layer not in blocks]
    colours |= {layer: reds(index) for index, layer in enumerate(ups)}

    figure = Figure(figsize=(10, 5 + 0.25 * len(layers)), layout='constrained')
    FigureCanvasAgg(figure)
    rows = figure.subplots(2, 2, sharey='row', height_ratios=(4, 1 + 0.25 * len(layers)))
    for column, (source, target) in enumerate((('A', 'B'), ('B', 'A'))):
        over, last = rows[:, column]
        over.set_title(f'{names[source]} → {names[target]}', parse_math=False)
        over.set_xlabel('iteration')
        for place, layer in enumerate(layers):
            if not (points := logged.get(f'{target}.{layer}')):
                continue
            steps, values = zip(*points, strict=True)
            over.plot(
                *(steps, values),
                label=layer,
                color=colours[layer],
                linestyle='--' if layer.endswith('norm2') else '-',
                marker='.' if len(points) == 1 else None,
            )
            last.barh(place, values[-1], color=colours[layer])
            inside = values[-1] > 0.5
            last.annotate(
                f'{values[-1]:.2f}',
                (values[-1], place),
                (-4 if inside else 4, 0),
                textcoords='offset points',
                ha='right' if inside else 'left',
                va='center',
                fontsize='small',
                bbox={'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.7, 'pad': 1},
            )
            last.set_title(f'at iteration {steps[-1]:,}')
        last.set_xlim(0, 1)
        last.set_xticks(list(TICKS), TICKS.values())
        for axes in (over, last):
            axes.grid(alpha=0.3)
    rows[0, 0].set_ylim(-0.03, 1.03)
    rows[0, 0].set_yticks(list(TICKS), TICKS.values())
    rows[1, 0].set_yticks(range(len(layers)), layers)
    rows[1, 0].invert_yaxis()  # the first layer on top
    lines = {line.get_label(): line for axes in rows[0] for line in axes.lines}
    figure.legend(handles=list(lines.values()), loc='outside right upper', fontsize='small')
    figure.savefig(path, dpi=110)


RHO = Plot(
    plot_rho,
    'mean rho of each layer against the iteration, for both directions',
    'Mean over the channels of rho as it is used. By the paper, instance norm (1) keeps more of '
    "the source's structure, layer norm (0) changes more of it.",
)
