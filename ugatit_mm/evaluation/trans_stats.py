"""A metric that needs no weights: how far translations move towards the target domain."""

import numpy as np
from mmagic.registry import METRICS

from .image_stats import colourfulness, edge_strength, gap_closed
from .trans_metric import TransMetric

STATS = {'colour': colourfulness, 'edges': edge_strength}


@METRICS.register_module()
class TransStats(TransMetric):
    """Colourfulness and edge strength of translations, between the two domains.

    For each direction ``A2B`` it reports ``A2B/colour`` and ``A2B/edges``, the translations' means,
    and ``A2B/colour_gap`` and ``A2B/edges_gap``, the share of the gap between the domains that was
    closed (:func:`gap_closed`), which needs real images of the target. Only RGB pictures have
    colours. This is not a quality score.
    """

    def measure(self, images: list[np.ndarray]) -> list[dict]:
        """Compute the statistics of each picture."""
        self.channels = images[0].shape[2]
        return [{name: STATS[name](image) for name in self._stats()} for image in images]

    def _stats(self) -> list[str]:
        return [name for name in STATS if name != 'colour' or self.channels == 3]

    def names(self, has_target: bool) -> list[str]:
        """The means; the gaps where there is a target."""
        return [name + end for name in self._stats() for end in ('', *['_gap'] * has_target)]

    def summarise(
        self, direction: str, real: list[dict], fake: list[dict], target: list[dict]
    ) -> dict[str, float]:
        """Average over the files."""
        metrics = {}
        for name in self._stats():
            source, ours, *goal = (
                float(np.mean([row[name] for row in rows])) for rows in (real, fake, target) if rows
            )
            metrics[name] = ours
            if goal:
                metrics[f'{name}_gap'] = gap_closed(source, ours, *goal)
        return metrics
