"""KID and FID of translations in MMEngine's validation and test loops."""

from collections.abc import Mapping

from mmagic.registry import METRICS
from mmengine.logging import MMLogger

from . import kid
from .extractors import Extractor
from .feature_metric import FeatureMetric, Measured, of_one_size
from .measurements import Protocol, metrics


@METRICS.register_module()
class TransKID(FeatureMetric):
    """KID by three protocols, and FID, of the translations in both directions.

    For each direction ``A2B`` it reports raw values: ``A2B/kid`` and ``kid_std``, to the target
    only, over random subsets (:func:`kid.kid`); ``A2B/kid_blocks`` and ``kid_blocks_stderr``, the
    authors' blocks (:func:`kid.kid_blocks`); ``A2B/kid_with_source`` and
    ``kid_with_source_stderr``, their mean with the distance to the source
    (:func:`kid.mean_with_source`); ``A2B/fid``. With another extractor than Inception its name
    comes first (``A2B/colour_hog_kid``). :attr:`measurements` holds them with their protocols.
    :attr:`untranslated` holds the same of the sources in place of the translations: the result of a
    model that does nothing. Both are logged in a table, which starts with the directions in which
    the translations are no nearer to the target than the sources.

    See :class:`FeatureMetric` for the pictures.

    Args:
        extractor: Makes the features; see :mod:`ugatit_mm.evaluation.extractors`. A config or an
            extractor; :func:`~ugatit_mm.evaluation.extractors.default_extractor` if not given.
        subset_size: Images in a subset of ``kid``; all images of a test set that has fewer, and
            the measurements say so.
        num_subsets: Subsets of ``kid``.
        block_size: Most images in a block of ``kid_blocks``; more where a test set is too small to
            give each block two.
        seed: Seed of the subsets.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Raises:
        WeightsError: The extractor's weights are missing or wrong.
        TooFewImagesError: At the start of a test, or of a training that measures in its validation:
            a test set has fewer than 2 images.
        ValueError: A setting is out of range.
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
        super().__init__(extractor, collect_device, prefix)
        self.protocol = Protocol(subset_size, num_subsets, block_size, seed)

    def names(self, has_target: bool) -> list[str]:
        """Names of the metrics, as :func:`~ugatit_mm.evaluation.measurements.metrics` has them."""
        begin = '' if self.extractor.name == 'inception' else f'{self.extractor.name}_'
        ends = ('kid', 'kid_std', 'kid_blocks', 'kid_blocks_stderr', 'kid_with_source')
        return [begin + end for end in (*ends, 'kid_with_source_stderr', 'fid') if has_target]

    def check(self, counts: Mapping[str, int], domains: Mapping[str, str]) -> None:
        """Log what protocol the images allow, before they are translated.

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

    def summarise(
        self,
        direction: str,
        real: list[Measured],
        fake: list[Measured],
        target: list[Measured],
    ) -> dict[str, float]:
        """Compute the measurements of one direction."""
        if not target:
            raise kid.TooFewImagesError(f'{direction}: no real images of the target')
        resize, (source, ours, goal) = of_one_size(direction, real, fake, target)
        measurements, untranslated = (
            self.protocol.measure(direction, self.extractor, pictures, goal, source, resize)
            for pictures in (ours, source)
        )
        self.measurements += measurements
        self.untranslated += untranslated
        return metrics(measurements)
