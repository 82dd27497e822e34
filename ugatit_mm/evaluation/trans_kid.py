"""KID and FID of translations in MMEngine's validation and test loops."""

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
    and a table of it is logged.

    The images are those that the networks see and give, after the pipeline's resize, as uint8. The
    extractors know RGB: grey pictures come as grey in three channels, others are refused.

    Args:
        extractor: Makes the features; see :mod:`ugatit_mm.evaluation.extractors`. A config, or
            built; Inception if not given.
        subset_size: Images in a subset of ``kid``, at most the smaller test set.
        num_subsets: Subsets of ``kid``.
        block_size: Most images in a block of ``kid_blocks``.
        seed: Of the subsets.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Raises:
        WeightsError: Inception's weights are not there or wrong.
        TooFewImagesError: On evaluation, see :mod:`ugatit_mm.evaluation.kid`.
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
        self._sizes: set[str] = set()

    def check_channels(self, channels: int) -> None:
        """Raise a ValueError for other pictures than grey and RGB ones."""
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

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the figures of both directions, and log their table."""
        self.figures = []
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
        return metrics(figures)
