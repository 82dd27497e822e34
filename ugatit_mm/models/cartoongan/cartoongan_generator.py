"""Generator of CartoonGAN: flat, down, residual blocks, up (paper, section 3.1)."""

from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_choice, check_counts
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
)

PADDINGS = ('zeros', 'reflect')


@MODELS.register_module()
class CartoonGANGenerator(BaseModule):
    """Turns a photograph into a cartoon.

    As znxlwm/pytorch-CartoonGAN builds it: each strided convolution, down or up, is followed
    directly by one of stride 1; every convolution has a bias. Training and evaluation mode are the
    same.

    Args:
        in_channels: Channels of the source image.
        out_channels: Channels of the result.
        base_channels: Channels of the first convolution; the blocks have four times as many.
        num_blocks: Number of residual blocks; 8 in the paper, 16 in the first author's training
            program.
        padding: ``'zeros'``; or ``'reflect'`` in the first, the last and the residual convolutions,
            as in the first author's program.
        affine: Learn scale and shift of the instance norms, as in the first author's program.
        with_cp: Activation checkpointing: keep only the inputs of the layers and of the residual
            blocks, and recompute the rest in the backward pass.

    Raises:
        ValueError: A number of blocks or channels is below 1, or the padding is unknown.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 8,
        padding: str = 'zeros',
        affine: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        check_counts(
            in_channels=in_channels,
            out_channels=out_channels,
            base_channels=base_channels,
            num_blocks=num_blocks,
        )
        check_choice('padding', padding, PADDINGS)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.with_cp = with_cp
        widths = (base_channels, 2 * base_channels, 4 * base_channels)
        zeros = padding == 'zeros'
        outer, inner = (NO_PADDING if zeros else reflection(width) for width in (3, 1))
        self.pad = outer

        def conv_norm(conv: nn.Conv2d, after: Padding = NO_PADDING) -> ConvNorm:
            return ConvNorm(conv, InstanceNorm(conv.out_channels, affine), after)

        def flat(width: int) -> nn.Conv2d:
            return nn.Conv2d(width, width, 3, padding=1)

        def down(width: int, width_out: int) -> nn.Conv2d:
            return nn.Conv2d(width, width_out, 3, stride=2, padding=1)

        def up(width: int, width_out: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(width, width_out, 3, 2, padding=1, output_padding=1)

        wide = 3 if zeros else 0
        self.encoder = nn.Sequential(
            conv_norm(nn.Conv2d(in_channels, widths[0], 7, padding=wide)),
            down(widths[0], widths[1]),
            conv_norm(flat(widths[1])),
            down(widths[1], widths[2]),
            conv_norm(flat(widths[2]), inner),
        )
        self.blocks = nn.Sequential(
            *(
                ResBlock(
                    widths[2],
                    (InstanceNorm(widths[2], affine), InstanceNorm(widths[2], affine)),
                    True,
                    after,
                    zeros=zeros,
                )
                for after in (num_blocks - 1) * [inner] + [NO_PADDING]
            )
        )
        self.decoder = nn.Sequential(
            up(widths[2], widths[1]),
            conv_norm(flat(widths[1])),
            up(widths[1], widths[0]),
            conv_norm(flat(widths[0]), outer),
            ImageConv2d(widths[0], out_channels, 7, padding=wide),
        )

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_cartoongan(self)

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
        x = pad(x, self.pad)
        for part in (self.encoder, self.blocks, self.decoder):
            x = run_layers(part, x, with_cp=self.with_cp)
        return x


class Generators(nn.ModuleDict):
    """The generator into B, as a part."""

    def forward(self, images: Tensor) -> Tensor:
        """Translate images of A, (N, C, H, W)."""
        return self['B'](images)


def init_cartoongan(network: nn.Module) -> None:
    """Initialise kernels from N(0, 0.02), biases with 0.

    Scales of norms come from U(0, 1), shifts are 0: PyTorch's default of 2018, which the first
    author's program keeps.
    """
    init_networks(network, 'normal')
    for norm in network.modules():
        if isinstance(norm, InstanceNorm) and norm.affine:
            nn.init.uniform_(norm.weight)
            nn.init.zeros_(norm.bias)
