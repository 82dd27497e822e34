"""Encoders of DRIT: content, and attribute (ECCV 2018, section 3 and appendix)."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_counts
from ..base.images import check_channels, check_quarters
from ..layers import ConvNorm, InstanceNorm, average, convolve, linears, pad, reflection, run_layers
from ..layers.activation import Activation
from .parts import LEAKY, RELU, SharedBlock, init_drit, residual_block

BLOCKS = 3  # residual blocks per domain


@MODELS.register_module()
class DRITContentEncoder(BaseModule):
    """Encodes the content, which both domains share: one domain's layers, before the shared block.

    As the official program (HsinYingLee/DRIT) builds it: reflection padding, biases in all layers,
    instance norms without scale and shift after all convolutions but the first.

    Args:
        in_channels: Channels of the images.
        base_channels: Channels of the first convolution; the content has four times as many.

    Raises:
        ValueError: A number of channels is below 1.
    """

    def __init__(self, in_channels: int = 3, base_channels: int = 64) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels)
        self.in_channels = in_channels
        self.content_channels = 4 * base_channels
        self.first = nn.Conv2d(in_channels, base_channels, 7)
        self.down = nn.Sequential(
            *(
                ConvNorm(
                    nn.Conv2d(width, 2 * width, 3, stride=2),
                    InstanceNorm(2 * width),
                    reflection(1),
                )
                for width in (base_channels, 2 * base_channels)
            )
        )
        self.blocks = nn.Sequential(*(residual_block(4 * base_channels) for _ in range(BLOCKS)))

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_drit(self)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images in [-1, 1], (N, in_channels, H, W).

        Returns:
            Features for the shared block, padded: (N, 4 * base_channels, H / 4 + 2, W / 4 + 2).

        Raises:
            ValueError: The network does not take images of this size or number of channels.
        """
        check_channels(x, self.in_channels, 'encoder')
        check_quarters(x)
        x = convolve(self.first, pad(x, reflection(3)), LEAKY, reflection(1))
        return run_layers((*self.down, *self.blocks), x, with_cp=False)


class ContentEncoders(nn.ModuleDict):
    """The content encoders by domain, and the block that they share."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__(dict(networks))
        if networks and 'shared' not in networks:
            channels: Any = next(iter(networks.values())).content_channels
            self['shared'] = SharedBlock(channels, padded=False)


def contents(
    encoders: Mapping[str, Callable] | nn.ModuleDict, images: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Encode images of one domain or of both; the norms work per sample.

    Args:
        encoders: As in :class:`ContentEncoders`.
        images: By domain, (N, C, H, W).

    Returns:
        Contents by domain, (N, content_channels, H / 4, W / 4), without noise.
    """
    features = {domain: encoders[domain](image) for domain, image in images.items()}
    if len(features) == 1:
        return {domain: encoders['shared'](each) for domain, each in features.items()}
    found = encoders['shared'](torch.cat([*features.values()])).chunk(len(features))
    return dict(zip(images, found, strict=True))


class _PooledBlock(nn.Module):
    """Residual block without norms that halves the size (BicycleGAN's)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.conv2 = nn.Conv2d(channels, out_channels, 3)
        self.shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, H / 2, W / 2)."""
        out = pad(F.leaky_relu(x, 0.2), reflection(1))
        out = convolve(self.conv1, out, Activation(0.2), reflection(1))
        out = F.avg_pool2d(convolve(self.conv2, out), 2)
        return out + convolve(self.shortcut, F.avg_pool2d(x, 2))


@MODELS.register_module()
class DRITAttributeEncoder(BaseModule):
    """Encodes the attribute of an image, its style.

    There are no norms. With ``concat`` it is BicycleGAN's residual encoder, whose two heads are the
    mean and the log variance of a normal distribution; without, plain strided convolutions that
    return the attribute itself.

    Args:
        in_channels: Channels of the images.
        base_channels: Channels of the first convolution; the last has four times as many.
        style_dim: Dimension of an attribute.
        concat: As in the generators.

    Raises:
        ValueError: A number of channels is below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        style_dim: int = 8,
        concat: bool = True,
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, base_channels=base_channels, style_dim=style_dim)
        self.in_channels = in_channels
        self.style_dim = style_dim
        self.concat = concat
        last = 4 * base_channels
        if concat:
            widths = [base_channels, 2 * base_channels, 3 * base_channels, last]
            self.first = nn.Conv2d(in_channels, base_channels, 4, stride=2)
            self.blocks = nn.Sequential(
                *(_PooledBlock(width, out) for width, out in itertools.pairwise(widths))
            )
            self.mean = nn.Linear(last, style_dim)
            self.log_variance = nn.Linear(last, style_dim)
        else:
            widths = [base_channels, 2 * base_channels, last, last, last]
            self.convs = nn.ModuleList([nn.Conv2d(in_channels, base_channels, 7)])
            for width, out in itertools.pairwise(widths):
                self.convs.append(nn.Conv2d(width, out, 4, stride=2))
            self.last = nn.Conv2d(last, style_dim, 1)

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_drit(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode images in [-1, 1], (N, in_channels, H, W).

        Returns:
            Attributes, (N, style_dim); with ``concat`` their mean and log variance.

        Raises:
            ValueError: The images have another number of channels.
        """
        check_channels(x, self.in_channels, 'attribute encoder')
        if not self.concat:
            x, last = pad(x, reflection(3)), len(self.convs) - 1
            convs: Any = self.convs  # mypy knows its parts as plain modules
            for index, conv in enumerate(convs):
                x = convolve(conv, x, RELU, *([reflection(1)] if index < last else []))
            with torch.autocast(x.device.type, enabled=False):
                pooled = average(x, torch.float32)
                return F.linear(pooled, self.last.weight.flatten(1), self.last.bias), None
        x = self.blocks(convolve(self.first, pad(x, reflection(1))))
        with torch.autocast(x.device.type, enabled=False):
            pooled = average(F.leaky_relu(x, 0.2), torch.float32)
            mean, log_variance = linears(pooled, self.mean, self.log_variance)
        return mean, log_variance
