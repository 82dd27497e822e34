"""The share of pictures that ImageNet's classifier assigns to a class."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmagic.registry import METRICS

from ..messages import listed
from .extractors import EfficientNetLite0Features, Extractor, find_lite0
from .feature_metric import FeatureMetric, Measured, of_one_size
from .measurements import CLASS_SHARES, Measurement

CLASSES = 1000  # of ImageNet


@METRICS.register_module()
class ClassShare(FeatureMetric):
    """Share of the pictures whose most likely class of ImageNet is a given one.

    For each direction ``A2B`` and class it reports, of 0 to 1,
    ``A2B/efficientnet_lite0_class_share_daisy`` of the translations, and the same with ``_source``
    of the untranslated sources and ``_target`` of the real images of the target:
    :attr:`measurements` has them with the mean probability of the class. A classifier errs: what it
    says of the real images shows what can be reached.

    See :class:`FeatureMetric` for the pictures.

    Args:
        classes: Names of ImageNet's classes, or their numbers, 0 to 999. Each is looked for in both
            directions.
        extractor: An :class:`EfficientNetLite0Features`, or its config.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Raises:
        WeightsError: Its weights are missing or wrong.
        ValueError: A name fits no class or several, or the extractor knows no classes.
    """

    option = '--class'

    def __init__(
        self,
        classes: Sequence[str | int],
        extractor: dict | Extractor | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        self.classes = class_names(classes)
        if not isinstance(extractor, Extractor):
            extractor = {'type': 'EfficientNetLite0Features', **(extractor or {})}
        super().__init__(extractor, collect_device, prefix)
        check_classifier(self.extractor)

    def names(self, has_target: bool) -> list[str]:
        """Names of the metrics of all classes."""
        return [
            metric_name(self.extractor.name, protocol, name)
            for name in self.classes.values()
            for protocol in CLASS_SHARES
            if has_target or not protocol.endswith('target')
        ]

    def summarise(
        self,
        direction: str,
        real: list[Measured],
        fake: list[Measured],
        target: list[Measured],
    ) -> dict[str, float]:
        """Compute the shares of one direction."""
        resize, sets = of_one_size(direction, fake, real, target)
        shares = class_shares(
            direction, check_classifier(self.extractor), self.classes, sets, resize
        )
        self.measurements += shares
        return dict(zip(self.names(bool(target)), (each.value for each in shares), strict=True))


def class_shares(
    direction: str,
    classifier: EfficientNetLite0Features,
    classes: Mapping[int, str],
    sets: Sequence[Any],
    resize: str,
) -> list[Measurement]:
    """Measurements of a direction, class by class.

    Args:
        direction: Name of the direction.
        classifier: Extractor that made the features.
        classes: Result of :func:`class_names`.
        sets: Features of the translations, of the untranslated sources and of the real images of
            the target, (N, d) each; a set that is empty is left out.
        resize: Resize of the pictures before the extractor, in words.
    """
    measurements = []
    named = list(zip(CLASS_SHARES, ('fake', 'source', 'target'), sets, strict=True))
    known = {
        protocol: (what, classifier.probabilities(np.asarray(features)))
        for protocol, what, features in named
        if len(features)
    }
    for number, name in classes.items():
        for protocol, (what, probabilities) in known.items():
            measurements.append(
                Measurement(
                    direction=direction,
                    protocol=protocol,
                    value=float((probabilities.argmax(1) == number).mean()),
                    spread=None,
                    spread_kind='',
                    settings=f'{name} ({number}), mean probability '
                    f'{probabilities[:, number].mean():.3f}',
                    images={what: len(probabilities)},
                    features=classifier.name,
                    weights=classifier.weights,
                    resize=f'{resize}, then {classifier.resize}',
                )
            )
    return measurements


def metric_name(features: str, protocol: str, name: str) -> str:
    """A metric's name, such as ``efficientnet_lite0_class_share_tiger_cat_source``."""
    begin, _, what = protocol.partition('class_share')
    return f'{features}_{begin}class_share_{re.sub("[^a-z0-9]+", "_", name.lower())}{what}'


def check_classifier(extractor: Extractor) -> EfficientNetLite0Features:
    """Return the extractor if it knows classes.

    Raises:
        ValueError: It does not.
    """
    if not isinstance(extractor, EfficientNetLite0Features):
        raise ValueError(
            f'{extractor.name} knows no classes of ImageNet: take EfficientNetLite0Features'
        )
    return extractor


def class_names(classes: Sequence[str | int]) -> dict[int, str]:
    """Find classes of ImageNet by name or number.

    Args:
        classes: A name is one of the words or phrases of a class, such as ``tabby`` of
            ``tabby, tabby cat``, in any case.

    Returns:
        The first name of each class by its number.

    Raises:
        WeightsError: timm, which has the names, is not installed.
        ValueError: A name fits no class, or several, or there is no such number, or none is given.
    """
    find_lite0(None)
    from timm.data import ImageNetInfo  # imported where used: it takes a second

    if isinstance(classes, str) or not classes:
        raise ValueError(f'classes must be a list of names or numbers of ImageNet, got {classes!r}')
    info = ImageNetInfo()
    known = [info.index_to_description(number).split(', ') for number in range(CLASSES)]
    found = {}
    for wanted in classes:
        number = _number(wanted, known)
        found[number] = known[number][0]
    return found


def _number(wanted: str | int, known: list[list[str]]) -> int:
    if isinstance(wanted, int) or wanted.isdecimal():
        if not 0 <= int(wanted) < CLASSES:
            raise ValueError(f'{wanted} is not a class of ImageNet: the numbers are 0 to 999')
        return int(wanted)

    def said(numbers: Sequence[int]) -> str:
        return listed(f'{", ".join(known[number])} ({number})' for number in numbers)

    word = wanted.strip().lower()
    lower = [[name.lower() for name in names] for names in known]
    fits = [number for number, names in enumerate(lower) if word in names]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ValueError(
            f'{wanted!r} is {len(fits)} classes of ImageNet: {said(fits)}; say which by its number'
        )
    near = [n for n, names in enumerate(lower) if any(word in name.split() for name in names)]
    if not near:
        close = difflib.get_close_matches(word, [name for names in lower for name in names])
        near = [n for n, names in enumerate(lower) if any(name in close for name in names)]
    hint = f'similar are {said(near)}' if near else 'the names are those of timm.data.ImageNetInfo'
    raise ValueError(f'{wanted!r} is not a class of ImageNet: {hint}')
