"""Discriminator of CycleGAN: one logit for each patch (paper, section 4 and appendix 7.2)."""

from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...domains import DOMAINS
from ...messages import check_counts
from ..base.images import check_channels, check_smallest
from ..base.init import init_networks
from ..layers import InstanceNorm, convolve, without_bias
from ..layers.activation import Activation


@MODELS.register_module()
class CycleGANDiscriminator(BaseModule):
    """Classifies patches of images as real or translated.

    As the official PyTorch program builds it: 4x4 convolutions with zero padding and a bias,
    instance norms without scale and shift after all but the first and the last, leaky ReLUs of
    slope 0.2, no sigmoid. The weights have the official names, ``model.0.weight`` and so on.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution, doubled at each further one, up to eight
            times.
        num_layers: Number of convolutions of stride 2; two of stride 1 follow. 3 gives receptive
            fields of 70 pixels.

    Raises:
        ValueError: A number of layers or channels is below 1.
    """

    def __init__(self, in_channels: int = 3, base_channels: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels, num_layers=num_layers)
        self.in_channels = in_channels
        self.min_size = smallest(num_layers)

        def conv(width_in: int, width: int, stride: int) -> nn.Conv2d:
            return nn.Conv2d(width_in, width, 4, stride, padding=1)

        width = base_channels
        layers: list[nn.Module] = [conv(in_channels, width, 2), nn.LeakyReLU(0.2)]
        for i in range(1, num_layers + 1):
            width_in, width = width, base_channels * min(2**i, 8)
            layers += [
                conv(width_in, width, 2 if i < num_layers else 1),
                InstanceNorm(width),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*layers, conv(width, 1, 1))

    def fitting(self, side: int) -> dict[str, Any] | None:
        """Return fields that take images of ``side`` pixels; ``None`` if no layer count does."""
        fit = [layers for layers in range(1, 17) if smallest(layers) <= side]
        return {'num_layers': fit[-1]} if fit else None

    def init_weights(self) -> None:
        """Initialise kernels from N(0, 0.02); called by the runner before training."""
        init_networks(self, 'normal')

    def forward(self, x: Tensor) -> Tensor:
        """Classify images in [-1, 1], (N, in_channels, H, W).

        Returns:
            A logit for each patch, (N, 1, h, w), of 30x30 patches for 256x256 pixels and three
            layers; 1 is real, 0 is fake.

        Raises:
            ValueError: The images have another number of channels, or are too small.
        """
        check_channels(x, self.in_channels, 'discriminator')
        check_smallest(x, self.min_size)
        network: Any = self.model  # mypy knows its parts as plain modules
        first, activation, *layers, last = network
        x = convolve(first, x, Activation(activation.negative_slope))
        for conv, norm, activation in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            x = without_bias(conv, x)
            x = norm(x, bias=conv.bias, slope=activation.negative_slope)
        return convolve(last, x)


def smallest(num_layers: int) -> int:
    """Side of the smallest images for ``num_layers`` strided convolutions, in pixels."""
    return 3 * 2**num_layers  # the last two convolutions lose a pixel each


class DiscriminatorPair(nn.ModuleDict):
    """The discriminators by domain."""

    def forward(
        self, real: dict[str, Tensor], fake: dict[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Classify the real and the translated images of each domain.

        Args:
            real: Images by domain, (N, C, H, W).
            fake: Translations by domain, (N, C, H, W).

        Returns:
            For each domain the logits of the real and the translated images.
        """
        # The norms work per sample, so both go as one batch.
        return {x: self[x](torch.cat([real[x], fake[x]])).chunk(2) for x in DOMAINS}
