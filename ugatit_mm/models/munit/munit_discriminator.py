"""Discriminator of MUNIT and UNIT: several scales (MUNIT paper, appendix B)."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels, check_smallest
from ..base.init import init_networks
from ..layers import NO_PADDING, PatchConv2d, convolve, pad, reflection
from ..layers.activation import Activation


@MODELS.register_module()
class MUNITDiscriminator(BaseModule):
    """Classifies patches of images as real or translated at several scales.

    As the official program builds it: each scale has its own network of 4x4 convolutions of stride
    2 with reflection padding and a bias, leaky ReLUs of slope 0.2, and a 1x1 convolution; no norm,
    no sigmoid. Each scale after the first sees the images averaged over 3x3 at stride 2, with
    padding excluded from the average.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution, doubled at each further one.
        num_layers: Number of convolutions of stride 2.
        num_scales: Number of scales.

    Raises:
        ValueError: A number of layers, scales or channels is below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 4,
        num_scales: int = 3,
    ) -> None:
        super().__init__()
        check_counts(
            in_channels=in_channels,
            base_channels=base_channels,
            num_layers=num_layers,
            num_scales=num_scales,
        )
        self.in_channels = in_channels
        self.min_size = smallest(num_layers, num_scales)
        widths = [in_channels, *(base_channels * 2**i for i in range(num_layers))]
        self.scales = nn.ModuleList(
            nn.Sequential(
                *(PatchConv2d(a, b, 4, 2) for a, b in pairwise(widths)),
                nn.Conv2d(widths[-1], 1, 1),
            )
            for _ in range(num_scales)
        )

    def fitting(self, side: int) -> dict[str, Any] | None:
        """Return fields that take images of ``side`` pixels; ``None`` if no layer count does."""
        scales = len(self.scales)
        fit = [layers for layers in range(1, 17) if smallest(layers, scales) <= side]
        return {'num_layers': fit[-1]} if fit else None

    def init_weights(self) -> None:
        """Initialise kernels from N(0, 0.02); called by the runner before training."""
        init_networks(self, 'normal')

    @staticmethod
    def sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the fields of a network with these weights; a KeyError names a missing one."""
        first = state['scales.0.0.weight']
        kernels = [key for key in state if key.endswith('.weight')]
        return {
            'in_channels': first.size(1),
            'base_channels': first.size(0),
            'num_layers': sum(key.startswith('scales.0.') for key in kernels) - 1,
            'num_scales': len({key.split('.')[1] for key in kernels}),
        }

    def forward(self, x: Tensor) -> list[Tensor]:
        """Classify images in [-1, 1], (N, in_channels, H, W).

        Returns:
            For each scale a logit for each patch, (N, 1, h, w): 16x16, 8x8 and 4x4 patches for
            256x256 pixels and four layers; 1 is real, 0 is fake.

        Raises:
            ValueError: The images have another number of channels, or are too small.
        """
        check_channels(x, self.in_channels, 'discriminator')
        check_smallest(x, self.min_size)
        act, logits = Activation(0.2), []
        for index, scale in enumerate(self.scales):
            if index:
                x = nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            network: Any = scale  # mypy knows its parts as plain modules
            *layers, last = network
            features = pad(x, reflection(1))
            for layer in layers:
                features = layer(
                    features, act, NO_PADDING if layer is layers[-1] else reflection(1)
                )
            logits.append(convolve(last, features))
        return logits

    def judge_both(self, real: Tensor, fake: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each scale, classify real and translated images, (N, in_channels, H, W)."""
        # No layer mixes samples, so both go as one batch.
        return [logit.chunk(2) for logit in self(torch.cat([real, fake]))]  # type: ignore[misc]


def smallest(num_layers: int, num_scales: int) -> int:
    """Side of the smallest images that the network takes, in pixels."""
    # The last scale's last convolution has reflection padding, which needs two pixels.
    return (2**num_layers - 1) * 2 ** (num_scales - 1) + 1
