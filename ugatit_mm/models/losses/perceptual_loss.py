"""Domain-invariant perceptual loss of MUNIT (Huang et al., ECCV 2018, section 5.1)."""

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...messages import listed
from ...provenance import sha256
from ..layers import InstanceNorm
from .terms import Mean

# Convolutions of VGG16 by block, up to relu5_3.
BLOCKS = {
    1: (3, 64, 64),
    2: (64, 128, 128),
    3: (128, 256, 256, 256),
    4: (256, 512, 512, 512),
    5: (512, 512, 512, 512),
}
POOLED = (1, 2, 3)  # blocks followed by a pooling; the official program has none after 4
MEAN = (103.939, 116.779, 123.680)  # of Caffe's inputs: blue, green, red, in [0, 255]
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # in torchvision's ``features``
TORCHVISION = '397923af'  # first digits of the SHA-256 of torchvision's file


class PerceptualFeatures:
    """Instance-normalised features of VGG16 at relu5_3, which describe content and not style.

    The network takes BGR in [0, 255] minus a mean, as Caffe's weights need it, and runs in float32
    even under autocast; its features have an eighth of the images' height and width. It is not a
    module: it is not part of a model or of its files.

    Args:
        path: File of the weights in Caffe's convention: a dict with ``conv1_1.weight``,
            ``conv1_1.bias`` and so on, or ``features.0.weight`` and so on as torchvision names
            them. Torchvision's own weights take other inputs.

    Raises:
        ValueError: The file does not exist, or holds other weights.
    """

    def __init__(self, path: str | os.PathLike | None) -> None:
        if path is None:
            raise ValueError(
                "loss_config.perceptual needs VGG16 with Caffe's weights: set model.vgg_weights to "
                'their file (vgg16-00b39a1b.pth, or conv1_1.weight and so on in a file of '
                'torch.save); it is not downloaded'
            )
        with torch.device('meta'):
            self.network = nn.ModuleDict(
                {
                    f'conv{block}_{index}': nn.Conv2d(*channels, 3, padding=1)
                    for block, widths in BLOCKS.items()
                    for index, channels in enumerate(pairwise(widths), 1)
                }
            )
        weights = _read(path, {k: v.shape for k, v in self.network.state_dict().items()})
        self.network.load_state_dict(weights, assign=True)
        self.network.requires_grad_(False)
        self.network.register_buffer('mean', torch.tensor(MEAN)[:, None, None])
        self.norm = InstanceNorm(BLOCKS[5][-1])

    def relu5_3(self, images: Tensor) -> Tensor:
        """Map RGB images in [-1, 1], (N, 3, H, W), to features (N, 512, H / 8, W / 8)."""
        network: Any = self.network.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            x = (images.flip(1).float() + 1) * 127.5 - network.mean
            for name, conv in network.items():
                x = conv(x).relu()
                block = int(name[4])
                if block in POOLED and name == f'conv{block}_{len(BLOCKS[block]) - 1}':
                    x = nn.functional.max_pool2d(x, 2)
        return x

    def mean(self, image: Tensor, source: Tensor) -> Mean:
        """Return the mean squared distance of an image's features from those of its source.

        Args:
            image: In [-1, 1], (N, 3, H, W).
            source: In [-1, 1], (N, 3, H, W); it gets no gradient.
        """
        with torch.no_grad():
            target = self.norm(self.relu5_3(source))
        return Mean(self.norm(self.relu5_3(image)), 'square', target)


def _read(path: str | os.PathLike, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Read the weights by our names."""
    from ...converters.files import read_checkpoint  # which knows the models

    try:
        content: dict[str, Any] = read_checkpoint(path)
    except OSError as error:
        raise ValueError(f'model.vgg_weights: {error}') from error
    content = content.get('state_dict', content)
    if 'features.0.weight' in content:
        if sha256(path).startswith(TORCHVISION):
            raise ValueError(
                f"model.vgg_weights: {path} is torchvision's own, which take other inputs: give "
                "Caffe's weights, such as vgg16-00b39a1b.pth"
            )
        names = {k.partition('.')[0]: None for k in shapes}
        theirs = {
            f'{name}.{end}': f'features.{place}.{end}'
            for name, place in zip(names, PLACES, strict=True)
            for end in ('weight', 'bias')
        }
        content = {name: content.get(place) for name, place in theirs.items()}
    bad = [k for k, shape in shapes.items() if getattr(content.get(k), 'shape', None) != shape]
    if bad:
        raise ValueError(
            f'model.vgg_weights: {path} is not a VGG16: {listed(bad, 3)} are missing or of another '
            'shape'
        )
    return {name: content[name].float() for name in shapes}
