"""Unwrapping of distributed wrappers, and our own wrapper."""

from itertools import chain
from typing import Any

import torch
from mmagic.registry import MODEL_WRAPPERS
from mmengine.device import get_device
from mmengine.dist import broadcast
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from torch import nn


@MODEL_WRAPPERS.register_module()
class AveragedParallel(nn.Module):
    """Data-parallel wrapper of a model whose steps average the gradients after each backward pass.

    For models that run a part several times in a step, or run two backward passes through one
    graph: DistributedDataParallel averages during the backward pass and allows one forward pass for
    each.

    Args:
        module: An :class:`UnpairedTranslation`; all ranks get the first rank's weights and buffers.
        device_ids: As in MMEngine's wrappers; not used.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__()
        self.module: Any = module.to(get_device())
        with torch.no_grad():
            for tensor in chain(module.parameters(), module.buffers()):
                broadcast(tensor.data)

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> Any:
        """Call the model's method."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict) -> list:
        """Call the model's method."""
        return self.module.val_step(data)

    def test_step(self, data: dict) -> list:
        """Call the model's method."""
        return self.module.test_step(data)


def unwrap(module: nn.Module) -> Any:
    """Return the module inside a distributed wrapper, or the module as it is."""
    return module.module if is_model_wrapper(module) else module
