"""Generator of CycleGAN: encoder, residual blocks, decoder (paper, appendix 7.2)."""

from functools import partial
from typing import NamedTuple

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...domains import DOMAINS, other
from ...messages import check_counts
from ..base.images import check_channels, check_quarters
from ..base.init import init_networks
from ..layers import (
    NO_PADDING,
    ConvNorm,
    ImageConv2d,
    InstanceNorm,
    Padding,
    ResBlock,
    pad,
    reflection,
    run_layers,
    uses_of,
)


@MODELS.register_module()
class CycleGANGenerator(BaseModule):
    """Translates images into a domain.

    As the official PyTorch program (junyanz/pytorch-CycleGAN-and-pix2pix) builds its
    ``resnet_9blocks``: every convolution has a bias, instance norms have no scale and shift, there
    is no dropout. Training and evaluation mode are the same.

    Args:
        in_channels: Channels of the source image.
        out_channels: Channels of the result.
        base_channels: Channels of the first convolution; the blocks have four times as many.
        num_blocks: Number of residual blocks: in the paper 9 for 256 pixels, 6 for 128.
        with_cp: Activation checkpointing: keep only the inputs of residual blocks and of the steps
            around them, and recompute the rest in the backward pass.

    Raises:
        ValueError: A number of blocks or channels is below 1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 9,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_counts(
            in_channels=in_channels,
            out_channels=out_channels,
            base_channels=base_channels,
            num_blocks=num_blocks,
        )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.with_cp = with_cp
        widths = (base_channels, 2 * base_channels, 4 * base_channels)

        def conv_norm(
            conv: nn.Conv2d | nn.ConvTranspose2d, padding: Padding = NO_PADDING
        ) -> ConvNorm:
            return ConvNorm(conv, InstanceNorm(conv.out_channels), padding)

        # Each layer reflection-pads its result for the next; strided convolutions zero-pad
        # themselves.
        self.encoder = nn.Sequential(
            conv_norm(nn.Conv2d(in_channels, widths[0], 7)),
            conv_norm(nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1)),
            conv_norm(nn.Conv2d(widths[1], widths[2], 3, stride=2, padding=1), ResBlock.padding),
        )
        self.blocks = nn.Sequential(
            *(
                ResBlock(
                    widths[2], (InstanceNorm(widths[2]), InstanceNorm(widths[2])), True, padding
                )
                for padding in (num_blocks - 1) * [ResBlock.padding] + [NO_PADDING]
            )
        )
        up = partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.decoder = nn.Sequential(
            conv_norm(up(widths[2], widths[1])),
            conv_norm(up(widths[1], widths[0]), reflection(3)),
            ImageConv2d(widths[0], out_channels, 7),
        )

    def init_weights(self) -> None:
        """Initialise kernels from N(0, 0.02); called by the runner before training."""
        init_networks(self, 'normal')

    def forward(self, x: Tensor) -> Tensor:
        """Translate ``x``.

        Args:
            x: Images in [-1, 1], (N, in_channels, H, W).

        Returns:
            The images in [-1, 1], (N, out_channels, H, W).

        Raises:
            ValueError: The network does not take images of this size or number of channels.
        """
        check_channels(x, self.in_channels, 'generator')
        check_quarters(x)
        x = pad(x, reflection(3))
        for part in (self.encoder, self.blocks, self.decoder):
            x = run_layers(part, x, with_cp=self.with_cp)
        return x


class Generated(NamedTuple):
    """Output of the generator into a domain X in a step.

    Attributes:
        fake: Translation of the other domain's images, (N, C, H, W).
        cycle: Translation of the other domain's fakes, back into X.
        identity: Translation of X's own images; ``None`` if not requested.
    """

    fake: Tensor
    cycle: Tensor
    identity: Tensor | None


class GeneratorPair(nn.ModuleDict):
    """The generators by target domain: ``pair['B']`` translates A to B."""

    def forward(self, real: dict[str, Tensor], identity: bool) -> dict[str, Generated]:
        """Translate, translate back, and map each image into its own domain.

        Args:
            real: Images by domain, (N, C, H, W) each.
            identity: Also run the passes of images that are in their target domain already.

        Returns:
            Outputs by target domain.
        """
        uses = {domain: uses_of(self[domain], 2) for domain in DOMAINS}
        fake: dict[str, Tensor] = {}
        own: dict[str, Tensor | None] = dict.fromkeys(DOMAINS)
        for domain in DOMAINS:
            images = real[other(domain)]
            if identity:
                # The norms work per sample, so both inputs go as one batch.
                both = uses[domain][0](torch.cat([images, real[domain]]))
                fake[domain], own[domain] = both.chunk(2)
            else:
                fake[domain] = uses[domain][0](images)
        cycle = {domain: uses[domain][1](fake[other(domain)]) for domain in DOMAINS}
        return {x: Generated(fake[x], cycle[x], own[x]) for x in DOMAINS}
