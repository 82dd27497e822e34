"""Encoders of MUNIT: content and style (Huang et al., ECCV 2018, section 5.1 and appendix B)."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels, check_quarters
from ..base.init import init_networks
from ..layers import (
    NO_PADDING,
    ConvNorm,
    InstanceNorm,
    PatchConv2d,
    ResBlock,
    average,
    linears,
    pad,
    reflection,
    run_layers,
)
from ..layers.activation import Activation

RELU = Activation(0.0)


@MODELS.register_module()
class MUNITEncoder(BaseModule):
    """Encodes the content of an image: a map of a quarter of its height and width.

    As the official program builds it: reflection padding, biases, instance norms without scale and
    shift, two 4x4 convolutions of stride 2, residual blocks. UNIT's encoder is the same network.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution; the code has four times as many.
        num_blocks: Number of residual blocks.
        with_cp: Activation checkpointing: keep only the inputs of the layers, and recompute the
            rest in the backward pass.

    Raises:
        ValueError: A number of blocks or channels is below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 4,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels, num_blocks=num_blocks)
        self.in_channels = in_channels
        self.content_channels = 4 * base_channels
        self.with_cp = with_cp

        def conv_norm(width_in: int, width: int, kernel: int, stride: int) -> ConvNorm:
            conv = nn.Conv2d(width_in, width, kernel, stride)
            return ConvNorm(conv, InstanceNorm(width), reflection(1))

        # Each layer reflection-pads its result for the next.
        width = self.content_channels
        self.layers = nn.Sequential(
            conv_norm(in_channels, base_channels, 7, 1),
            conv_norm(base_channels, 2 * base_channels, 4, 2),
            conv_norm(2 * base_channels, width, 4, 2),
            *(
                ResBlock(width, (InstanceNorm(width), InstanceNorm(width)), True, padding)
                for padding in (num_blocks - 1) * [ResBlock.padding] + [NO_PADDING]
            ),
        )

    def init_weights(self) -> None:
        """Initialise kernels from N(0, 2 / fan_in); called by the runner before training."""
        init_networks(self, 'kaiming')

    @staticmethod
    def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the fields of a network with these weights; a KeyError names a missing one."""
        first = state['layers.0.conv.weight']
        layers = {key.split('.')[1] for key in state if key.startswith('layers.')}
        return {
            'in_channels': first.size(1),
            'base_channels': first.size(0),
            'num_blocks': len(layers) - 3,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Encode images in [-1, 1], (N, in_channels, H, W).

        Returns:
            Codes, unbounded, of both signs, (N, 4 * base_channels, H / 4, W / 4).

        Raises:
            ValueError: The network does not take images of this size or number of channels.
        """
        check_channels(x, self.in_channels, 'encoder')
        check_quarters(x)
        return run_layers(self.layers, pad(x, reflection(3)), with_cp=self.with_cp)


@MODELS.register_module()
class MUNITStyleEncoder(BaseModule):
    """Encodes the style of an image: a few numbers.

    A 7x7 convolution, four 4x4 convolutions of stride 2, ReLUs, no norm (it would remove the
    style), the average over the map, and a linear layer, computed in float32.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution; the map has four times as many.
        style_dim: Dimension of a style.

    Raises:
        ValueError: A number of channels or dimensions is below 1.
    """

    min_size = 16  # of images, in pixels: the last reflection padding needs two

    def __init__(self, in_channels: int = 3, base_channels: int = 64, style_dim: int = 8) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels, style_dim=style_dim)
        self.in_channels = in_channels
        self.style_dim = style_dim
        widths = [base_channels * factor for factor in (1, 2, 4, 4, 4)]
        self.layers = nn.Sequential(
            PatchConv2d(in_channels, base_channels, 7),
            *(PatchConv2d(a, b, 4, 2) for a, b in pairwise(widths)),
        )
        self.style = nn.Linear(widths[-1], style_dim)

    def init_weights(self) -> None:
        """Initialise kernels from N(0, 2 / fan_in); called by the runner before training."""
        init_networks(self, 'kaiming')

    @staticmethod
    def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the fields of a network with these weights; a KeyError names a missing one."""
        first = state['layers.0.weight']
        return {
            'in_channels': first.size(1),
            'base_channels': first.size(0),
            'style_dim': state['style.weight'].size(0),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Encode images in [-1, 1], (N, in_channels, H, W).

        Returns:
            Styles, (N, style_dim, 1, 1).

        Raises:
            ValueError: The images have another number of channels, or are too small.
        """
        check_channels(x, self.in_channels, 'style encoder')
        if min(x.shape[2:]) < self.min_size:
            raise ValueError(
                f'images of {x.size(2)}x{x.size(3)} are too small for the style encoder, which '
                f'needs {self.min_size}'
            )
        x = pad(x, reflection(3))
        for layer in self.layers:
            x = layer(x, RELU, NO_PADDING if layer is self.layers[-1] else reflection(1))
        with torch.autocast(x.device.type, enabled=False):
            (style,) = linears(average(x, self.style.weight.dtype), self.style)
        return style[:, :, None, None]
