"""Discriminator of CartoonGAN: one logit for each patch (paper, section 3.1)."""

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels
from ..layers import InstanceNorm, convolve, without_bias
from ..layers.activation import IDENTITY, Activation
from .cartoongan_generator import init_cartoongan

SLOPE = 0.2
# For each convolution: input and output width in units of base_channels, stride, and whether a norm
# follows. The first takes the image, the last returns the logit.
PLAN = ((0, 1, 1, 0), (1, 2, 2, 0), (2, 4, 1, 1), (4, 4, 2, 0), (4, 8, 1, 1), (8, 8, 1, 1))


@MODELS.register_module()
class CartoonGANDiscriminator(BaseModule):
    """Separates cartoons from translations and from cartoons without clear edges, per patch.

    As znxlwm/pytorch-CartoonGAN builds it, without its sigmoid, which is in the loss: 3x3
    convolutions with zero padding and a bias, leaky ReLUs of slope 0.2, instance norms after the
    third, the fifth and the sixth. The weights have the official names, ``convs.0.weight`` and so
    on.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution; the last ones have eight times as many.
        affine: Learn scale and shift of the norms, as in the first author's program.

    Raises:
        ValueError: A number of channels is below 1.
    """

    def __init__(self, in_channels: int = 3, base_channels: int = 32, affine: bool = False) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels)
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for inside, outside, stride, norm in PLAN:
            width = outside * base_channels
            conv = nn.Conv2d(inside * base_channels or in_channels, width, 3, stride, padding=1)
            layers += [conv, *[InstanceNorm(width, affine)] * norm, nn.LeakyReLU(SLOPE)]
        self.convs = nn.Sequential(*layers, nn.Conv2d(8 * base_channels, 1, 3, padding=1))

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_cartoongan(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images in [-1, 1], (N, in_channels, H, W).

        Returns:
            A logit for each patch, (N, 1, H / 4, W / 4); above 0 means cartoon.

        Raises:
            ValueError: The images have another number of channels.
        """
        check_channels(x, self.in_channels, 'discriminator')
        layers = list(self.convs)
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(layer, nn.Conv2d) and isinstance(after, InstanceNorm):
                x = without_bias(layer, x)
                x = after(x, bias=layer.bias, slope=SLOPE)
            elif isinstance(layer, nn.Conv2d):
                x = convolve(layer, x, IDENTITY if after is None else Activation(SLOPE))
        return x


class Discriminators(nn.ModuleDict):
    """The discriminator of B, as a part."""

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Classify several batches of one size, (N, C, H, W) each, in one pass.

        Returns:
            The logits of each batch.
        """
        # The norms work per sample.
        return self['B'](torch.cat(images)).chunk(len(images))
