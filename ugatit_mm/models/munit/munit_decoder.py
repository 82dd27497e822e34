"""Decoder of MUNIT, and the part that UNIT's shares (MUNIT paper, section 5.1, appendix B)."""

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels
from ..base.init import init_networks
from ..layers import (
    NO_PADDING,
    AdaIN,
    ConvNorm,
    ImageConv2d,
    LayerNorm,
    ResBlock,
    linears,
    pad,
    reflection,
    run_layers,
)


class Upsample(nn.Module):
    """Nearest up-sampling to twice the size, with reflection padding for a 5x5 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, 2 H + 4, 2 W + 4)."""
        return pad(nn.functional.interpolate(x, scale_factor=2.0, mode='nearest'), reflection(2))


class CodeDecoder(BaseModule):
    """Residual blocks, then twice: up-sampling, a 5x5 convolution, :class:`LayerNorm`, ReLU.

    Args:
        block_norm: Builds a norm of the residual blocks from a number of channels.
        out_channels: Channels of the image.
        base_channels: Channels of the last features; the code has four times as many.
        num_blocks: Number of residual blocks.
        with_cp: See :class:`MUNITEncoder`.

    Raises:
        ValueError: A number of blocks or channels is below 1.
    """

    def __init__(
        self,
        block_norm: Callable[[int], nn.Module],
        out_channels: int,
        base_channels: int,
        num_blocks: int,
        with_cp: bool,
    ) -> None:
        super().__init__()
        check_counts(out_channels=out_channels, base_channels=base_channels, num_blocks=num_blocks)
        self.out_channels = out_channels
        self.content_channels = width = 4 * base_channels
        self.with_cp = with_cp
        self.blocks = nn.ModuleList(
            ResBlock(width, (block_norm(width), block_norm(width)), True, padding)
            for padding in (num_blocks - 1) * [ResBlock.padding] + [NO_PADDING]
        )

        def conv_norm(width: int) -> ConvNorm:
            last = width == 2 * base_channels  # reflection-padded for the image's convolution
            padding = reflection(3) if last else NO_PADDING
            return ConvNorm(nn.Conv2d(width, width // 2, 5), LayerNorm(width // 2), padding)

        self.decoder = nn.Sequential(
            Upsample(),
            conv_norm(width),
            Upsample(),
            conv_norm(width // 2),
            ImageConv2d(base_channels, out_channels, 7),
        )

    def init_weights(self) -> None:
        """Initialise kernels from N(0, 2 / fan_in), the layer norms' scales from U(0, 1)."""
        init_networks(self, 'kaiming')
        for layer in self.modules():
            if isinstance(layer, LayerNorm):
                layer.reset_parameters()

    @staticmethod
    def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the fields of a network with these weights; a KeyError names a missing one."""
        last = state['decoder.4.weight']
        blocks = {key.split('.')[1] for key in state if key.startswith('blocks.')}
        return {
            'out_channels': last.size(0),
            'base_channels': last.size(1),
            'num_blocks': len(blocks),
        }

    def decode(self, code: Tensor, styles: Iterable[tuple[Tensor, ...]] = repeat(())) -> Tensor:
        """Decode codes (N, C, H / 4, W / 4) to images in [-1, 1], (N, out_channels, H, W).

        Args:
            code: As the encoder returns it.
            styles: For each block, gamma and beta of the first norm and of the second.

        Raises:
            ValueError: The code has another number of channels.
        """
        check_channels(code, self.content_channels, 'decoder')
        x = run_layers(self.blocks, pad(code, ResBlock.padding), styles, with_cp=self.with_cp)
        return run_layers(self.decoder, x, with_cp=self.with_cp)


@MODELS.register_module()
class MUNITDecoder(CodeDecoder):
    """Decodes an image from a content and a style.

    A multilayer perceptron, computed in float32, turns the style into shift and scale of each
    channel of each AdaIN of the residual blocks: block by block, norm by norm, first all shifts,
    then all scales. There is no AdaIN in up-sampling.

    Args:
        out_channels: Channels of the image.
        base_channels: Channels of the last features; the content has four times as many.
        num_blocks: Number of residual blocks.
        style_dim: Dimension of a style.
        mlp_channels: Channels of the perceptron's two hidden layers.
        with_cp: See :class:`MUNITEncoder`.

    Raises:
        ValueError: A number of blocks, channels or dimensions is below 1.
    """

    def __init__(
        self,
        out_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 4,
        style_dim: int = 8,
        mlp_channels: int = 256,
        with_cp: bool = False,
    ) -> None:
        super().__init__(AdaIN, out_channels, base_channels, num_blocks, with_cp)
        check_counts(style_dim=style_dim, mlp_channels=mlp_channels)
        self.style_dim = style_dim
        outputs = 2 * 2 * num_blocks * self.content_channels  # shift and scale of two norms
        self.mlp = nn.ModuleList(
            nn.Linear(*widths)
            for widths in (
                (style_dim, mlp_channels),
                (mlp_channels, mlp_channels),
                (mlp_channels, outputs),
            )
        )

    @staticmethod
    def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
        """As :meth:`CodeDecoder.sizes`."""
        first = state['mlp.0.weight']
        own = {'style_dim': first.size(1), 'mlp_channels': first.size(0)}
        return CodeDecoder.sizes(state) | own

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Decode images.

        Args:
            content: (N, 4 * base_channels, H / 4, W / 4).
            style: (N, style_dim, 1, 1).

        Returns:
            Images in [-1, 1], (N, out_channels, H, W).

        Raises:
            ValueError: Content or style has another number of channels.
        """
        return self.decode(content, self.styles(style))

    def styles(self, style: Tensor) -> list[tuple[Tensor, ...]]:
        """Return gamma and beta, (N, C), of both norms of each block."""
        check_channels(style, self.style_dim, "decoder's perceptron")
        layers: Any = self.mlp  # mypy knows its parts as plain modules
        first, second, last = layers
        with torch.autocast(style.device.type, enabled=False):
            (x,) = linears(style.flatten(1).float(), first, relu=True)
            (x,) = linears(x, second, relu=True)
            (x,) = linears(x, last)
        each = x.unflatten(1, (-1, self.content_channels)).unbind(1)
        betas, gammas = each[::2], each[1::2]
        norms = list(zip(gammas, betas, strict=True))
        return [one + two for one, two in zip(norms[::2], norms[1::2], strict=True)]
