"""Modules inside and outside of MMEngine's distributed wrappers."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(module: nn.Module) -> Any:
    """Return the module inside a distributed wrapper, or the module as it is."""
    return module.module if is_model_wrapper(module) else module
