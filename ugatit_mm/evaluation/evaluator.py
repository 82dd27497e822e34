"""Independent metrics: one that fails does not affect the others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import EVALUATOR

from ..messages import first_line
from .measurements import Measurement


class MetricError(RuntimeError):
    """Metrics of a test that failed; the results of the others are written."""


@EVALUATOR.register_module()
class TransEvaluator(Evaluator):
    """MMEngine's evaluator, in which a metric that fails is logged and left out.

    Args:
        metrics: Configs of metrics, or metrics.

    Attributes:
        failed: What went wrong in the last evaluation, by the metric's class, with a number if
            there are several of it.
        working: The metrics of the last evaluation that did not fail.
    """

    def __init__(self, metrics: dict | BaseMetric | Sequence) -> None:
        super().__init__(metrics)
        self.failed: dict[str, str] = {}
        self.working = list(self.metrics)
        self._broken: dict[int, str] = {}  # of this evaluation, by the metric's index

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Give the samples to each metric."""
        samples = [s.to_dict() if hasattr(s, 'to_dict') else s for s in data_samples]
        for index, metric in enumerate(self.metrics):
            if index not in self._broken:
                with self._guarded(index):
                    metric.process(data_batch, samples)

    def evaluate(self, size: int) -> dict[str, Any]:
        """Compute the metrics; all ranks must call this.

        Args:
            size: Samples of the whole set.

        Returns:
            Values by name, of the metrics that did not fail.

        Raises:
            ValueError: Two metrics have the same name.
        """
        for of_rank in all_gather_object(self._broken):
            self._broken = of_rank | self._broken
        metrics: dict[str, Any] = {}
        for index, metric in enumerate(self.metrics):
            if index in self._broken:
                metric.results.clear()
                continue
            for name, value in self._evaluate(index, metric, size).items():
                if name in metrics:
                    raise ValueError(f'two metrics give {name}: set the prefix of one')
                metrics[name] = value
        shared = [self._broken]
        broadcast_object_list(shared)  # the first rank computes
        names = self._names()
        self.failed = {names[index]: why for index, why in shared[0].items()}
        self.working = [m for index, m in enumerate(self.metrics) if index not in shared[0]]
        self._broken = {}
        for name, why in self.failed.items():
            MMLogger.get_current_instance().error(f'{name} failed, and is left out: {why}')
        return metrics

    def _names(self) -> list[str]:
        kinds = [type(metric).__name__ for metric in self.metrics]
        return [
            kind if kinds.count(kind) == 1 else f'{kind} {kinds[: index + 1].count(kind)}'
            for index, kind in enumerate(kinds)
        ]

    def _evaluate(self, index: int, metric: BaseMetric, size: int) -> dict[str, Any]:
        compute = metric.compute_metrics

        def compute_or_nothing(results: list) -> dict:
            with self._guarded(index):  # the other ranks wait for the first one's answer
                return compute(results)
            return {}

        metric.compute_metrics = compute_or_nothing  # type: ignore[method-assign]
        try:
            return metric.evaluate(size)
        finally:
            del metric.compute_metrics

    @contextmanager
    def _guarded(self, index: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._broken[index] = first_line(error)


def measured(evaluator: Evaluator) -> tuple[list[Measurement], list[Measurement]]:
    """The measurements of the metrics that did not fail, and those of the untranslated sources."""
    working = getattr(evaluator, 'working', evaluator.metrics)
    return (
        [each for metric in working for each in getattr(metric, 'measurements', ())],
        [each for metric in working for each in getattr(metric, 'untranslated', ())],
    )
