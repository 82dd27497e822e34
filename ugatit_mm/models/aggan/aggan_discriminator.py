"""Discriminator of AGGAN: one logit for each patch, of whole images or of their foreground."""

from typing import Any

from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels
from ..base.init import init_truncated
from ..layers import convolve, without_bias
from ..layers.activation import Activation
from .aggan_generator import norm

SLOPE = 0.2  # of the leaky ReLUs
STRIDES = (2, 2, 2, 1)


@MODELS.register_module()
class AGGANDiscriminator(BaseModule):
    """Classifies patches of images as real or translated.

    As the official TensorFlow program builds it: 4x4 convolutions with two lines of zeros around
    and a bias, leaky ReLUs of slope 0.2, no sigmoid. In the first phase an instance norm with scale
    and shift follows each convolution but the last, including the first; in the second there is
    none. Until then the biases before a norm stay 0; those of the official program take small
    random steps, as Adam scales up the rounding noise of zero gradients.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution, doubled at each of the next three.

    Raises:
        ValueError: A number of channels is below 1.
    """

    def __init__(self, in_channels: int = 3, base_channels: int = 64) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels)
        self.in_channels = in_channels
        widths = [in_channels, *(base_channels * 2**i for i in range(len(STRIDES)))]
        self.convs = nn.ModuleList(
            nn.Conv2d(width_in, width, 4, stride, padding=2)
            for width_in, width, stride in zip(widths, widths[1:], STRIDES, strict=False)
        )
        self.norms = nn.ModuleList(map(norm, widths[1:]))
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=2)

    def init_weights(self) -> None:
        """Initialise from truncated normals; called by the runner before training."""
        init_truncated(self)

    def forward(self, x: Tensor, normed: bool = True) -> Tensor:
        """Classify images in [-1, 1], (N, in_channels, H, W).

        Args:
            x: The images.
            normed: Apply the instance norms (first phase).

        Returns:
            A logit for each patch, (N, 1, h, w), of 35x35 patches for 256x256 pixels; 1 is real, 0
            is fake.

        Raises:
            ValueError: The images have another number of channels.
        """
        check_channels(x, self.in_channels, 'discriminator')
        layers: Any = zip(self.convs, self.norms, strict=True)  # plain modules to mypy
        for conv, layer in layers:
            if normed:
                x = layer(without_bias(conv, x), bias=conv.bias, slope=SLOPE)
            else:
                x = convolve(conv, x, Activation(SLOPE))
        return convolve(self.last, x)

    def rest_norms(self) -> None:
        """Give the parameters of unused norms gradients of 0.

        The official optimiser sees zeros, not ``None``, and keeps moving them by its momentum.
        """
        own = [p for p in self.norms.parameters() if p.requires_grad and p.grad is None]
        if own:
            sizes = [p.numel() for p in own]
            zeros = own[0].new_zeros(sum(sizes))
            for parameter, part in zip(own, zeros.split(sizes), strict=True):
                parameter.grad = part
