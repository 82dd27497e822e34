"""Base class of the metrics of translations: both directions, each file once, several ranks."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from ..domains import DOMAINS, direction, other
from ..pixels import to_picture


class TransMetric(BaseMetric):
    """A metric over the samples that :meth:`UnpairedTranslation.val_step` returns.

    Every file counts once, also if the shorter domain starts again, a rank repeats a sample, or
    ranks share the work; files are in the order of their paths.

    Args:
        collect_device: As in MMEngine.
        prefix: As in MMEngine.
    """

    default_prefix = ''  # the directions are prefix enough

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.channels = 3
        self._seen: set[tuple[str, str]] = set()

    def check_channels(self, channels: int) -> None:
        """Set the number of channels of the pictures that will be measured.

        Raises:
            ValueError: Such pictures cannot be measured.
        """
        self.channels = channels

    @abstractmethod
    def measure(self, images: list[np.ndarray]) -> list:
        """Measure uint8 pictures, (H, W, C) each; one result for each."""

    @abstractmethod
    def summarise(self, direction: str, real: list, fake: list, target: list) -> dict[str, float]:
        """Turn the measures of one direction into metrics.

        Args:
            direction: Such as ``selfie2anime``.
            real: Measures of the sources, in the order of their paths.
            fake: Measures of their translations, in the same order.
            target: Measures of the real images of the target domain, in the order of their paths.

        Returns:
            dict: Metrics by name, without the direction.
        """

    def names(self, has_target: bool) -> list[str] | None:
        """Names of the metrics of a direction, without it; ``None`` if it does not say them.

        Args:
            has_target: Whether there are real images of the target domain.
        """
        return None

    def names_of(
        self, counts: Mapping[str, int], domains: Mapping[str, str], targets: Sequence[str]
    ) -> list[str] | None:
        """Names of all metrics that an evaluation gives; ``None`` if it does not say them.

        Args:
            counts: Images by domain.
            domains: Names of the domains.
            targets: Letters of the domains that the model translates into.
        """
        prefix = f'{self.prefix}/' if self.prefix else ''
        found = []
        for source in DOMAINS:
            if not counts[source] or other(source) not in targets:
                continue
            names = self.names(bool(counts[other(source)]))
            if names is None:
                return None
            begin = prefix + direction(domains, other(source))
            found += [f'{begin}/{name}' for name in names]
        return found

    def check(self, counts: Mapping[str, int], domains: Mapping[str, str]) -> None:
        """Check the numbers of images before they are translated.

        Args:
            counts: By domain.
            domains: Names of the domains.

        Raises:
            TooFewImagesError: They are too few.
        """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure the real images and the translations of a batch, BGR as the model has them."""
        if not self.results:  # a new evaluation: the files may come again
            self._seen.clear()
        keys, pictures = [], []
        # MMEngine truncates the results of all ranks to the data set's length: one for each sample.
        results: list[dict] = [{} for _ in data_samples]
        for result, sample in zip(results, data_samples, strict=True):
            for domain in DOMAINS:
                if (row := self.new_row(sample, domain)) is None:
                    continue
                result[domain] = row
                for key, name in (('real', f'img_{domain}'), ('fake', f'fake_{other(domain)}')):
                    if name in sample:  # a model may have one direction only
                        keys.append((row, key))
                        pictures.append(to_picture(sample[name]))
        measures = self.measure(pictures) if pictures else []
        for (row, key), measured in zip(keys, measures, strict=True):
            row[key] = measured
        self.results.extend(results)

    def new_row(self, sample: Mapping[str, Any], domain: str) -> dict[str, Any] | None:
        """Start the record of a sample's picture of a domain.

        Returns:
            ``path`` and ``direction``; ``None`` where there is no picture, or it came before.
        """
        path = sample.get(f'img_{domain}_path')
        if path is None or (domain, path) in self._seen:
            return None
        self._seen.add((domain, path))
        return {'path': path, 'direction': direction(sample['domains'], other(domain))}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Summarise each direction."""
        once = {(domain, row['path']): row for result in results for domain, row in result.items()}
        rows: dict[str, list[dict]] = {domain: [] for domain in DOMAINS}
        for domain, path in sorted(once):
            rows[domain].append(once[domain, path])
        metrics = {}
        for domain in DOMAINS:
            if not rows[domain] or 'fake' not in rows[domain][0]:
                continue
            direction = rows[domain][0]['direction']
            real, fake = ([row[key] for row in rows[domain]] for key in ('real', 'fake'))
            target = [row['real'] for row in rows[other(domain)]]
            for name, value in self.summarise(direction, real, fake, target).items():
                metrics[f'{direction}/{name}'] = value
        return metrics
