"""Generator and attention network of AGGAN (Mejjati et al., NeurIPS 2018, arXiv 1806.02311)."""

from typing import Any

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels, check_quarters
from ..base.init import init_truncated
from ..layers import (
    NO_PADDING,
    ConvNorm,
    ImageConv2d,
    InstanceNorm,
    ResBlock,
    SameConv2d,
    SameConvTranspose2d,
    pad,
    reflection,
    run_layers,
)


def norm(channels: int) -> InstanceNorm:
    """Instance norm with scale and shift, as in all official networks."""
    return InstanceNorm(channels, affine=True)


@MODELS.register_module()
class AGGANGenerator(BaseModule):
    """Generates a whole image in the style of a domain; a mask selects the shown part.

    As the official TensorFlow program builds it: zero padding everywhere, strided convolutions
    padded as TensorFlow's ``SAME``, every convolution with a bias, instance norms with scale and
    shift, a ReLU after the sum of each residual block.

    Args:
        in_channels: Channels of the image and of the result, which are blended.
        base_channels: Channels of the first convolution; the blocks have four times as many.
        num_blocks: Number of residual blocks.
        with_cp: Activation checkpointing: keep only the inputs of residual blocks and of the steps
            around them, and recompute the rest in the backward pass.

    Raises:
        ValueError: A number of blocks or channels is below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 32,
        num_blocks: int = 9,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels, num_blocks=num_blocks)
        self.in_channels = self.out_channels = in_channels
        self.with_cp = with_cp
        first, second, third = (factor * base_channels for factor in (1, 2, 4))
        self.encoder = nn.Sequential(
            ConvNorm(nn.Conv2d(in_channels, first, 7, padding=3), norm(first)),
            ConvNorm(SameConv2d(first, second), norm(second)),
            ConvNorm(SameConv2d(second, third), norm(third)),
        )
        self.blocks = nn.Sequential(
            *(
                ResBlock(third, (norm(third), norm(third)), True, NO_PADDING, zeros=True, relu=True)
                for _ in range(num_blocks)
            )
        )
        self.decoder = nn.Sequential(
            ConvNorm(SameConvTranspose2d(third, second), norm(second)),
            ConvNorm(SameConvTranspose2d(second, first), norm(first)),
            ImageConv2d(first, in_channels, 7, padding=3),
        )

    def init_weights(self) -> None:
        """Initialise from truncated normals; called by the runner before training."""
        init_truncated(self)

    def forward(self, x: Tensor) -> Tensor:
        """Generate images from ``x``.

        Args:
            x: Images in [-1, 1], (N, in_channels, H, W).

        Returns:
            Images in [-1, 1], of the same shape.

        Raises:
            ValueError: The network does not take images of this size or number of channels.
        """
        check_channels(x, self.in_channels, 'generator')
        check_quarters(x)
        for part in (self.encoder, self.blocks, self.decoder):
            x = run_layers(part, x, with_cp=self.with_cp)
        return x


@MODELS.register_module()
class AGGANAttention(BaseModule):
    """Predicts how much of each pixel to translate.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution; the block has twice as many.
        decoder_kernels: Sizes of the decoder's three kernels. With 1, as the official program
            computes it, the mask is constant on blocks of 4x4 pixels, so the decoder runs at a
            quarter of the height and width. The program passes 3, 3 and 7 to the wrong argument.

    Raises:
        ValueError: A number of channels is below 1, or a kernel size is even.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 32,
        decoder_kernels: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels)
        kernels = tuple(decoder_kernels)
        if len(kernels) != 3 or not all(type(k) is int and k > 0 and k % 2 for k in kernels):
            raise ValueError(f'decoder_kernels must be three odd numbers, got {decoder_kernels}')
        self.in_channels = in_channels
        first, second = base_channels, 2 * base_channels
        self.encoder = nn.Sequential(
            ConvNorm(nn.Conv2d(in_channels, first, 7, stride=2), norm(first)),
            ConvNorm(SameConv2d(first, second), norm(second), ResBlock.padding),
            ResBlock(second, (norm(second), norm(second)), True, NO_PADDING, relu=True),
        )

        def conv(channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
            return nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)

        self.decoder = nn.Sequential(
            ConvNorm(conv(second, second, kernels[0]), norm(second)),
            ConvNorm(conv(second, first, kernels[1]), norm(first)),
            conv(first, 1, kernels[2]),
        )

    def init_weights(self) -> None:
        """Initialise from truncated normals; called by the runner before training."""
        init_truncated(self)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the masks of images in [-1, 1], (N, in_channels, H, W).

        Returns:
            Masks in [0, 1], (N, 1, H, W): 1 is translated, 0 is kept.

        Raises:
            ValueError: The network does not take images of this size or number of channels.
        """
        check_channels(image, self.in_channels, 'attention network')
        check_quarters(image)
        x = self.encoder(pad(image, reflection(3)))
        decoder: Any = self.decoder
        factor = 1  # of nearest up-sampling, deferred: 1x1 layers run before it
        for layer, up in zip(decoder, (2, 2, 1), strict=True):
            factor *= up
            if getattr(layer, 'conv', layer).kernel_size != (1, 1):
                x, factor = enlarged(x, factor), 1
            x = layer(x)
        # In the dtype of the image: a threshold is applied to it.
        return enlarged(torch.sigmoid(x.to(image.dtype)), factor)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Repeat each pixel ``factor`` times in both directions."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode='nearest')
