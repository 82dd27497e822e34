"""Discriminators of DRIT: of images at several scales, and of contents (ECCV 2018, section 3)."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_choice, check_counts
from ..base.images import check_channels, check_smallest
from ..layers import (
    NO_PADDING,
    InstanceNorm,
    Padding,
    PatchConv2d,
    pad,
    reflection,
    spectral_norm,
    without_bias,
)
from .parts import LEAKY, init_drit

NORMS = ('none', 'in')
FRAME = reflection(1)


def _unit(conv: Any, x: Tensor, norm: str, padding: Padding) -> Tensor:
    """Apply convolution, norm, leaky ReLU, and the padding of the next convolution."""
    if norm == 'none':
        return conv(x, LEAKY, padding)
    slope, out = LEAKY.slope, without_bias(conv, x)
    return InstanceNorm(conv.out_channels)(out, bias=conv.bias, slope=slope, pad=padding)


@MODELS.register_module()
class DRITDiscriminator(BaseModule):
    """Classifies patches of images as real or fake at several scales.

    Each scale has its own network: convolutions of stride 2 with leaky ReLUs of slope 0.01, then a
    1x1 convolution. The official program with one scale (``--dis_scale 1``) has ``num_scales=1,
    num_layers=6, kernel_size=3``.

    Args:
        in_channels: Channels of the images.
        base_channels: Channels of the first convolution, doubled at each further one.
        num_scales: Number of networks; each sees the images at half the size of the one before it.
        num_layers: Number of convolutions of stride 2.
        kernel_size: Kernel size of these.
        norm: ``'none'``, as the official program computes it whatever its ``--dis_norm`` says, as
            its string comparison is never true; ``'in'``: instance norms after the convolutions of
            stride 2, as it intends.
        spectral_norm: Divide each kernel by its largest singular value; each training pass runs a
            power iteration.

    Raises:
        ValueError: A number of scales, layers or channels is below 1, or the norm is unknown.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        num_scales: int = 3,
        num_layers: int = 4,
        kernel_size: int = 4,
        norm: str = 'none',
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        check_counts(
            in_channels=in_channels,
            base_channels=base_channels,
            num_scales=num_scales,
            num_layers=num_layers,
        )
        check_choice('kernel_size', kernel_size, (3, 4))
        check_choice('norm', norm, NORMS)
        self.in_channels = in_channels
        self.num_scales, self.kernel_size = num_scales, kernel_size
        self.norm = norm
        self.spectral_norm = spectral_norm
        self.min_size = _smallest(num_scales, num_layers, kernel_size)
        widths = [in_channels, *(base_channels * 2**layer for layer in range(num_layers))]
        self.scales = nn.ModuleList(
            nn.ModuleList(
                [
                    *(
                        PatchConv2d(width, out, kernel_size, stride=2)
                        for width, out in itertools.pairwise(widths)
                    ),
                    PatchConv2d(widths[-1], 1, 1),
                ]
            )
            for _ in range(num_scales)
        )
        if spectral_norm:
            self._normalise_weights()

    def _normalise_weights(self) -> None:
        for conv in [layer for layer in self.modules() if isinstance(layer, PatchConv2d)]:
            spectral_norm(conv)

    def fitting(self, side: int) -> dict[str, Any] | None:
        """Return fields that take images of ``side`` pixels; ``None`` if no layer count does."""
        kinds = range(1, 17)
        fit = [n for n in kinds if _smallest(self.num_scales, n, self.kernel_size) <= side]
        return {'num_layers': fit[-1]} if fit else None

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_drit(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Classify images in [-1, 1], (N, in_channels, H, W).

        Returns:
            A logit for each patch, (N, 1, h, w), of each scale; 1 is real, 0 is fake.

        Raises:
            ValueError: The images have another number of channels, or are too small.
        """
        check_channels(x, self.in_channels, 'discriminator')
        check_smallest(x, self.min_size)
        logits = []
        scales: Any = self.scales  # mypy knows its parts as plain modules
        for scale, convs in enumerate(scales):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            logits.append(_judge(list(convs), x, self.norm))
        return logits


def _judge(convs: Sequence[nn.Module], x: Tensor, norm: str) -> Tensor:
    *units, last = convs
    x = pad(x, FRAME)
    for conv in units:
        x = _unit(conv, x, norm, NO_PADDING if conv is units[-1] else FRAME)
    return last(x)


def _smallest(num_scales: int, num_layers: int, kernel_size: int) -> int:
    """Side of the smallest images that these networks take, in pixels, a multiple of 4."""
    side = 1
    for _ in range(num_layers):  # reflection padding needs two pixels
        side = max(2, 2 * side + kernel_size - 4)
    for _ in range(num_scales - 1):
        side = 2 * side - 1
    return -(-side // 4) * 4


@MODELS.register_module()
class DRITContentDiscriminator(BaseModule):
    """Classifies contents as from domain B (1) or A (0).

    7x7 convolutions of stride 2, padded by one pixel only, a 4x4 one without padding, a 1x1 one.
    With three strided layers it therefore takes contents of 53 pixels or more, images of 212; it
    only sees training crops.

    Args:
        base_channels: A quarter of the content's channels, as in the encoders.
        num_layers: Number of convolutions without the 1x1 one; the last is 4x4, the others have
            stride 2.
        norm: ``'none'``, as in the official program, which requests instance norms but gets none;
            ``'in'``: instance norms after the convolutions of stride 2.

    Raises:
        ValueError: A number of layers or channels is below 1, or the norm is unknown.
    """

    def __init__(self, base_channels: int = 64, num_layers: int = 4, norm: str = 'none') -> None:
        super().__init__()
        check_counts(base_channels=base_channels, num_layers=num_layers)
        check_choice('norm', norm, NORMS)
        self.content_channels = channels = 4 * base_channels
        self.num_layers, self.norm = num_layers, norm
        self.min_size = _smallest_of_contents(num_layers)
        self.convs = nn.ModuleList(
            PatchConv2d(channels, channels, 7, stride=2) for _ in range(num_layers - 1)
        )
        self.convs += [PatchConv2d(channels, channels, 4), PatchConv2d(channels, 1, 1)]

    def fitting(self, side: int) -> dict[str, Any] | None:
        """Return fields that take images of ``side`` pixels; ``None`` if no layer count does."""
        fit = [layers for layers in range(1, 17) if _smallest_of_contents(layers) <= side]
        return {'num_layers': fit[-1]} if fit else None

    def init_weights(self) -> None:
        """Initialise the weights; called by the runner before training."""
        init_drit(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify contents.

        Args:
            x: (N, content_channels, h, w), of images four times as large.

        Returns:
            Logits, (N, 1, h', w'); 1x1 for crops of 216 pixels.
        """
        *units, square, last = self.convs
        x = pad(x, FRAME) if units else x
        for conv in units:
            x = _unit(conv, x, self.norm, NO_PADDING if conv is units[-1] else FRAME)
        return last(square(x, LEAKY))


def _smallest_of_contents(num_layers: int) -> int:
    """Side of the smallest images, in pixels, whose contents this network takes."""
    side = 4
    for _ in range(num_layers - 1):
        side = 2 * side + 3
    return 4 * side
