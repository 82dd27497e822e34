"""Features of VGG19, trained on ImageNet, for a content loss."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import Tensor, nn

from ...messages import check_choice
from ...published import WeightsError, cache_folder, check_sha256, find_weights
from ..layers import convolve
from ..layers.activation import IDENTITY, Activation

BLOCKS = (2, 2, 4, 4, 4)  # convolutions; a pooling follows each block
WIDTHS = (64, 128, 256, 512, 512)
# In the order of torchvision's ``features``.
LAYERS = tuple(
    name
    for block, count in enumerate(BLOCKS, 1)
    for name in (
        *(f'{kind}{block}_{i}' for i in range(1, count + 1) for kind in ('conv', 'relu')),
        f'pool{block}',
    )
)
# Torchvision's weights, whose SHA-256 begins with the digits in their name.
SHA256 = 'dcbb9e9d'
FILES = (f'vgg19-{SHA256}.safetensors', f'vgg19-{SHA256}.pth')  # the converter's slim one first
URL = f'https://download.pytorch.org/models/{FILES[1]}'
RANDOM = 'random'
# From images in [-1, 1] to the inputs of the training: order of colours, scale, shift.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CAFFE = (103.939, 116.779, 123.68)  # BGR
INPUTS: dict[str, tuple[list[float], list[float]]] = {
    'unit': ([0.5] * 3, [0.5] * 3),
    'imagenet': (
        [0.5 / std for std in _IMAGENET[1]],
        [(0.5 - mean) / std for mean, std in zip(*_IMAGENET, strict=True)],
    ),
    'caffe': ([127.5] * 3, [127.5 - mean for mean in _CAFFE]),
}
_DIGITS = re.compile(r'-([0-9a-f]{8,64})(?=\.)')


@MODELS.register_module()
class VGG19Features:
    """The first layers of VGG19, frozen, in float32 even under autocast.

    It is deliberately not a module: a model that holds it has neither its weights in the state dict
    nor anything more to train. Its weights are read at :meth:`load`, or at the first images, and
    move to their device.

    Args:
        layer: The last layer: ``'conv4_4'``, for example, is before its ReLU, ``'relu4_4'`` after
            it.
        input: Conversion of the images. ``'unit'``: RGB in [0, 1] (CartoonGAN's PyTorch program);
            ``'imagenet'``: that minus ImageNet's mean, divided by its standard deviation, as
            torchvision's weights expect; ``'caffe'``: BGR in [0, 255] minus Caffe's means.
        weights: A file with torchvision's names: ``.pth``, or the ``.safetensors`` that
            ``tools/model_converters/vgg19.py`` writes from it. Its SHA-256 must begin with the
            digits at the end of its name (``NAME-DIGITS.pth``), or with :data:`SHA256` if there are
            none. ``None`` looks for :data:`FILES` in torch's cache; nothing is downloaded.
            ``'random'`` draws narrow weights, for tests.
        widths: Channels of the five blocks, for other weights than VGG19's.

    Raises:
        ValueError: An unknown value, ``'caffe'`` without Caffe's weights, or random weights with
            VGG19's widths.
    """

    def __init__(
        self,
        layer: str = 'conv4_4',
        input: str = 'unit',
        weights: str | os.PathLike | None = None,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        check_choice('vgg.layer', layer, LAYERS)
        check_choice('vgg.input', input, INPUTS)
        if len(widths) != len(WIDTHS) or not all(
            isinstance(width, int) and width > 0 for width in widths
        ):
            raise ValueError(f'vgg.widths must be the channels of five blocks, got {widths}')
        if input == 'caffe' and weights is None:
            raise ValueError(
                "vgg.input='caffe' is for weights that Caffe trained, and torch's cache has "
                "torchvision's: give theirs by vgg.weights=FILE, with torchvision's names"
            )
        if weights == RANDOM and tuple(widths) == WIDTHS:
            raise ValueError(
                "vgg.weights='random' is for tests: give vgg.widths below VGG19's "
                f'{WIDTHS}, or the trained weights'
            )
        self.layers = LAYERS[: LAYERS.index(layer) + 1]
        self.input = input
        self.weights = weights
        self.widths = tuple(widths)
        self._convs: dict[str, nn.Conv2d] = {}
        scale, shift = (torch.tensor(numbers)[:, None, None] for numbers in INPUTS[input])
        self._scale, self._shift = scale, shift

    def load(self) -> None:
        """Read the weights, unless they were read before.

        Raises:
            WeightsError: The file does not exist, or is a different one.
            CheckpointError: It cannot be read safely.
        """
        if self._convs:
            return
        convs: dict[str, nn.Conv2d] = {}
        channels = 3
        for layer in (layer for layer in self.layers if layer.startswith('conv')):
            width = self.widths[int(layer[4]) - 1]
            convs[layer] = nn.Conv2d(channels, width, 3, padding=1).requires_grad_(False)
            channels = width
        if self.weights == RANDOM:
            _draw(convs)
        else:
            state, file, _ = read_vgg19(self.weights)
            for layer, conv in convs.items():
                _fill(conv, layer, state, file)
        self._convs = convs

    def __call__(self, images: Tensor) -> Tensor:
        """Compute the features of images in [-1, 1], (N, C, H, W), from 8 pixels for ``'conv4_4'``.

        Of one or two channels the first is used as grey, of more than three the first three as RGB.

        Returns:
            For ``'conv4_4'`` (N, 512, H / 8, W / 8), float32.
        """
        self.load()
        if self._scale.device != images.device:
            for conv in self._convs.values():
                conv.to(images.device)
            self._scale, self._shift = (x.to(images.device) for x in (self._scale, self._shift))
        images = images[:, :1].expand(-1, 3, -1, -1) if images.size(1) < 3 else images[:, :3]
        with torch.autocast(images.device.type, enabled=False):
            x = images.float()
            x = torch.addcmul(self._shift, x.flip(1) if self.input == 'caffe' else x, self._scale)
            for layer, after in zip(self.layers, (*self.layers[1:], ''), strict=True):
                if layer.startswith('conv'):
                    act = Activation(0.0) if after.startswith('relu') else IDENTITY
                    x = convolve(self._convs[layer], x, act)
                elif layer.startswith('pool'):
                    x = F.max_pool2d(x, 2)
        return x


def find_vgg19(weights: str | os.PathLike | None = None) -> Path:
    """Return the file of :class:`VGG19Features` without reading it.

    Raises:
        WeightsError: The file does not exist.
    """
    about = f'{_download()}, or give the file by path: model.vgg.weights=FILE'
    return find_weights('VGG19', weights, FILES, about)


def _download() -> str:
    return f'Download {URL} (575 MB, its SHA-256 begins with {SHA256}) into {cache_folder()}'


def read_vgg19(weights: str | os.PathLike | None = None) -> tuple[dict[str, Tensor], Path, str]:
    """Read a file of VGG19's weights for :class:`VGG19Features`.

    Returns:
        Weights by torchvision's names, the file, and the SHA-256 of the whole file; for a slim
        file, that of its source.

    Raises:
        WeightsError, CheckpointError: See :meth:`VGG19Features.load`.
    """
    from ...converters.files import read_checkpoint  # it imports the models

    file = find_vgg19(weights)
    named = _DIGITS.search(file.name)
    wanted = named[1] if named else SHA256
    about = f'..., so this is not that VGG19, or it is damaged. {_download()}'
    if file.suffix == '.safetensors':
        content = read_checkpoint(file)
        digest = check_sha256(file, wanted, about, str(content['meta'].get('sha256')))
        return content['state_dict'], file, digest
    digest = check_sha256(file, wanted, about)
    return read_checkpoint(file), file, digest


def _draw(convs: dict[str, nn.Conv2d]) -> None:
    """Draw He-initialised kernels from a separate generator: the same in each run and rank."""
    generator = torch.Generator().manual_seed(0)
    for conv in convs.values():
        nn.init.kaiming_normal_(conv.weight, nonlinearity='relu', generator=generator)
        nn.init.normal_(conv.bias, 0, 0.05, generator=generator)  # type: ignore[arg-type]


@torch.no_grad()
def _fill(conv: nn.Conv2d, layer: str, state: dict[str, Tensor], file: Path) -> None:
    """Copy a convolution's weights from a state dict.

    Raises:
        WeightsError: They are missing, or of another shape.
    """
    for end, parameter in conv.named_parameters():
        name = f'{name_of(layer)}.{end}'
        value = state.get(name)
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else None
            raise WeightsError(
                f'{file}: {name} of VGG19 is {tuple(parameter.shape)}, there it is {found}'
            )
        parameter.copy_(value)


def name_of(layer: str) -> str:
    """Return torchvision's name of a layer: ``'conv4_4'`` is ``'features.25'``."""
    return f'features.{LAYERS.index(layer)}'
