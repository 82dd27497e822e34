"""KID and FID of translations in MMEngine's validation and test loops."""

from collections.abc import Mapping

import numpy as np
import torch
from mmagic.registry import METRICS
from mmengine.logging import MMLogger

from ..pixels import displayed
from . import kid
from .extractors import Extractor, build_extractor
from .figures import Figure, Protocol, metrics, table
from .trans_metric import TransMetric


@METRICS.register_module()
class TransKID(TransMetric):
    """KID by three protocols, and FID, of the translations in both directions.

    For each direction ``A2B`` it reports raw figures: ``A2B/kid`` and ``kid_std``, to the target
    alone over random subsets (:func:`kid.kid`); ``A2B/kid_blocks`` and ``kid_blocks_stderr``, the
    authors' blocks (:func:`kid.kid_blocks`); ``A2B/kid_with_source`` and
    ``kid_with_source_stderr``, their mean with the distance to the source
    (:func:`kid.mean_with_source`); ``A2B/fid``. With another extractor than Inception its name
    comes first (``A2B/colour_hog_kid``). :attr:`figures` holds them with all that belongs to them,
    and a table of it is logged. :attr:`untranslated` holds the same figures of the sources in place
    of the translations: what a model gets that does nothing.

    The images are those that the networks see and give, after the pipeline's resize, as uint8. The
    extractors know RGB: grey pictures come as grey in three channels, others are refused.

    Args:
        extractor: Makes the features; see :mod:`ugatit_mm.evaluation.extractors`. A config, or
            built; :func:`~ugatit_mm.evaluation.extractors.default_extractor` if not given.
        subset_size: Images in a subset of ``kid``; where a test set has fewer, so many, and the
            figures say so.
        num_subsets: Subsets of ``kid``.
        block_size: Most images in a block of ``kid_blocks``; more where a test set is too small to
            give each block two.
        seed: Of the subsets.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Raises:
        WeightsError: The extractor's weights are not there or wrong.
        TooFewImagesError: At the start of a test, or of a training that measures in its validation:
            a test set has fewer than 2 images.
        ValueError: A setting that makes no protocol.
    """

    def __init__(
        self,
        extractor: dict | Extractor | None = None,
        subset_size: int = kid.SUBSET_SIZE,
        num_subsets: int = kid.NUM_SUBSETS,
        block_size: int = kid.BLOCK_SIZE,
        seed: int = kid.SEED,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.extractor = build_extractor(extractor)
        self.protocol = Protocol(subset_size, num_subsets, block_size, seed)
        self.figures: list[Figure] = []
        self.untranslated: list[Figure] = []
        self._sizes: set[str] = set()
        MMLogger.get_current_instance().info(
            f'{type(self).__name__} with {self.extractor.name} (weights: {self.extractor.weights})'
        )

    def check_channels(self, channels: int) -> None:
        """Take grey and RGB pictures only.

        Raises:
            ValueError: They are others.
        """
        super().check_channels(channels)
        if channels not in (1, 3):
            raise ValueError(
                f'KID and FID are measured on grey or RGB pictures, these have {channels} '
                'channels: leave TransKID (--kid) out; TransStats takes any'
            )

    def measure(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Compute the features of pictures, all of one size in one pass."""
        self.check_channels(images[0].shape[2])
        self._sizes.update(f'{image.shape[1]}x{image.shape[0]}' for image in images)
        features = [np.empty(0)] * len(images)
        for shape in dict.fromkeys(image.shape for image in images):
            chosen = [index for index, image in enumerate(images) if image.shape == shape]
            batch = torch.from_numpy(np.stack([displayed(images[index]) for index in chosen]))
            for index, row in zip(chosen, self.extractor(batch.permute(0, 3, 1, 2)), strict=True):
                features[index] = row
        return features

    def names(self, has_target: bool) -> list[str]:
        """Those of :func:`~ugatit_mm.evaluation.figures.metrics`."""
        begin = '' if self.extractor.name == 'inception' else f'{self.extractor.name}_'
        ends = ('kid', 'kid_std', 'kid_blocks', 'kid_blocks_stderr', 'kid_with_source')
        return [begin + end for end in (*ends, 'kid_with_source_stderr', 'fid') if has_target]

    def check(self, counts: Mapping[str, int], domains: Mapping[str, str]) -> None:
        """Say what protocol the images allow, before they are translated.

        Raises:
            TooFewImagesError: A domain has fewer than 2.
        """
        fewest = min(counts, key=lambda domain: counts[domain])
        if counts[fewest] < 2:
            raise kid.TooFewImagesError(
                f'{type(self).__name__} measures distances between sets of images, and needs 2 or '
                f'more of each domain; of {domains[fewest]} there is {counts[fewest] or "none"}: '
                'add test pictures, or leave it out of the evaluator (--kid)'
            )
        if said := self.protocol.adapted(*counts.values()):
            MMLogger.get_current_instance().warning(f'{type(self).__name__}: {said}')

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the figures of both directions, and log their table."""
        self.figures, self.untranslated = [], []
        computed = super().compute_metrics(results)
        MMLogger.get_current_instance().info('\n' + table(self.figures))
        return computed

    def summarise(
        self,
        direction: str,
        real: list[np.ndarray],
        fake: list[np.ndarray],
        target: list[np.ndarray],
    ) -> dict[str, float]:
        """Compute the figures of one direction."""
        if not target:
            raise kid.TooFewImagesError(f'{direction}: no real images of the target')
        resize = f'pipeline to {", ".join(sorted(self._sizes))}'
        figures = self.protocol.measure(direction, self.extractor, fake, target, real, resize)
        self.figures += figures
        self.untranslated += self.protocol.measure(
            direction, self.extractor, real, target, real, resize
        )
        return metrics(figures)
