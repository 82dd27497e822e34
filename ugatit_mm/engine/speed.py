"""How fast a training's setup is, in a line, and the widths of its networks."""

from mmengine.config import Config
from mmengine.optim import OptimWrapperDict

from ..converters.networks import kind_of
from ..kernels.support import unusable
from ..models.base import UnpairedTranslation
from ..models.base.graph import refusal


def how_it_runs(model: UnpairedTranslation, optims: OptimWrapperDict) -> str:
    """Describe precision, kernels and graph of a training; what is off comes with its reason.

    Args:
        model: The model, on its device.
        optims: Its optimiser wrappers.
    """
    types = {str(getattr(optim, 'dtype', 'torch.float32')) for optim in optims.values()}
    precision = ' and '.join(sorted(name.removeprefix('torch.') for name in types))
    off = unusable(next(model.parameters()))
    kernels = "Triton's" if off is None else f"torch's ({off})"
    if model.graphs is None:
        off = 'model.graph is off'
    else:
        off = refusal(model, optims)
    steps = 'one CUDA graph' if off is None else f'launch by launch ({off})'
    return f'forward passes in {precision}; kernels: {kernels}; steps: {steps}'


def widths_of(cfg: Config) -> dict[str, int]:
    """Channels of the first convolution of each network of a model, by its field in the config."""
    parts = kind_of(cfg.model).NETWORKS
    fields = {part: cfg.model.get(part) or {} for part in parts}
    return {part: of['base_channels'] for part, of in fields.items() if 'base_channels' in of}


def width_options(cfg: Config, base_channels: int) -> dict[str, int]:
    """Options that change the width of a model.

    Args:
        cfg: Config of a training.
        base_channels: Channels of the first convolution of its first network, which sees the
            picture; the other networks keep their proportion to it.
    """
    widths = widths_of(cfg)
    first = next(iter(widths.values()), base_channels)
    return {
        f'model.{part}.base_channels': max(1, width * base_channels // first)
        for part, width in widths.items()
    }
