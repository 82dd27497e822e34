"""Class activation map attention (paper section 2.1.1)."""

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import Tensor, nn

from .spectral_norm import raw_weight, spectral_norm


@MODELS.register_module()
class CAM(nn.Module):
    """Weight the channels by an auxiliary domain classifier and mix them by a 1x1 convolution.

    Average and max pooled features are classified; each classifier's weights multiply the
    features, and the two results are mixed back to C channels. The TensorFlow program has one
    classifier for both poolings and adds its bias to the channel weights; the PyTorch program has
    two without bias.

    Args:
        channels: Channels C.
        activation: Follows the 1x1 convolution.
        shared: One classifier for both poolings.
        bias: The classifiers have a bias, which is part of the channel weights too.
        spectral: The classifiers are spectrally normalised (in discriminators).
        raw_weight: With ``spectral``, weight the channels by the un-normalised weight.
    """

    def __init__(
        self,
        channels: int,
        activation: nn.Module,
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
        self.conv1x1 = nn.Conv2d(2 * channels, channels, 1)
        self.conv1x1.folded = True  # see uses_of
        self.activation = activation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attend to ``x`` (N, C, H, W).

        Returns:
            Features (N, C, H, W), CAM logits (N, 2) in the order average, max pooling, and the
            heatmap (N, 1, H, W), the sum of the features over channels (unbounded, not scaled).
        """
        # The logits stay in float32 under autocast.
        with torch.autocast(x.device.type, enabled=False):
            pooled = (x.mean((2, 3)), x.amax((2, 3)))
            # One reading per classifier: a reading moves the vectors of the spectral norm.
            weights = {name: getattr(self, name).weight for name in dict.fromkeys(self.classifiers)}
            logits, channels = [], []
            for name, pool in zip(self.classifiers, pooled, strict=True):
                fc = getattr(self, name)
                logits.append(F.linear(pool.to(weights[name].dtype), weights[name], fc.bias))
                channel = raw_weight(fc) if self.raw_weight else weights[name]
                channels.append(channel if fc.bias is None else channel + fc.bias)
            # K [w x; w' x] = (K_1 diag(w) + K_2 diag(w')) x, with the kernel K = [K_1 K_2].
            halves = zip(self.conv1x1.weight.chunk(2, 1), channels, strict=True)
            first, second = (half * channel[:, :, None, None] for half, channel in halves)
        features = self.activation(F.conv2d(x, first + second, self.conv1x1.bias))
        return features, torch.cat(logits, 1), features.sum(1, keepdim=True)
