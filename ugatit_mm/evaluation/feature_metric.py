"""Base class of the metrics that use an extractor's features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.logging import MMLogger

from ..messages import listed
from ..pixels import displayed
from .extractors import Extractor, build_extractor
from .measurements import Measurement, table
from .trans_metric import TransMetric


@dataclass(frozen=True)
class Measured:
    """Features of a picture, (d,), and its size, such as ``256x256``."""

    features: np.ndarray
    size: str


class FeatureMetric(TransMetric):
    """A metric of features: of sources, translations and real targets, all of one size.

    The images are those that the networks take and return, after the pipeline's resize, as uint8.
    The extractors take RGB: grey pictures are repeated in three channels, others are refused.

    Args:
        extractor: A config or an extractor; see
            :func:`~ugatit_mm.evaluation.extractors.build_extractor`.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Attributes:
        measurements: Of the last evaluation, with their protocols; their table is logged.
        untranslated: The same of the sources in place of the translations, if that is measured.
    """

    option = '--kid'  # of tools/test.py, which adds the metric

    def __init__(
        self,
        extractor: dict | Extractor | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.extractor = build_extractor(extractor)
        self.measurements: list[Measurement] = []
        self.untranslated: list[Measurement] = []
        MMLogger.get_current_instance().info(
            f'{type(self).__name__} with {self.extractor.name} (weights: {self.extractor.weights})'
        )

    def check_channels(self, channels: int) -> None:
        """Accept grey and RGB pictures only.

        Raises:
            ValueError: They have another number of channels.
        """
        super().check_channels(channels)
        if channels not in (1, 3):
            raise ValueError(
                f'{type(self).__name__} measures grey or RGB pictures, these have {channels} '
                f'channels: leave it ({self.option}) out; TransStats takes any'
            )

    def measure(self, images: list[np.ndarray]) -> list[Measured]:
        """Compute the features of pictures, in one pass for each size."""
        self.check_channels(images[0].shape[2])
        measured: dict[int, Measured] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            chosen = [index for index, image in enumerate(images) if image.shape == shape]
            batch = torch.from_numpy(np.stack([displayed(images[index]) for index in chosen]))
            features = self.extractor(batch.permute(0, 3, 1, 2))
            size = f'{shape[1]}x{shape[0]}'
            measured |= {i: Measured(row, size) for i, row in zip(chosen, features, strict=True)}
        return [measured[index] for index in range(len(images))]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the measurements of both directions, and log their table."""
        self.measurements, self.untranslated = [], []
        computed = super().compute_metrics(results)
        MMLogger.get_current_instance().info('\n' + table(self.measurements, self.untranslated))
        return computed


def of_one_size(
    direction: str, *sets: Sequence[Measured]
) -> tuple[str, list[Sequence[np.ndarray]]]:
    """The resize that all pictures of a direction went through, in words, and their features.

    Raises:
        ValueError: They have several sizes, on which features depend, too.
    """
    sizes = sorted({each.size for measured in sets for each in measured})
    if len(sizes) > 1:
        raise ValueError(
            f'{direction}: the pictures have several sizes ({listed(sizes)}), which would be '
            'measured with them: let the test pipeline resize all to one (img_size, or Resize)'
        )
    return f'pipeline to {sizes[0]}', [[each.features for each in measured] for measured in sets]
