"""A metric that needs no weights: how far translations move towards the target domain."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmagic.registry import METRICS
from mmengine.evaluator import BaseMetric

from ..models.ugatit.pairs import DOMAINS, other
from ..models.ugatit.ugatit import to_picture
from .image_stats import colourfulness, edge_strength, gap_closed

STATS = {'colour': colourfulness, 'edges': edge_strength}


@METRICS.register_module()
class TransStats(BaseMetric):
    """Colourfulness and edge strength of translations, between the two domains.

    For each direction ``A2B`` it reports ``A2B/colour`` and ``A2B/edges``, the translations' means,
    and ``A2B/colour_gap`` and ``A2B/edges_gap``, the share of the gap between the domains that was
    closed (:func:`gap_closed`). Every file counts once, also where the shorter domain starts again
    or ranks share the work. This is no quality score.

    Args:
        collect_device: As in MMEngine.
        prefix: As in MMEngine.
    """

    default_prefix = ''  # the directions are prefix enough

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure the real images and the translations of a batch, BGR as the model gives them."""
        for sample in data_samples:
            for domain in DOMAINS:
                real = to_picture(sample[f'img_{domain}'])
                fake = to_picture(sample[f'fake_{other(domain)}'])
                self.results.append(
                    {
                        'domain': domain,
                        'direction': '2'.join(
                            sample['domains'][end] for end in (domain, other(domain))
                        ),
                        'path': sample[f'img_{domain}_path'],
                        **{f'real_{name}': stat(real) for name, stat in STATS.items()},
                        **{f'fake_{name}': stat(fake) for name, stat in STATS.items()},
                    }
                )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over files."""
        once = list({(row['domain'], row['path']): row for row in results}.values())

        def mean(domain: str, key: str) -> float:
            return float(np.mean([row[key] for row in once if row['domain'] == domain]))

        metrics = {}
        for source, direction in sorted({(row['domain'], row['direction']) for row in once}):
            for name in STATS:
                fake = mean(source, f'fake_{name}')
                metrics[f'{direction}/{name}'] = fake
                metrics[f'{direction}/{name}_gap'] = gap_closed(
                    mean(source, f'real_{name}'), fake, mean(other(source), f'real_{name}')
                )
        return metrics
