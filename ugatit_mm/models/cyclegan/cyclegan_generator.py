"""Generator of CycleGAN: encoder, residual blocks, decoder (paper, appendix 7.2)."""

from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..base.init import init_networks
from ..layers import ConvNorm, InstanceNorm, ReflectConv2d, ResBlock, run_layers


@MODELS.register_module()
class CycleGANGenerator(BaseModule):
    """Translate an image into a domain.

    As the official PyTorch program (junyanz/pytorch-CycleGAN-and-pix2pix) builds its
    ``resnet_9blocks``: every convolution has a bias, every instance norm is without scale and
    shift, there is no dropout. Training and evaluation mode are the same.

    Args:
        in_channels: Channels of the source image.
        out_channels: Channels of the result.
        base_channels: Channels of the first convolution; the blocks have four times as many.
        num_blocks: Residual blocks: 9 by the paper for 256 pixels, 6 for 128.
        with_cp: Activation checkpointing: keep only the inputs of residual blocks and of the steps
            around them, and compute what is inside again in the backward pass.

    Raises:
        ValueError: There are fewer than 0 blocks.
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
        if num_blocks < 0:
            raise ValueError(f'num_blocks must be 0 or more, got {num_blocks}')
        self.in_channels = in_channels
        self.with_cp = with_cp
        widths = (base_channels, 2 * base_channels, 4 * base_channels)

        def conv_norm(conv: nn.Module) -> ConvNorm:
            return ConvNorm(conv, InstanceNorm(conv.out_channels))

        self.encoder = nn.Sequential(
            conv_norm(ReflectConv2d(in_channels, widths[0], 7)),
            conv_norm(nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1)),
            conv_norm(nn.Conv2d(widths[1], widths[2], 3, stride=2, padding=1)),
        )
        self.blocks = nn.Sequential(
            *(
                ResBlock(widths[2], (InstanceNorm(widths[2]), InstanceNorm(widths[2])), bias=True)
                for _ in range(num_blocks)
            )
        )
        up = {'stride': 2, 'padding': 1, 'output_padding': 1}
        self.decoder = nn.Sequential(
            conv_norm(nn.ConvTranspose2d(widths[2], widths[1], 3, **up)),
            conv_norm(nn.ConvTranspose2d(widths[1], widths[0], 3, **up)),
            ReflectConv2d(widths[0], out_channels, 7),
            nn.Tanh(),
        )

    def init_weights(self) -> None:
        """Draw the kernels from N(0, 0.02); called by the runner before training."""
        init_networks(self, 'normal')

    def forward(self, x: Tensor) -> Tensor:
        """Translate ``x``.

        Args:
            x: RGB images in [-1, 1], (N, in_channels, H, W).

        Returns:
            The images in [-1, 1], (N, out_channels, H, W).

        Raises:
            ValueError: The images do not have the channels or a size that the network takes.
        """
        self._check_input(x)
        for part in (self.encoder, self.blocks, self.decoder):
            x = run_layers(part, x, with_cp=self.with_cp)
        return x

    def _check_input(self, x: Tensor) -> None:
        if x.dim() != 4 or x.size(1) != self.in_channels:
            raise ValueError(
                f'the generator takes (N, {self.in_channels}, H, W), got {tuple(x.shape)}'
            )
        height, width = x.shape[2:]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise ValueError(
                f'height and width must be multiples of 4 from 8 on, got {height}x{width}'
            )
