"""Discriminator of U-GAT-IT: a global and a local scale, each with CAM attention."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmagic.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...messages import check_choice, check_counts
from ..base.images import check_channels, check_smallest
from ..base.init import INITS, init_networks
from ..layers import CAM, PatchConv2d
from ..layers.activation import IDENTITY, Activation, bias_act, product_type, takes_bias
from ..layers.padding import NO_PADDING, Padding, pad
from ..layers.spectral_norm import prepared
from ..layers.spectral_norm import spectral_norm as apply_spectral_norm
from .recipes import resolve

SCALES = ('global', 'local')
FEWEST = 4  # least number of layers of a scale
PADDINGS = {'same': (1, 2, 1, 2), 'symmetric': (1, 1, 1, 1)}  # left, right, top, bottom


class DiscriminatorOutput(NamedTuple):
    """Output of one scale.

    Attributes:
        logit: (N, 1, h, w), one for each patch; 1 is real, 0 is fake.
        cam_logit: (N, 2) of the domain classifier, ``None`` without CAM.
        heatmap: (N, 1, H / s, W / s), ``None`` without CAM or if not requested.
    """

    logit: Tensor
    cam_logit: Tensor | None
    heatmap: Tensor | None


class PatchDiscriminator(nn.Module):
    """One scale: ``num_layers - 2`` strided 4x4 convolutions, one of stride 1, CAM, the logits.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution, doubled at each further one.
        num_layers: 7 is the paper's global discriminator, 5 the local one.
        cam: ``None``, or the fields of :class:`CAM` that the recipe chooses.
        spectral_norm: Normalise all convolutions but the 1x1.
        bias: The last convolution has a bias (all others have one).
        padding: Reflection padding of the two convolutions of stride 1.
    """

    def __init__(
        self,
        in_channels: int,
        base_channels: int,
        num_layers: int,
        cam: dict | None,
        spectral_norm: bool,
        bias: bool,
        padding: tuple[int, int, int, int],
    ) -> None:
        super().__init__()
        if num_layers < FEWEST:
            raise ValueError(
                f'num_layers must be {FEWEST} or more for each scale, got {num_layers}'
            )

        def conv(width_in: int, width: int, stride: int, pad: tuple, bias: bool) -> list[nn.Module]:
            layer = PatchConv2d(width_in, width, 4, stride, bias=bias)
            return [
                nn.ReflectionPad2d(pad),
                apply_spectral_norm(layer) if spectral_norm else layer,
            ]

        layers = conv(in_channels, base_channels, 2, (1, 1, 1, 1), True) + [nn.LeakyReLU(0.2)]
        width = base_channels
        for _ in range(num_layers - 3):
            layers += conv(width, 2 * width, 2, (1, 1, 1, 1), True) + [nn.LeakyReLU(0.2)]
            width *= 2
        layers += conv(width, 2 * width, 1, padding, True) + [nn.LeakyReLU(0.2)]
        width *= 2
        self.features = nn.Sequential(*layers)
        self.cam = (
            None if cam is None else CAM(width, Activation(0.2), spectral=spectral_norm, **cam)
        )
        self.classifier = nn.Sequential(*conv(width, 1, 1, padding, bias))

    @property
    def padding(self) -> Padding:
        """Padding of the first convolution."""
        return _padding(self.features[0])

    def forward(self, x: Tensor, heatmap: bool = True) -> DiscriminatorOutput:
        """Classify images (N, C, H, W).

        Args:
            x: The images, padded by :attr:`padding`.
            heatmap: Return the heatmap.
        """
        # Padding and activation are fused with the preceding convolution: see PatchConv2d.
        convs: list[Any]
        acts: list[Any]
        convs, acts = list(self.features[1::3]), list(self.features[2::3])
        pads = [_padding(layer) for layer in [*list(self.features[3::3]), self.classifier[0]]]
        before_classifier = pads[-1]
        if self.cam is not None:
            pads[-1] = NO_PADDING  # CAM pools the map, and pads itself
        for conv, act, padding in zip(convs, acts, pads, strict=True):
            x = conv(x, Activation(act.negative_slope), padding)
        cam_logit = seen = None
        if self.cam is not None:
            x, cam_logit, seen = self.cam(x, before_classifier, heatmap)
        return DiscriminatorOutput(self.classifier[1](x), cam_logit, seen)


def smallest(num_layers: int) -> int:
    """Side of the smallest images for a scale, in pixels."""
    # The last two convolutions reflection-pad a map of at least 3 pixels, with either padding.
    return 3 * 2 ** (num_layers - 2)


def _padding(layer: Any) -> Padding:
    return Padding(*layer.padding)


@MODELS.register_module()
class UGATITDiscriminator(BaseModule):
    """Classifies images as real or translated, globally and locally.

    Fields that are ``None`` come from ``recipe``; see docs/recipes.md.

    Args:
        in_channels: Channels of the image.
        base_channels: Channels of the first convolution.
        num_layers: Number of layers of the global and the local scale: receptive fields of 286 and
            70 pixels with (7, 5). The TensorFlow program's ``n_dis=6`` is the same pair.
        cam: Use CAM attention. Without it (ablation) there are no CAM logits and no 1x1
            convolution.
        spectral_norm: Spectral normalisation of all layers but the 1x1 convolution.
        recipe: ``'tensorflow'`` or ``'pytorch'``.
        bias: The CAM classifiers and the last convolution have a bias.
        shared_cam: One classifier for average and max pooling instead of two.
        raw_cam_weight: Weight the channels by the un-normalised classifier weight.
        padding: Padding of the 4x4 convolutions of stride 1: ``'same'`` pads 1 before and 2 after
            and keeps the size, ``'symmetric'`` pads 1 on all sides and loses a pixel.
        init: ``'normal'`` or ``'default'``, see :func:`init_networks`.

    Raises:
        ValueError: An unknown value, or an invalid number of layers.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        num_layers: Sequence[int] = (7, 5),
        cam: bool = True,
        spectral_norm: bool = True,
        recipe: str = 'tensorflow',
        bias: bool | None = None,
        shared_cam: bool | None = None,
        raw_cam_weight: bool | None = None,
        padding: str | None = None,
        init: str | None = None,
    ) -> None:
        super().__init__()
        fields = resolve(
            recipe,
            'discriminator',
            bias=bias,
            shared_cam=shared_cam,
            raw_cam_weight=raw_cam_weight,
            padding=padding,
            init=init,
        )
        check_choice('padding', fields['padding'], tuple(PADDINGS))
        check_choice('init', fields['init'], INITS)
        check_counts(in_channels=in_channels, base_channels=base_channels)
        if len(num_layers) != len(SCALES):
            raise ValueError(f'num_layers takes one number for each of {SCALES}, got {num_layers}')
        self.in_channels = in_channels
        self.init = fields['init']
        cam_fields = {
            'shared': fields['shared_cam'],
            'bias': fields['bias'],
            'raw_weight': fields['raw_cam_weight'],
        }
        scales = {
            scale: PatchDiscriminator(
                in_channels,
                base_channels,
                layers,
                cam_fields if cam else None,
                spectral_norm,
                fields['bias'],
                PADDINGS[fields['padding']],
            )
            for scale, layers in zip(SCALES, num_layers, strict=True)
        }
        self.num_layers = tuple(num_layers)
        self.min_size = smallest(max(num_layers))
        self.scales = nn.ModuleDict(scales)

    def fitting(self, side: int) -> dict[str, Any] | None:
        """Return fields that take images of ``side`` pixels; ``None`` if no layer count does."""
        if side < smallest(FEWEST):
            return None
        layers = self.num_layers
        while smallest(max(layers)) > side:  # the difference between the scales stays
            layers = tuple(max(FEWEST, number - 1) for number in layers)
        return {'num_layers': layers}

    def init_weights(self) -> None:
        """Initialise the kernels by ``init``; called by the runner before training."""
        init_networks(self, self.init)

    def forward(self, x: Tensor, heatmap: bool = True) -> list[DiscriminatorOutput]:
        """Classify RGB images in [-1, 1], (N, in_channels, H, W).

        Args:
            x: The images.
            heatmap: Return the heatmaps.

        Returns:
            One :class:`DiscriminatorOutput` for each scale, global first.

        Raises:
            ValueError: The images have another number of channels, or are too small for the global
                scale.
        """
        check_channels(x, self.in_channels, 'discriminator')
        check_smallest(x, self.min_size)
        scales: list[Any] = list(self.scales.values())
        (padding,) = {scale.padding for scale in scales}
        if takes_bias(x):
            # On a GPU the whole discriminator is in NHWC: cuDNN takes 16-bit types in no other
            # format, and would convert around each convolution. The kernel that pads the image
            # writes it in NHWC here; the spectral norm returns weights in NHWC and reads their
            # gradients in it; all other operators keep the format of their input.
            x = bias_act(x, None, IDENTITY, padding, product_type(x), torch.channels_last)
        else:
            x = pad(x, padding)
        with prepared(self):
            return [scale(x, heatmap) for scale in scales]
