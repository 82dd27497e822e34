"""Blocks of generators: convolution and norm, residual blocks, and running a sequence of them."""

from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .conv import without_bias
from .padding import NO_PADDING, Padding, reflection, repad


class ConvNorm(nn.Module):
    """Convolution, norm, ReLU.

    Args:
        conv: The convolution; its input includes any padding that it does not add itself.
        norm: The norm, which also adds the convolution's bias.
        pad: Padding of the result, for the next convolution.
    """

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        norm: nn.Module,
        pad: Padding = NO_PADDING,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the convolution's shape, padded."""
        x = without_bias(self.conv, x)
        return self.norm(x, bias=self.conv.bias, slope=0.0, pad=self.pad)


class ResBlock(nn.Module):
    """Residual block: (conv, norm, ReLU, conv, norm) + input.

    Args:
        channels: Channels, in and out.
        norms: Two norms; :class:`AdaLIN` takes gamma and beta from the MLP.
        bias: Whether the convolutions have biases.
        pad: Padding of the result, for the next layer.
        zeros: The convolutions zero-pad their input, which comes without padding.
        relu: Apply ReLU after the sum.
    """

    padding = reflection(1)  # of the convolutions, and therefore of the input

    def __init__(
        self,
        channels: int,
        norms: tuple[nn.Module, nn.Module],
        bias: bool,
        pad: Padding = padding,
        zeros: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__()
        if zeros:
            self.padding = NO_PADDING
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=int(zeros), bias=bias)
        self.norm1 = norms[0]
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=int(zeros), bias=bias)
        self.norm2 = norms[1]
        self.pad = pad
        self.relu = relu

    def forward(self, x: Tensor, *style: Tensor) -> Tensor:
        """Map (N, C, H + 2, W + 2), padded by reflection, to (N, C, H, W) padded by ``pad``.

        With ``zeros`` the input is (N, C, H, W). ``style`` is gamma and beta of the first norm and
        of the second, or empty.
        """
        first, second = style[: len(style) // 2], style[len(style) // 2 :]
        out = without_bias(self.conv1, x)
        out = self.norm1(out, *first, bias=self.conv1.bias, slope=0.0, pad=self.padding)
        out = without_bias(self.conv2, out)
        residual = repad(x, self.padding, self.pad)
        out = self.norm2(out, *second, bias=self.conv2.bias, pad=self.pad, residual=residual)
        return out.relu_() if self.relu else out


def run_layers(
    layers: Iterable[nn.Module],
    x: Tensor,
    styles: Iterable[tuple[Tensor, ...]] = repeat(()),
    *,
    with_cp: bool,
) -> Tensor:
    """Apply layers in sequence.

    Args:
        layers: The layers.
        x: Features, (N, C, H, W).
        styles: Further inputs of each layer.
        with_cp: Activation checkpointing: keep only each layer's input, and recompute the rest in
            the backward pass.
    """
    for layer, style in zip(layers, styles):
        if with_cp and torch.is_grad_enabled():
            x = checkpoint(layer, x, *style, use_reentrant=False, preserve_rng_state=False)
        else:
            x = layer(x, *style)
    return x
