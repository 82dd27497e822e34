"""Generators of DRIT: from a content and an attribute to an image (ECCV 2018, section 3)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..layers import (
    LIN,
    NO_PADDING,
    ConvNorm,
    ImageConv2d,
    InstanceNorm,
    Padding,
    ResBlock,
    convolve,
    linears,
    pad,
    repad,
    without_bias,
)
from .parts import RELU, SharedBlock, beside, init_drit

BLOCKS = {True: 3, False: 4}  # per domain, with concatenation and without


class MisINBlock(nn.Module):
    """Residual block that mixes a style into normalised features, pixel by pixel, twice.

    The style is not turned into scale and shift: it is concatenated to the features as constant
    planes, and two 1x1 convolutions mix them.

    Args:
        channels: Channels of the features and dimension of the style.
        pad: Padding of the result, for the next layer.
    """

    def __init__(self, channels: int, pad: Padding = ResBlock.padding) -> None:
        super().__init__()
        for half in (1, 2):
            self.add_module(f'conv{half}', nn.Conv2d(channels, channels, 3))
            mix = [nn.Conv2d(2 * channels, 2 * channels, 1), nn.Conv2d(2 * channels, channels, 1)]
            self.add_module(f'mix{half}', nn.ModuleList(mix))
        self.norm = InstanceNorm(channels)
        self.pad = pad

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (N, C, H + 2, W + 2), padded by reflection, to (N, C, H, W) padded by ``pad``."""
        out = x
        for half, padding in ((1, ResBlock.padding), (2, self.pad)):
            conv: Any = self.get_submodule(f'conv{half}')
            mix: Any = self.get_submodule(f'mix{half}')
            wide, narrow = mix
            out = self.norm(without_bias(conv, out), bias=conv.bias)
            out = convolve(wide, beside(out, style), RELU)
            out = convolve(narrow, out, RELU, padding)
        return out + repad(x, ResBlock.padding, self.pad)


@MODELS.register_module()
class DRITGenerator(BaseModule):
    """Generates an image of a domain from a content and an attribute.

    With ``concat`` the attribute is concatenated to the features, as constant planes, at each
    stage, after a residual block that both domains share; it changes colours more than shapes.
    Without ("feature-wise") an MLP turns it into four styles, one for each :class:`MisINBlock`, and
    the domains share nothing. Layer norms, with a scale and a shift for each channel, follow the
    up-sampling convolutions.

    Args:
        out_channels: Channels of the images.
        base_channels: A quarter of the content's channels, as in the encoders.
        style_dim: Dimension of an attribute.
        concat: See above.

    Raises:
        ValueError: A number of channels is below 1.
    """

    def __init__(
        self,
        out_channels: int = 3,
        base_channels: int = 64,
        style_dim: int = 8,
        concat: bool = True,
    ) -> None:
        super().__init__()
        check_counts(out_channels=out_channels, base_channels=base_channels, style_dim=style_dim)
        self.out_channels = out_channels
        self.style_dim = style_dim
        self.concat = concat
        self.content_channels = content = 4 * base_channels
        more = style_dim if concat else 0  # concatenated channels
        pads = (BLOCKS[concat] - 1) * [ResBlock.padding] + [NO_PADDING]
        if concat:
            width = content + more
            norms = (InstanceNorm(width), InstanceNorm(width))
            blocks: list[nn.Module] = [ResBlock(width, norms, True, padding) for padding in pads]
        else:
            sizes = [style_dim, content, content, len(pads) * content]
            self.mlp = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
            blocks = [MisINBlock(content, padding) for padding in pads]
        self.blocks = nn.ModuleList(blocks)
        first = (content + 2 * more) // 2
        second = (first + more) // 2
        self.up = nn.ModuleList(
            ConvNorm(
                nn.ConvTranspose2d(width, out, 3, stride=2, padding=1, output_padding=1),
                LIN(out, learn_rho=False),  # rho is 0: a layer norm
            )
            for width, out in ((content + 2 * more, first), (first + more, second))
        )
        self.last = ImageConv2d(second + more, out_channels, 1)

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_drit(self)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Generate images.

        Args:
            x: Output of :func:`features` for contents, (N, content_channels, h + 2, w + 2).
            style: Attributes, (N, style_dim).

        Returns:
            In [-1, 1], (N, out_channels, 4 h, 4 w).
        """
        if not self.concat:
            for block, own in zip(self.blocks, self._styles(style), strict=True):
                x = block(x, own)
            for up in self.up:
                x = up(x)
            return self.last(x)
        x = beside(x, style)
        for block in self.blocks:
            x = block(x)
        for up in self.up:
            x = up(beside(x, style))
        return self.last(beside(x, style))

    def _styles(self, style: Tensor) -> tuple[Tensor, ...]:
        """Return a style, (N, content_channels), for each block."""
        layers: Any = self.mlp  # mypy knows its parts as plain modules
        first, second, last = layers
        with torch.autocast(style.device.type, enabled=False):
            for layer in (first, second):
                (style,) = linears(style.float(), layer, relu=True)
            (style,) = linears(style, last)
        return style.chunk(len(self.blocks), 1)


class Generators(nn.ModuleDict):
    """The generators by target domain, and with ``concat`` the block that they share."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__(dict(networks))
        first: Any = next(iter(networks.values()), None)
        if first and first.concat and 'shared' not in networks:
            self['shared'] = SharedBlock(first.content_channels, padded=True)


def features(generators: Mapping[str, Callable] | nn.ModuleDict, content: Tensor) -> Tensor:
    """Compute the features that the generators of both domains start from.

    Args:
        generators: As in :class:`Generators`.
        content: (N, C, h, w).

    Returns:
        (N, C, h + 2, w + 2), padded for the generator's first block.
    """
    padded = pad(content, ResBlock.padding)
    return generators['shared'](padded) if 'shared' in generators else padded
