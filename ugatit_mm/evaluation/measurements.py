"""Measurements that carry their protocol: what was measured, with what, on how many images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import kid
from .extractors import ColourHOGFeatures, Extractor

Features = np.ndarray | Sequence[np.ndarray]  # (N, d)

CLASS_SHARES = {
    'class_share': 'translations',
    'class_share_source': 'untranslated sources',
    'class_share_target': 'real images of the target',
}

PROTOCOLS = {
    'kid': 'KID to the target, random subsets (torch-fidelity)',
    'kid_blocks': "KID to the target, blocks in file order (the authors')",
    'kid_with_source': "mean of KID to target and to source, blocks (the authors' mean_KID)",
    'fid': 'FID to the target (biased upwards for few images)',
    'lpips_diversity': 'LPIPS distance between two styles of a picture',
    'share_closed': 'share of the way from the sources to the ideal, by KID to the target (1: all)',
    'ssim': 'SSIM to the ideal translation, in grey (1: equal); of the sources: in grey',
    'l1': 'L1 to the ideal translation (0 to 255); of the sources: in grey',
    **{
        key: f"share of the {pictures} that ImageNet's classifier calls so"
        for key, pictures in CLASS_SHARES.items()
    },
}


RAW = ('fid', 'lpips_diversity', 'share_closed', 'ssim', 'l1')
"""Protocols whose measurements are not printed times 100."""


OF_PAPERS = ('inception', 'LPIPS 0.1, AlexNet')
"""Features whose measurements may be compared with published ones."""


REMARKS = {
    ColourHOGFeatures.name: (
        f'{ColourHOGFeatures.name} sees colours and edges only and is not a measure of quality',
    )
}
"""What must be known about features, in sentences."""


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Args:
        direction: Such as ``selfie2anime``.
        protocol: A key of :data:`PROTOCOLS`.
        value: Raw; the paper prints KID times 100.
        spread: Raw; ``None`` where the protocol has none.
        spread_kind: What the spread is; empty where there is none.
        settings: Subsets or blocks, in words.
        images: Numbers of images: ``fake``, ``target`` and, where used, ``source``.
        features: Name of the extractor.
        weights: Weights of the extractor.
        resize: Resize of the pictures before it, in words.
    """

    direction: str
    protocol: str
    value: float
    spread: float | None
    spread_kind: str
    settings: str
    images: dict[str, int]
    features: str
    weights: str
    resize: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with the values times 100 next to the raw ones."""
        spread = self.spread if self.spread is not None and math.isfinite(self.spread) else None
        return asdict(self) | {
            'spread': spread,
            'value_x100': 100 * self.value,
            'spread_x100': None if spread is None else 100 * spread,
        }

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> 'Measurement':
        """Read what :meth:`to_dict` gave."""
        return cls(**{name: entry[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Protocol:
    """Settings of the protocols, the same for all directions.

    If a set is too small for them, subsets are as large as it, and there are as many blocks as it
    fills with two images each. Each subset and each block is an unbiased estimate by itself, so the
    measurement is unbiased, too; its spread is another. The measurements say what was used.

    Args:
        subset_size: See :func:`kid.kid`. One size for all data sets keeps their spreads
            comparable: 50 fits the smallest of the paper, 100 test images.
        num_subsets: See :func:`kid.kid`.
        block_size: See :func:`kid.kid_blocks`.
        seed: Seed of the subsets.

    Raises:
        ValueError: A number out of range.
    """

    subset_size: int = kid.SUBSET_SIZE
    num_subsets: int = kid.NUM_SUBSETS
    block_size: int = kid.BLOCK_SIZE
    seed: int = kid.SEED

    def __post_init__(self) -> None:
        """Check the numbers before there are features."""
        for name, least in (('subset_size', 2), ('num_subsets', 1), ('block_size', 2)):
            if not getattr(self, name) >= least:
                raise ValueError(f'{name}={getattr(self, name)} must be {least} or more')

    def subsets(self, fake: int, target: int) -> tuple[int, int, str]:
        """Number and size of the subsets for sets of these sizes, and both in words."""
        size = min(self.subset_size, fake, target)
        # A set as large as its subsets gives the same one each time.
        whole = size == fake == target
        count = 1 if whole else self.num_subsets
        asked = '' if size == self.subset_size else f' ({self.subset_size} do not fit)'
        seed = ', all images' if whole else f', seed {self.seed}'
        return count, size, f'{count} subset{"s" * (count > 1)} of {size}{asked}{seed}'

    def blocks(self, fake: int, target: int) -> tuple[int, str]:
        """Most images of a block for sets of these sizes, also in words."""
        # Each block has two or more of the smaller set.
        size = max(self.block_size, -(-max(fake, target) // max(1, min(fake, target) // 2)))
        asked = '' if size == self.block_size else f' ({self.block_size} do not fit)'
        return size, f'blocks of at most {size}{asked}'

    def adapted(self, one: int, two: int) -> str:
        """What sets of these sizes use other than the settings, in words; empty if nothing."""
        said = (self.subsets(one, two)[2], self.blocks(one, two)[1])
        words = ', '.join(each for each in said if 'do not fit' in each)
        return words and f'{words}: there are {one} and {two} images'

    def measure(
        self,
        direction: str,
        extractor: Extractor,
        fake: Features,
        target: Features,
        source: Features | None = None,
        resize: str | None = None,
    ) -> list[Measurement]:
        """Compute the measurements of one direction.

        Args:
            direction: Name of the direction.
            extractor: Extractor that made the features.
            fake: Features of the translations in file order, (M, d).
            target: Features of real images of the target domain in file order, (N, d).
            source: Features of the sources in file order, (L, d); without them the mean with the
                source is left out.
            resize: Resize of the pictures before the extractor, in words, if any.

        Raises:
            TooFewImagesError: Fewer than 2 images in a set.
        """
        counts = {'fake': len(fake), 'target': len(target)}
        number, size, in_subsets = self.subsets(len(fake), len(target))
        subsets: tuple[float, float | None] = kid.kid(fake, target, size, number, self.seed)
        spread = 'population std over the subsets'
        if number == 1:  # the only possible one
            subsets, spread = (subsets[0], None), ''
        most, in_blocks = self.blocks(len(fake), len(target))
        blocks = kid.kid_blocks(fake, target, most)
        stated: list[tuple[str, tuple[float, float | None], str, str, dict[str, int]]] = [
            ('kid', subsets, spread, in_subsets, counts),
            ('kid_blocks', blocks, 'standard error over the blocks', in_blocks, counts),
        ]
        if source is not None:
            sizes = len(fake), len(target), len(source)
            most, in_blocks = self.blocks(min(sizes), max(sizes))
            both = kid.mean_with_source(
                kid.kid_blocks(fake, target, most), kid.kid_blocks(fake, source, most)
            )
            kind = 'mean of the two standard errors'
            stated.append(
                ('kid_with_source', both, kind, in_blocks, counts | {'source': len(source)})
            )
        stated.append(('fid', (kid.fid(fake, target), None), '', 'all images', counts))
        resize = f'{resize}, then {extractor.resize}' if resize else extractor.resize
        return [
            Measurement(
                direction,
                protocol,
                value,
                spread,
                kind,
                settings,
                images,
                extractor.name,
                extractor.weights,
                resize,
            )
            for protocol, (value, spread), kind, settings, images in stated
        ]


def metrics(measurements: Iterable[Measurement]) -> dict[str, float]:
    """Name the raw measurements for MMEngine's logs, without the direction.

    A spread is ``kid_std`` or ``kid_blocks_stderr``. With another extractor than Inception its name
    comes first, ``colour_hog_kid``, so that the measurement is not mistaken for Inception's.
    """
    named = {}
    for measurement in measurements:
        name = measurement.protocol
        if measurement.features != 'inception':
            name = f'{measurement.features}_{name}'
        named[name] = measurement.value
        if measurement.spread is not None:
            named[f'{name}_{"std" if measurement.protocol == "kid" else "stderr"}'] = (
                measurement.spread
            )
    return named


def untranslated_of(
    measurement: Measurement, untranslated: Iterable[Measurement]
) -> Measurement | None:
    """The same measurement of the sources in place of the translations; ``None`` without it."""

    def place(each: Measurement) -> tuple[str, ...]:
        return each.direction, each.protocol, each.features, each.weights, each.resize

    return next((each for each in untranslated if place(each) == place(measurement)), None)


def verdict(measurement: Measurement, copies: Measurement) -> tuple[bool, str]:
    """Whether translations are nearer to the target than the untranslated sources, and in words.

    Args:
        measurement: KID of the translations, to the target only: the mean with the source rewards
            copies.
        copies: The same of the sources in their place.
    """
    gained = measurement.value < copies.value
    said = f'{"" if gained else "no "}nearer to the target'
    if measurement.features == ColourHOGFeatures.name:
        said += ' in colours and edges'
    return gained, (
        f'{measurement.direction}: the translations are {said} than the untranslated sources '
        f'({measurement.features}, KID x 100 {100 * measurement.value:.2f} '
        f'{"<" if gained else ">="} {100 * copies.value:.2f})'
    )


def verdicts(measurements: Iterable[Measurement], untranslated: Sequence[Measurement]) -> list[str]:
    """The words of :func:`verdict` by direction, first those in which nothing was gained."""
    pairs = [(f, untranslated_of(f, untranslated)) for f in measurements if f.protocol == 'kid']
    return in_order(verdict(measurement, copies) for measurement, copies in pairs if copies)


def in_order(said: Iterable[tuple[bool, str]]) -> list[str]:
    """The words of verdicts, the unfavourable ones first."""
    return [words for _, words in sorted(said, key=lambda each: each[0])]


def table(measurements: Sequence[Measurement], untranslated: Sequence[Measurement] = ()) -> str:
    """Write measurements as a Markdown table under the features that they were made with.

    Args:
        measurements: Of translations.
        untranslated: Those of the sources in their place: adds a column, and the words of
            :func:`verdicts` before the table.
    """
    lines = []
    for features in dict.fromkeys((f.features, f.weights, f.resize) for f in measurements):
        name, weights, resize = features
        chosen = [f for f in measurements if (f.features, f.weights, f.resize) == features]
        copies = [untranslated_of(measurement, untranslated) for measurement in chosen]
        beside = any(copies)
        column = ' untranslated sources |' if beside else ''
        lines += [
            f'Features: {name} (weights: {weights}; resize: {resize})'
            + ('' if name in OF_PAPERS else ". Not Inception's, so not comparable to papers")
            + ''.join(f'. {said}' for said in REMARKS.get(name, ())),
            *verdicts(chosen, untranslated),
            '',
            f'| direction | protocol | times 100 | raw |{column} settings; ± is | images |',
            '|---|---|---|---|---|---|' + '---|' * beside,
        ]
        for each, copy in zip(chosen, copies, strict=True):
            images = ', '.join(f'{count} {what}' for what, count in each.images.items())
            kind = f'; {each.spread_kind}' if each.spread_kind else ''
            column = ' - |' if beside else ''
            if copy:
                column = f' {plus_minus(copy, 1 if copy.protocol in RAW else 100)} |'
            lines.append(
                f'| {each.direction} | {PROTOCOLS[each.protocol]} | {plus_minus(each, 100)} '
                f'| {plus_minus(each)} |{column} {each.settings}{kind} | {images} |'
            )
        lines.append('')
    return '\n'.join(lines)


def plus_minus(measurement: Measurement, times: int = 1) -> str:
    """A measurement with its spread: two decimals times 100, five raw.

    Protocols in :data:`RAW` are not multiplied.
    """
    if measurement.protocol in RAW and times != 1:
        return '-'
    digits = {'fid': 2, 'l1': 2, 'ssim': 3, 'share_closed': 2}.get(measurement.protocol, 5)
    digits = 2 if times == 100 else digits
    text = f'{times * measurement.value:.{digits}f}'
    if measurement.spread is None or not math.isfinite(measurement.spread):
        return text
    return f'{text} ± {times * measurement.spread:.{digits}f}'
