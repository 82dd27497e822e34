"""Networks and formulas that turn pictures into the features of KID and FID.

Another one is a subclass of :class:`Extractor`, registered with MMagic's ``MODELS`` and named in
``TransKID(extractor=dict(type=...))``.
"""

import inspect
import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from mmagic.registry import MODELS
from mmengine.device import get_device
from torch import Tensor
from torch.nn import functional

from ..published import cache_folder, check_sha256, find_weights

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


class Extractor(ABC):
    """Turns pictures into features; its fields stand beside every figure made with it."""

    name: str  # but for Inception, part of the metrics' names, too
    weights: str
    resize: str

    @abstractmethod
    def __call__(self, images: Tensor) -> np.ndarray:
        """Turn uint8 RGB images (N, 3, H, W) into features (N, d)."""


def build_extractor(extractor: dict | Extractor | None) -> Extractor:
    """Build an extractor from a config; ``None`` is Inception.

    Raises:
        ValueError: No extractor of that type is registered.
        WeightsError: See :class:`InceptionFeatures`.
    """
    if isinstance(extractor, Extractor):
        return extractor
    extractor = {'type': 'InceptionFeatures', **(extractor or {})}
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
class ColourHOGFeatures(Extractor):
    """Colours and edge directions, for trials where Inception's weights are not at hand.

    At 64 x 64 pixels: the square roots of a joint RGB histogram, 4 x 4 x 4 bins, and a histogram of
    oriented gradients (Dalal and Triggs, CVPR 2005) of 8 directions, in cells of 16 and blocks of
    2 x 2; each part scaled to a mean square of 1. It is deterministic and needs no weights. A KID
    with these features says whether palettes and textures came nearer; it is not Inception's and
    cannot be held against published figures.
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
        f'Download\n  {INCEPTION_URL}\n'
        f'(91 MB, SHA-256 {INCEPTION_SHA256})\n'
        f'into {cache_folder()}, or give the file by path: python -m ugatit_mm.evaluation '
        "--weights FILE, in a config TransKID's extractor=dict(type='InceptionFeatures', "
        'weights=FILE). To measure with something else, name it: ColourHOGFeatures needs no '
        'weights, and its figures are not comparable to published ones.'
    )
    return find_weights('Inception', path, INCEPTION_FILES, about)


def _check_sha256(file: Path) -> str:
    about = (
        ', so this is not the Inception that KID is defined with, or it is damaged. Download '
        f'{INCEPTION_URL} again.'
    )
    return check_sha256(file, INCEPTION_SHA256, about)
