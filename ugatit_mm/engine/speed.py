"""How fast a training's setup is, in a line."""

from mmengine.optim import OptimWrapperDict

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
