"""Figures that carry their protocol: what was measured, with what, on how many images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import kid
from .extractors import Extractor

Features = np.ndarray | Sequence[np.ndarray]  # (N, d)

PROTOCOLS = {
    'kid': 'KID to the target, random subsets (torch-fidelity)',
    'kid_blocks': "KID to the target, blocks in file order (the authors')",
    'kid_with_source': "mean of KID to target and to source, blocks (the authors' mean_KID)",
    'fid': 'FID to the target (biased upwards for few images)',
}


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Args:
        direction: Such as ``selfie2anime``.
        protocol: A key of :data:`PROTOCOLS`.
        value: Raw; the paper prints KID times 100.
        spread: Raw; ``None`` where the protocol has none.
        spread_kind: What the spread is; empty where there is none.
        settings: Subsets or blocks, in words.
        images: Numbers of images: ``fake``, ``target`` and, where used, ``source``.
        features: Name of the extractor.
        weights: Of the extractor.
        resize: What pictures go through before it.
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
        """For JSON, with the figures times 100 beside the raw ones."""
        spread = self.spread if self.spread is not None and math.isfinite(self.spread) else None
        return asdict(self) | {
            'spread': spread,
            'value_x100': 100 * self.value,
            'spread_x100': None if spread is None else 100 * spread,
        }

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> 'Figure':
        """Read what :meth:`to_dict` gave."""
        return cls(**{name: entry[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Protocol:
    """Settings of the protocols, the same for all directions.

    Args:
        subset_size: See :func:`kid.kid`. One size for all data sets keeps their spreads
            comparable: 50 fits the smallest of the paper, 100 test images.
        num_subsets: See :func:`kid.kid`.
        block_size: See :func:`kid.kid_blocks`.
        seed: Of the subsets.
    """

    subset_size: int = kid.SUBSET_SIZE
    num_subsets: int = kid.NUM_SUBSETS
    block_size: int = kid.BLOCK_SIZE
    seed: int = kid.SEED

    def measure(
        self,
        direction: str,
        extractor: Extractor,
        fake: Features,
        target: Features,
        source: Features | None = None,
        resize: str | None = None,
    ) -> list[Figure]:
        """Compute the figures of one direction.

        Args:
            direction: Its name.
            extractor: What made the features.
            fake: Features of the translations in file order, (M, d).
            target: Features of real images of the target domain in file order, (N, d).
            source: Features of the sources in file order, (L, d); without them the mean with the
                source is left out.
            resize: What pictures went through before the extractor, if anything.

        Raises:
            ValueError: Too few images for a protocol.
        """
        counts = {'fake': len(fake), 'target': len(target)}
        subsets = kid.kid(fake, target, self.subset_size, self.num_subsets, self.seed)
        blocks = kid.kid_blocks(fake, target, self.block_size)
        in_blocks = f'blocks of at most {self.block_size}'
        stated: list[tuple[str, tuple[float, float | None], str, str, dict[str, int]]] = [
            (
                'kid',
                subsets,
                'population std over the subsets',
                f'{self.num_subsets} subsets of {self.subset_size}, seed {self.seed}',
                counts,
            ),
            ('kid_blocks', blocks, 'standard error over the blocks', in_blocks, counts),
        ]
        if source is not None:
            both = kid.mean_with_source(blocks, kid.kid_blocks(fake, source, self.block_size))
            kind = 'mean of the two standard errors'
            stated.append(
                ('kid_with_source', both, kind, in_blocks, counts | {'source': len(source)})
            )
        stated.append(('fid', (kid.fid(fake, target), None), '', 'all images', counts))
        resize = f'{resize}, then {extractor.resize}' if resize else extractor.resize
        return [
            Figure(
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


def metrics(figures: Iterable[Figure]) -> dict[str, float]:
    """Name the raw figures for MMEngine's logs, without the direction.

    A spread is ``kid_std`` or ``kid_blocks_stderr``. With another extractor than Inception its name
    comes first, ``colour_hog_kid``, so that the figure is not mistaken for Inception's.
    """
    named = {}
    for figure in figures:
        name = figure.protocol
        if figure.features != 'inception':
            name = f'{figure.features}_{name}'
        named[name] = figure.value
        if figure.spread is not None:
            named[f'{name}_{"std" if figure.protocol == "kid" else "stderr"}'] = figure.spread
    return named


def table(figures: list[Figure]) -> str:
    """Write figures as a Markdown table under the features that they were made with."""
    lines = []
    for features in dict.fromkeys((f.features, f.weights, f.resize) for f in figures):
        name, weights, resize = features
        lines += [
            f'Features: {name} (weights: {weights}; resize: {resize})'
            + ('' if name == 'inception' else ". Not Inception's, so not comparable to papers"),
            '',
            '| direction | protocol | times 100 | raw | settings; ± is | images |',
            '|---|---|---|---|---|---|',
        ]
        for figure in figures:
            if (figure.features, figure.weights, figure.resize) != features:
                continue
            images = ', '.join(f'{count} {what}' for what, count in figure.images.items())
            kind = f'; {figure.spread_kind}' if figure.spread_kind else ''
            lines.append(
                f'| {figure.direction} | {PROTOCOLS[figure.protocol]} | {plus_minus(figure, 100)} '
                f'| {plus_minus(figure)} | {figure.settings}{kind} | {images} |'
            )
        lines.append('')
    return '\n'.join(lines)


def plus_minus(figure: Figure, times: int = 1) -> str:
    """A figure with its spread: two digits behind the point times 100, five raw.

    FID is not multiplied: nobody prints it so.
    """
    if figure.protocol == 'fid':
        return f'{figure.value:.2f}' if times == 1 else '-'
    digits = 2 if times == 100 else 5
    text = f'{times * figure.value:.{digits}f}'
    if figure.spread is None or not math.isfinite(figure.spread):
        return text
    return f'{text} ± {times * figure.spread:.{digits}f}'
