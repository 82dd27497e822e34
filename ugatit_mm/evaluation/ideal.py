"""How far translations are from the ideal ones, where these are known.

They are known where a function makes the target domain, such as drawings of photographs, and in
paired data sets.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .measurements import Measurement

Picture = NDArray[np.uint8]  # (H, W, 3)

GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
SCALE = 255.0


def ssim(one: Picture, two: Picture) -> float:
    """Structural similarity of two RGB pictures in grey, by scikit-image; 1 is equal.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE
    TIP 2004, in windows of 7 x 7 pixels.

    Raises:
        ValueError: Their sizes differ, or a side is below 7.
    """
    from skimage.metrics import structural_similarity  # imported where used: it takes a second

    return float(structural_similarity(one @ GREY, two @ GREY, data_range=SCALE))


def l1(one: Picture, two: Picture) -> float:
    """Mean absolute difference of two RGB pictures, 0 to 255."""
    return float(np.abs(one.astype(float) - two).mean())


def in_grey(image: Picture) -> Picture:
    """An RGB picture in grey, in three channels."""
    return np.repeat(np.rint(image @ GREY)[..., None], 3, axis=2).astype(np.uint8)


def to_the_ideal(
    direction: str, pictures: Sequence[Picture], ideal: Sequence[Picture], resize: str
) -> list[Measurement]:
    """SSIM and L1 of pictures to the ideal translations, in the same order.

    Args:
        direction: Name of the direction.
        pictures: Translations, or grey sources in their place.
        ideal: Ideal translations.
        resize: Resize of both, in words.

    Raises:
        ValueError: Their numbers or sizes differ.
    """
    if len(pictures) != len(ideal):
        raise ValueError(
            f'{direction}: {len(pictures)} pictures and {len(ideal)} ideal ones: one for each is '
            'needed'
        )
    pairs = list(zip(pictures, ideal, strict=True))
    return [
        Measurement(
            direction=direction,
            protocol=protocol,
            value=float(np.mean(values)),
            spread=float(np.std(values) / np.sqrt(len(values))) if len(values) > 1 else None,
            spread_kind='standard error over the pictures',
            settings='each picture to its own',
            images={'fake': len(pairs), 'ideal': len(pairs)},
            features='pixels',
            weights='none',
            resize=resize,
        )
        for protocol, values in (
            ('ssim', [ssim(*pair) for pair in pairs]),
            ('l1', [l1(*pair) for pair in pairs]),
        )
    ]


def share_closed(
    translated: Measurement, untranslated: Measurement, ideal: Measurement
) -> Measurement:
    """Share of the way from the sources to the ideal translations, by KID to the target.

    (untranslated - translated) / (untranslated - ideal): 1 is the ideal, 0 the source as it is,
    and below 0 is worse than doing nothing.

    Args:
        translated: ``kid`` of the translations.
        untranslated: The same of the sources in their place.
        ideal: The same of the ideal translations.
    """
    value = (untranslated.value - translated.value) / (untranslated.value - ideal.value)
    return Measurement(
        direction=translated.direction,
        protocol='share_closed',
        value=value,
        spread=None,
        spread_kind='',
        settings=f'KID x 100: sources {100 * untranslated.value:.2f}, translations '
        f'{100 * translated.value:.2f}, ideal {100 * ideal.value:.2f}',
        images=translated.images | {'ideal': ideal.images['fake']},
        features=translated.features,
        weights=translated.weights,
        resize=translated.resize,
    )
