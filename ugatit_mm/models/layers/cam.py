"""Class activation map attention (paper section 2.1.1)."""

from typing import Any

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import Tensor, nn

from ...kernels.cam import CAM_GRAD, CAM_GRAD_INPUT, CAM_HEAD
from .activation import Activation, bias_act, product_type
from .padding import NO_PADDING, Padding, memory_format
from .spectral_norm import raw_weight, spectral_norm


class FoldedConv2d(nn.Conv2d):
    """A convolution that only holds parameters: sums and products of its kernel are used."""


@MODELS.register_module()
class CAM(nn.Module):
    """Weights the channels by an auxiliary domain classifier, and mixes them by a 1x1 convolution.

    Average and max pooled features are classified; each classifier's weights multiply the features,
    and the two results are mixed back to C channels. The TensorFlow program has one classifier for
    both poolings and adds its bias to the channel weights; the PyTorch program has two classifiers
    without bias.

    Args:
        channels: Channels C.
        activation: Activation after the 1x1 convolution.
        shared: One classifier for both poolings.
        bias: The classifiers have a bias, which is also added to the channel weights.
        spectral: The classifiers are spectrally normalised (in discriminators).
        raw_weight: With ``spectral``, weight the channels by the un-normalised weight.
    """

    def __init__(
        self,
        channels: int,
        activation: Activation,
        shared: bool = True,
        bias: bool = True,
        spectral: bool = False,
        raw_weight: bool = False,
    ) -> None:
        super().__init__()
        names = ('fc',) if shared else ('gap_fc', 'gmp_fc')
        for name in names:
            fc = nn.Linear(channels, 1, bias=bias)
            self.add_module(name, spectral_norm(fc) if spectral else fc)
        self.classifiers = (names * 2)[:2]
        self.raw_weight = raw_weight
        self.conv1x1 = FoldedConv2d(2 * channels, channels, 1)
        self.activation = activation

    def forward(
        self, x: Tensor, pad: Padding = NO_PADDING, heatmap: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Attend to ``x`` (N, C, H, W).

        Args:
            x: Features; may be a view into a padded map.
            pad: Padding of the next convolution.
            heatmap: Return the heatmap.

        Returns:
            Features (N, C, H', W'), padded by ``pad``, CAM logits (N, 2) in the order average, max
            pooling, and the heatmap (N, 1, H, W), the sum of the features over channels (unbounded,
            not scaled), ``None`` if not requested.
        """
        # Read each weight once: a read updates the vectors of the spectral norm.
        weights = {name: getattr(self, name).weight for name in dict.fromkeys(self.classifiers)}
        fused = all(f.uses_kernel((x,)) for f in (CAM_HEAD, CAM_GRAD, CAM_GRAD_INPUT))
        mixed, cam_logit = (self._fused if fused else self._plain)(x, weights)
        bias = self.conv1x1.bias if fused else None
        features = bias_act(mixed, bias, self.activation, pad)
        seen = pad.inside(features).sum(1, keepdim=True) if heatmap else None
        return features, cam_logit, seen

    def _plain(self, x: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the output of the convolution with its bias, and the logits."""
        # The logits stay in float32 under autocast.
        with torch.autocast(x.device.type, enabled=False):
            pooled = (x.mean((2, 3)), x.amax((2, 3)))
            logits, channels = [], []
            for name, pool in zip(self.classifiers, pooled, strict=True):
                fc = getattr(self, name)
                logits.append(F.linear(pool.to(weights[name].dtype), weights[name], fc.bias))
                channel = raw_weight(fc) if self.raw_weight else weights[name]
                channels.append(channel if fc.bias is None else channel + fc.bias)
            # K [w x; w' x] = (K_1 diag(w) + K_2 diag(w')) x, with the kernel K = [K_1 K_2].
            halves = zip(self.conv1x1.weight.chunk(2, 1), channels, strict=True)
            first, second = (half * channel[:, :, None, None] for half, channel in halves)
        return F.conv2d(x, first + second, self.conv1x1.bias), torch.cat(logits, 1)

    def _fused(self, x: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """As :meth:`_plain`, by kernels; the caller adds the bias."""
        layers = [getattr(self, name) for name in dict.fromkeys(self.classifiers)]
        return Attend.apply(
            x,
            self.conv1x1.weight,
            product_type(x),
            len(layers),
            *weights.values(),
            *([raw_weight(fc) for fc in layers] if self.raw_weight else []),
            *(fc.bias for fc in layers if fc.bias is not None),
        )


class Attend(torch.autograd.Function):
    """Poolings, logits, and the 1x1 convolution with the channels' weights in its kernel.

    The gradients of ``x`` through the poolings and through the convolution are added as they are
    written.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, dtype: torch.dtype, classifiers: int, *rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend to ``x`` (N, C, H, W).

        Args:
            ctx: Autograd's context.
            x: Features.
            kernel: Kernel of the convolution, (C, 2 C, 1, 1).
            dtype: Dtype in which the convolution multiplies.
            classifiers: Number of classifiers: 1, or 2, one for each pooling.
            rest: Weights of the classifiers (1, C); weights of the channels, if they differ;
                biases, if there are any.

        Returns:
            Output of the convolution, and the logits (N, 2).
        """
        weights, channels, biases = _sorted(rest, classifiers)
        mixed, logits, pooled = CAM_HEAD(x, kernel, weights, channels or weights, biases, dtype)
        taken = x.to(dtype).contiguous(memory_format=memory_format(x))
        ctx.save_for_backward(x, taken, kernel, mixed, pooled, *rest)
        ctx.classifiers = classifiers
        return F.conv2d(taken, mixed), logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_logits: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of ``x``, the kernel, and ``rest``."""
        x, taken, kernel, mixed, pooled, *rest = ctx.saved_tensors
        weights, channels, biases = _sorted(rest, ctx.classifiers)
        of_x, of_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:])
        wanted = [of_x, of_weights, False]
        grad_x, grad_mixed, _ = torch.ops.aten.convolution_backward(
            *(grad, taken, mixed, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, wanted)
        )
        if of_x:
            grad_x = CAM_GRAD_INPUT(grad_x, x, pooled, grad_logits, weights)
        if not of_weights:
            return (grad_x, *[None] * (3 + len(rest)))
        shared, raw = ctx.classifiers == 1, channels is not None
        used = channels if raw else weights
        grad_kernel, of_rows, of_biases = CAM_GRAD(
            grad_mixed, grad_logits, pooled, kernel, used, biases, shared, raw
        )
        of_rest = [row[None] for kind in of_rows[: 1 + raw] for row in kind[: ctx.classifiers]] + (
            [] if biases is None else list(of_biases[: ctx.classifiers, None])
        )
        return grad_x, grad_kernel, None, None, *of_rest


def _sorted(rest: tuple[Tensor, ...] | list[Tensor], count: int) -> tuple[Any, Any, Any]:
    """Split into classifier weights, channel weights (None if the same), biases (None if none)."""
    groups = [tuple(rest[i : i + count]) for i in range(0, len(rest), count)]
    weights, *more = [(group * 2)[:2] for group in groups]
    channels = next((group for group in more if group[0].dim() == 2), None)
    return weights, channels, next((group for group in more if group[0].dim() == 1), None)
