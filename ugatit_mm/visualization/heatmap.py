"""Heatmaps as pictures: scaled, coloured, overlaid on images."""

import cv2
import numpy as np

_TABLES = {
    'jet': cv2.COLORMAP_JET,
    'viridis': cv2.COLORMAP_VIRIDIS,
    'inferno': cv2.COLORMAP_INFERNO,
    'turbo': cv2.COLORMAP_TURBO,
    'grey': None,
}
COLOUR_MAPS = tuple(_TABLES)
LABELS = ('least', 'most')
CUT = 0.02  # fraction of the values that is clipped at either end
LEGEND = 24  # height in pixels
BAR = 160  # largest length in pixels
PAD = 6
FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.4


def normalise_heatmap(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch a heatmap to [0, 1] so that a few extreme values do not take all the colours.

    The lowest 2 % of the values become 0 and the highest 2 % become 1; if all values between are
    equal, only the minimum and the maximum do.

    Args:
        heatmap: (h, w), any finite range; a constant one becomes 0 everywhere.
        size: Height and width of the result, resized bilinearly.

    Returns:
        float32, (H, W).

    Raises:
        ValueError: It does not have two dimensions, or a value is not finite.
    """
    if heatmap.ndim != 2 or not heatmap.size:
        raise ValueError(f'a heatmap must be (h, w), got {heatmap.shape}')
    # Before resizing, so that a constant map does not show rounding; and after, as interpolation
    # does not reach the extremes.
    return _stretch(_resize(_stretch(_cut(heatmap)), size))


def _cut(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        return values  # refused later
    low = np.quantile(values, CUT, method='higher')
    high = np.quantile(values, 1 - CUT, method='lower')
    return values.clip(low, high) if low < high else values


def _stretch(values: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore', invalid='ignore'):
        values = values.astype(np.float32)
        values = values - values.min()
        top = values.max()
    if not np.isfinite(top):
        raise ValueError('the heatmap has values that are not finite: has the network diverged?')
    return values / top if top > 0 else values


def _resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return values if values.shape == tuple(size) else cv2.resize(values, (size[1], size[0]))


def colour_heatmap(heatmap: np.ndarray, colour_map: str = 'jet') -> np.ndarray:
    """Colour a heatmap in 256 steps.

    Args:
        heatmap: float32, (H, W), in [0, 1].
        colour_map: One of ``COLOUR_MAPS``.

    Returns:
        RGB, uint8, (H, W, 3).

    Raises:
        ValueError: The colour map is unknown, or a value is outside [0, 1].
    """
    # A resized heatmap may be off by rounding.
    if not (heatmap.min() >= -1e-5 and heatmap.max() <= 1 + 1e-5):
        raise ValueError('a heatmap must lie in [0, 1]: normalise_heatmap() makes it so')
    if colour_map not in _TABLES:
        raise ValueError(f'colour_map must be one of {list(COLOUR_MAPS)}, got {colour_map!r}')
    grey = np.rint(255 * heatmap.clip(0, 1)).astype(np.uint8)
    if _TABLES[colour_map] is None:
        return grey[..., None].repeat(3, 2)
    return cv2.cvtColor(cv2.applyColorMap(grey, _TABLES[colour_map]), cv2.COLOR_BGR2RGB)


def overlay(
    image: np.ndarray, heatmap: np.ndarray, colour_map: str = 'jet', alpha: float = 0.5
) -> np.ndarray:
    """Overlay a coloured heatmap on an image: ``(1 - alpha) * image + alpha * colours``.

    Args:
        image: RGB, uint8, (H, W, 3).
        heatmap: float32, (H, W), in [0, 1].
        colour_map: One of ``COLOUR_MAPS``.
        alpha: Opacity of the heatmap, in [0, 1].

    Returns:
        RGB, uint8, (H, W, 3).

    Raises:
        ValueError: As :func:`colour_heatmap`; or the sizes differ, or alpha is outside [0, 1].
    """
    if image.shape != (*heatmap.shape, 3):
        raise ValueError(f'a heatmap {heatmap.shape} does not fit an image {image.shape}')
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie in [0, 1], got {alpha}')
    mixed = (1 - alpha) * image + alpha * colour_heatmap(heatmap, colour_map)
    return np.rint(mixed).astype(np.uint8)


def add_legend(picture: np.ndarray, colour_map: str = 'jet') -> np.ndarray:
    """Draw a colour bar below a picture, between the words 'least' and 'most'.

    Args:
        picture: RGB, uint8, (H, W, 3); a narrow one gets a white margin on its right.
        colour_map: One of ``COLOUR_MAPS``.

    Returns:
        RGB, uint8, higher than the picture.
    """
    height, width = picture.shape[:2]
    words = [cv2.getTextSize(word, *FONT, 1)[0] for word in LABELS]
    around = sum(word[0] for word in words) + 4 * PAD  # a space at each end and around the bar
    bar = min(BAR, max(width - around, BAR // 4))
    sheet = np.full((height + LEGEND, max(width, around + bar), 3), 255, np.uint8)
    sheet[:height, :width] = picture
    left = 2 * PAD + words[0][0]
    steps = np.linspace(0, 1, bar, dtype=np.float32)[None].repeat(LEGEND - 2 * PAD, 0)
    sheet[height + PAD : -PAD, left : left + bar] = colour_heatmap(steps, colour_map)
    baseline = height + (LEGEND + words[0][1]) // 2
    for word, x in zip(LABELS, (PAD, left + bar + PAD), strict=True):
        cv2.putText(sheet, word, (x, baseline), *FONT, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet
