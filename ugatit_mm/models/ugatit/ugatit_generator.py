"""Generator of U-GAT-IT: encoder, CAM attention, AdaLIN decoder (paper section 2.1.1)."""

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_choice, check_counts
from ...pixels import sides_of
from ..base.images import check_channels, check_img_size, check_quarters
from ..base.init import INITS, init_networks
from ..layers import (
    CAM,
    LIN,
    NO_PADDING,
    AdaLIN,
    ConvNorm,
    GroupNorm,
    ImageConv2d,
    InstanceNorm,
    JointLinear,
    ResBlock,
    UpConv2d,
    average,
    linears,
    pad,
    reflection,
    repad,
    replication,
    run_layers,
    shared,
)
from ..layers.activation import Activation
from .recipes import resolve

NORMS = ('adalin', 'in', 'ln', 'adain', 'gn')


class StyleMLP(nn.Module):
    """Computes AdaLIN's gamma and beta from the attended features.

    The light variant averages the features first and takes any size; the full one flattens them (C,
    H, W) and is tied to one size: 268M of the generator's 279M parameters at 256 px are in its
    first layer.

    Args:
        channels: Channels C of the features, of gamma and of beta.
        hidden: Width of the hidden layers.
        size: Height and width of the features; ``None`` for light.
        bias: Whether the layers have biases.
    """

    def __init__(
        self, channels: int, hidden: int, size: tuple[int, int] | None, bias: bool
    ) -> None:
        super().__init__()
        self.light = size is None
        positions = 1 if size is None else size[0] * size[1]
        self.fc1 = JointLinear(channels * positions, hidden, bias)
        self.fc2 = nn.Linear(hidden, hidden, bias)
        self.gamma = nn.Linear(hidden, channels, bias)
        self.beta = nn.Linear(hidden, channels, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma and beta, (N, C) each."""
        # In float32 under autocast: the full variant's first layer is bound by reading its weights
        # once, and a copy in another dtype would cost another read and half a gigabyte.
        with torch.autocast(x.device.type, enabled=False):
            x = average(x, self.fc1.weight.dtype) if self.light else x.flatten(1)
            (x,) = linears(self.fc1(x, relu=True), self.fc2, relu=True)
            gamma, beta = linears(x, self.gamma, self.beta)
        return gamma, beta


@MODELS.register_module()
class UGATITGenerator(BaseModule):
    """Translates images into a domain.

    Fields that are ``None`` come from ``recipe``; see docs/recipes.md.

    Args:
        in_channels: Channels of the source image.
        out_channels: Channels of the result.
        base_channels: Channels of the first convolution; the bottleneck has four times as many.
        num_blocks: Number of residual blocks in the encoder, and in the decoder.
        img_size: Side of the square image in pixels, or (height, width). The full variant takes no
            other size; the light one takes any multiples of 4 from 8 up.
        light: Average the features before the MLP.
        norm: Norm in the decoder: ``'adalin'``, or one of the paper's ablation (Table 1): ``'in'``,
            ``'ln'``, ``'gn'`` are plain affine norms everywhere; ``'adain'`` takes gamma and beta
            from the MLP with rho fixed at 1 in the blocks, and uses ``'in'`` in up-sampling.
        norm_groups: Number of groups of ``'gn'``.
        cam: Use CAM attention. Without it (ablation) there is no classifier and no 1x1 convolution:
            the decoder gets the encoder's features.
        with_cp: Activation checkpointing: keep only the inputs of residual blocks and of
            up-sampling steps, and recompute the rest in the backward pass.
        recipe: ``'tensorflow'`` or ``'pytorch'``.
        bias: Whether convolutions, classifiers and MLP have biases (the 1x1 convolution always has
            one).
        encoder_affine: Learn scale and shift in the encoder's instance norms.
        shared_cam: One classifier for average and max pooling instead of two.
        mlp_width: Hidden width of the MLP: ``'blocks'`` is ``base_channels * num_blocks``,
            ``'features'`` is ``4 * base_channels``.
        rho_init: Initial rho in AdaLIN; LIN starts at 0.
        rho_smoothing: See :class:`AdaLIN`.
        unbiased: Use the unbiased variance in AdaLIN and LIN.
        init: ``'normal'`` or ``'default'``, see :func:`init_networks`.

    Raises:
        ValueError: An unknown value, or sizes that do not match.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 4,
        img_size: int | tuple[int, int] = 256,
        light: bool = False,
        norm: str = 'adalin',
        norm_groups: int = 32,
        cam: bool = True,
        with_cp: bool = False,
        recipe: str = 'tensorflow',
        bias: bool | None = None,
        encoder_affine: bool | None = None,
        shared_cam: bool | None = None,
        mlp_width: str | None = None,
        rho_init: float | None = None,
        rho_smoothing: float | None = None,
        unbiased: bool | None = None,
        init: str | None = None,
    ) -> None:
        super().__init__()
        fields = resolve(
            recipe,
            'generator',
            bias=bias,
            encoder_affine=encoder_affine,
            shared_cam=shared_cam,
            mlp_width=mlp_width,
            rho_init=rho_init,
            rho_smoothing=rho_smoothing,
            unbiased=unbiased,
            init=init,
        )
        bias = fields['bias']
        check_choice('norm', norm, NORMS)
        check_choice('mlp_width', fields['mlp_width'], ('blocks', 'features'))
        check_choice('init', fields['init'], INITS)
        check_counts(
            in_channels=in_channels,
            out_channels=out_channels,
            base_channels=base_channels,
            num_blocks=num_blocks,
        )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.img_size = check_img_size(img_size, 4)
        self.light = light
        self.with_cp = with_cp
        self.init = fields['init']
        channels = 4 * base_channels

        def plain_norm(kind: str, features: int) -> nn.Module:
            if kind == 'in':
                return InstanceNorm(features, affine=True)
            groups = 1 if kind == 'ln' else norm_groups
            if features % groups:
                raise ValueError(
                    f'norm_groups={groups} does not divide the {features} channels of a decoder '
                    'layer: choose norm_groups or base_channels so that it does'
                )
            return GroupNorm(groups, features)

        def block_norm() -> nn.Module:
            if norm == 'adalin':
                return AdaLIN(
                    channels,
                    rho_init=fields['rho_init'],
                    rho_smoothing=fields['rho_smoothing'],
                    unbiased=fields['unbiased'],
                )
            if norm == 'adain':
                return AdaLIN(
                    channels,
                    rho_init=1.0,
                    rho_smoothing=0.0,
                    unbiased=fields['unbiased'],
                    learn_rho=False,
                )
            return plain_norm(norm, channels)

        def up_norm(features: int) -> nn.Module:
            if norm == 'adalin':
                return LIN(features, unbiased=fields['unbiased'])
            return plain_norm('in' if norm == 'adain' else norm, features)

        def encoder_norm(features: int) -> nn.Module:
            return InstanceNorm(features, affine=fields['encoder_affine'])

        # Each layer pads its result for the next.
        first = nn.Conv2d(in_channels, base_channels, 7, bias=bias)
        encoder: list[nn.Module] = [ConvNorm(first, encoder_norm(base_channels), ResBlock.padding)]
        for width in (base_channels, 2 * base_channels):
            down = nn.Conv2d(width, 2 * width, 3, 2, bias=bias)
            encoder.append(ConvNorm(down, encoder_norm(2 * width), ResBlock.padding))
        for _ in range(num_blocks):
            norms = (encoder_norm(channels), encoder_norm(channels))
            encoder.append(ResBlock(channels, norms, bias))
        self.encoder = nn.Sequential(*encoder)

        self.cam = CAM(channels, Activation(0.0), fields['shared_cam'], bias) if cam else None

        self.mlp = None
        if norm in ('adalin', 'adain'):
            hidden = base_channels * (num_blocks if fields['mlp_width'] == 'blocks' else 4)
            height, width = sides_of(self.img_size)
            size = None if light else (height // 4, width // 4)
            self.mlp = StyleMLP(channels, hidden, size, bias)
        pads = num_blocks * [ResBlock.padding] + [replication()]
        self.attended = pads[0]  # padding of the decoder's input
        self.blocks = nn.ModuleList(
            ResBlock(channels, (block_norm(), block_norm()), bias, padding) for padding in pads[1:]
        )

        decoder: list[nn.Module] = [
            ConvNorm(UpConv2d(width, width // 2, bias), up_norm(width // 2), padding)
            for width, padding in ((channels, replication()), (channels // 2, reflection(3)))
        ]
        last = ImageConv2d(base_channels, out_channels, 7, bias=bias)
        self.decoder = nn.Sequential(*decoder, last)

    def init_weights(self) -> None:
        """Initialise the kernels by ``init``; called by the runner before training."""
        init_networks(self, self.init)

    def forward(
        self, x: Tensor, return_cam: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None, Tensor | None]:
        """Translate ``x``.

        Args:
            x: Images in [-1, 1], (N, in_channels, H, W).
            return_cam: Return the attention too.

        Returns:
            The images in [-1, 1], (N, out_channels, H, W); with ``return_cam`` also the CAM logits
            (N, 2) and the heatmap (N, 1, H / 4, W / 4), both ``None`` without CAM.

        Raises:
            ValueError: The network does not take images of this size or number of channels.
        """
        self._check_input(x)
        x = run_layers(self.encoder, pad(x, reflection(3)), with_cp=self.with_cp)
        cam_logit = heatmap = None
        if self.cam is None:
            x = repad(x, ResBlock.padding, self.attended)
        else:
            x = repad(x, ResBlock.padding, NO_PADDING)
            x, cam_logit, heatmap = self.cam(x, self.attended, return_cam)
        style = () if self.mlp is None else self.mlp(repad(x, self.attended, NO_PADDING))
        # Each block has two norms, and all of them take the same gamma and beta.
        uses = shared(style, 2 * len(self.blocks))
        styles = [first + second for first, second in zip(uses[::2], uses[1::2], strict=True)]
        x = run_layers(self.blocks, x, styles, with_cp=self.with_cp)
        image = run_layers(self.decoder, x, with_cp=self.with_cp)
        return (image, cam_logit, heatmap) if return_cam else image

    def _check_input(self, x: Tensor) -> None:
        check_channels(x, self.in_channels, 'generator')
        height, width = x.shape[2:]
        tied = self.mlp is not None and not self.light
        if tied and (height, width) != sides_of(self.img_size):
            raise ValueError(
                f'the full generator is tied to img_size={self.img_size}, got {height}x{width}: '
                'resize the image, build it with another img_size, or use light=True'
            )
        check_quarters(x)
