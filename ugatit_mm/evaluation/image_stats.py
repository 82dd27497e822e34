"""Simple statistics of pictures, as pure functions.

They say whether translations move towards the target domain, not how good they are.
"""

import numpy as np


def colourfulness(image: np.ndarray) -> float:
    """Colourfulness of Hasler and Suesstrunk (Human Vision and Electronic Imaging, 2003).

    Args:
        image: RGB, 0 to 255, (H, W, 3).

    Returns:
        0 for grey; about 15 slightly, 45 averagely, 109 extremely colourful.
    """
    r, g, b = np.moveaxis(image.astype(np.float64), -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    spread = np.hypot(rg.std(), yb.std())
    return float(spread + 0.3 * np.hypot(rg.mean(), yb.mean()))


def edge_strength(image: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels' luminance (ITU-R BT.601).

    Args:
        image: 0 to 255, (H, W, C), at least 2 x 2. RGB; with another number of channels each is
            measured by itself, and the mean is returned.

    Returns:
        In grey levels, 0 to 255; the mean of the horizontal and the vertical differences.
    """
    grey = image.astype(np.float64)
    if image.shape[2] == 3:
        grey = grey @ np.array([0.299, 0.587, 0.114])
    return float((np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2)


def gap_closed(source: float, translated: float, target: float) -> float:
    """Share of the way from the source's statistic to the target's that translations covered.

    Args:
        source: Mean over the source domain.
        translated: Mean over the translations.
        target: Mean over the target domain.

    Returns:
        0 where nothing moved, 1 where the target is met, more beyond it, below 0 the wrong way;
        NaN where source and target do not differ.
    """
    return (translated - source) / (target - source) if target != source else float('nan')
