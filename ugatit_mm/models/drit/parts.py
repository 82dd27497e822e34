"""Shared code of DRIT's networks: initialisation, shared blocks, concatenation of a style."""

import torch
from torch import Tensor, nn

from ..base.init import in_one_order
from ..layers import InstanceNorm, ResBlock, raw_weight
from ..layers.activation import Activation
from ..layers.padding import NO_PADDING, memory_format

LEAKY = Activation(0.01)  # torch's default slope, which the official program keeps
RELU = Activation(0.0)


def init_drit(module: nn.Module) -> None:
    """Initialise weights as the official program does under PyTorch 0.4.

    Kernels of convolutions, transposed or not, come from N(0, 0.02); all biases and the linear
    layers from U(-1 / sqrt(n), 1 / sqrt(n)), with n the fan-in. Scales and shifts of norms stay at
    1 and 0.
    """
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            continue
        with in_one_order(raw_weight(layer)) as kernel:
            transposed = isinstance(layer, nn.ConvTranspose2d)
            bound = (kernel[:, 0] if transposed else kernel[0]).numel() ** -0.5
            if isinstance(layer, nn.Linear):
                nn.init.uniform_(kernel, -bound, bound)
            else:
                nn.init.normal_(kernel, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound)


def residual_block(channels: int) -> ResBlock:
    """Return a residual block with instance norms, padded for another 3x3 convolution."""
    return ResBlock(channels, (InstanceNorm(channels), InstanceNorm(channels)), True)


class SharedBlock(ResBlock):
    """The residual block that both domains' encoders, or generators, share.

    Args:
        channels: Channels, in and out.
        padded: Whether another 3x3 convolution follows.
    """

    def __init__(self, channels: int, padded: bool) -> None:
        norms = (InstanceNorm(channels), InstanceNorm(channels))
        super().__init__(channels, norms, True, self.padding if padded else NO_PADDING)

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_drit(self)


def beside(x: Tensor, style: Tensor) -> Tensor:
    """Concatenate a style to features as constant planes.

    Args:
        x: Features, (N, C, H, W), padded or not.
        style: (N, S).

    Returns:
        (N, C + S, H, W).
    """
    planes = style.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        # In one memory format: torch would concatenate maps of two formats in NCHW.
        planes = planes.contiguous(memory_format=memory_format(x))
    return torch.cat([x, planes], 1)
