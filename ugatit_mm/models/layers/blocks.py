"""Blocks of generators: convolution and norm, residual blocks, and how a row of them runs."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .conv import ReflectConv2d


class ConvNorm(nn.Module):
    """Convolution, norm, ReLU.

    Args:
        conv: The convolution.
        norm: One that takes ``relu=True``.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the convolution's shape."""
        return self.norm(self.conv(x), relu=True)


class ResBlock(nn.Module):
    """Residual block: (conv, norm, ReLU, conv, norm) + input.

    Args:
        channels: Channels, in and out.
        norms: Two norms; those that are :class:`AdaLIN` take gamma and beta of the MLP.
        bias: Biases of the convolutions.
    """

    def __init__(self, channels: int, norms: tuple[nn.Module, nn.Module], bias: bool) -> None:
        super().__init__()
        self.conv1 = ReflectConv2d(channels, channels, 3, bias=bias)
        self.norm1 = norms[0]
        self.conv2 = ReflectConv2d(channels, channels, 3, bias=bias)
        self.norm2 = norms[1]

    def forward(self, x: Tensor, *style: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; ``style`` is gamma and beta, or nothing."""
        out = self.norm1(self.conv1(x), *style, relu=True)
        return self.norm2(self.conv2(out), *style).add_(x)


def run_layers(layers: Iterable[nn.Module], x: Tensor, *style: Tensor, with_cp: bool) -> Tensor:
    """Apply layers one after the other.

    Args:
        layers: The layers.
        x: Features, (N, C, H, W).
        style: Further inputs of every layer.
        with_cp: Keep only the input of each layer, and compute what is inside again in the
            backward pass.
    """
    for layer in layers:
        if with_cp and torch.is_grad_enabled():
            x = checkpoint(layer, x, *style, use_reentrant=False, preserve_rng_state=False)
        else:
            x = layer(x, *style)
    return x
