"""Comparison of an exported file with its network."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..apis.sizes import fit
from ..apis.styles import Style
from ..models.base import UnpairedTranslation
from ..pixels import normalise
from .files import Runner, Translator, open_exported, open_in_opencv, outputs

TOLERANCE = 1e-4  # for float32, on images in [-1, 1] and on heatmaps with a maximum of 1
HALF_TOLERANCE = 1e-2  # the same for float16, on average: beyond it, values have overflowed


class Difference(NamedTuple):
    """Differences between a file's outputs and torch's.

    Attributes:
        largest: Largest difference over all values of the images; in levels of 0 to 255 for uint8.
        mean: Mean difference, in the same units.
        apart: Fraction of the values that differ.
        heatmap: Largest difference of the heatmaps, relative to each one's maximum; 0 without them.
    """

    largest: float
    mean: float
    apart: float
    heatmap: float


def compare(
    run: Runner, batches: Sequence[np.ndarray], wanted: Sequence[list[np.ndarray]]
) -> Difference:
    """Compare a file's runner on batches of inputs with the network's outputs for them."""
    largest = heatmap = total = 0.0
    count = apart = 0
    for pixels, expected in zip(batches, wanted, strict=True):
        found = run(pixels)
        image = np.abs(found[0].astype(np.float64) - expected[0])
        largest = np.maximum(largest, image.max())  # max() would ignore NaN
        total, count = total + image.sum(), count + image.size
        apart += np.count_nonzero(image)
        for have, want in zip(found[1:], expected[1:], strict=True):
            scale = np.abs(want).max((1, 2, 3), keepdims=True)
            heatmap = np.maximum(heatmap, (np.abs(have - want) / scale).max())
    return Difference(float(largest), float(total / count), apart / count, float(heatmap))


def verify(
    path: str | os.PathLike,
    format: str,
    model: UnpairedTranslation,
    pictures: Iterable[np.ndarray],
    style: Style | None = None,
) -> Iterator[str]:
    """Compare a file with the model that it was exported from, and describe the result.

    First random pictures, in batches of one and more and, if the file takes any size, of a second
    size; then ``pictures``, resized to the network's size. A static file is also compared in
    OpenCV.

    Args:
        path: File that :func:`export_model` wrote.
        format: As in :func:`export_model`.
        model: As in :func:`export_model`, on the CPU.
        pictures: uint8, (H, W, C), of any size.
        style: As in :func:`export_model`.

    Yields:
        A line for each kind of pictures.

    Raises:
        ValueError: OpenCV does not read a static file, or the file differs. In float32: by more
            than 1e-4; with ``uint8``, by more than one level or in more values than 1e-4 explains.
            In float16: by more than 1e-2 on average.
    """
    run, meta = open_exported(path, format)
    target = model.target(meta['target'])
    network = Translator(model, target, meta['pixels'], meta['heatmap'] == 'yes', style=style)
    height, *rest = map(int, meta['img_size'].split('x'))
    width = rest[0] if rest else height
    runners = {'': run}
    sizes = [(1, height, width), (3, height, width)]
    if meta['batch'] == '1':
        runners[' in OpenCV'] = open_in_opencv(path, network.heatmap)
        sizes = [(1, height, width)] * 3
    elif model.takes_any_size:
        sizes.append((2, height + model.STRIDE, 2 * width))
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*shape, model.in_channels), dtype=np.uint8) for shape in sizes]
    fitted = [
        fit(picture, (height, width), 'resize', interpolation=model.INTERPOLATION).image[None]
        for picture in pictures
    ]
    for name, given in (('random', noise), ('real', fitted)):
        if not given:
            continue
        batches = [_as_input(each, meta['pixels']) for each in given]
        wanted = [_wanted(network, batch) for batch in batches]
        for where, run in runners.items():
            off = compare(run, batches, wanted)
            yield f'{sum(map(len, batches))} {name} pictures{where}: {_in_words(off, meta)}'
            if not _is_good(off, meta):
                raise ValueError(
                    f'the file does not compute{where} what the network does on {name} pictures: '
                    f'{_in_words(off, meta)}'
                    + ('; try without --half' if meta['precision'] == 'float16' else '')
                )


def _wanted(network: Translator, pixels: np.ndarray) -> list[np.ndarray]:
    """Return the network's outputs in float32."""
    with torch.inference_mode(), network.model.eager():
        return [part.numpy() for part in outputs(network(torch.from_numpy(pixels)))]


def _is_good(off: Difference, meta: dict[str, str]) -> bool:
    levels = 127.5 if meta['pixels'] == 'uint8' else 1.0
    if meta['precision'] == 'float16':
        return off.mean <= HALF_TOLERANCE * levels and off.heatmap <= HALF_TOLERANCE
    if meta['pixels'] == 'uint8':
        # A difference of d levels moves a value across a rounding boundary with probability d.
        few = off.largest <= 1 and off.apart <= TOLERANCE * levels
        return few and off.heatmap <= TOLERANCE
    return off.largest <= TOLERANCE and off.heatmap <= TOLERANCE


def _in_words(off: Difference, meta: dict[str, str]) -> str:
    text = f'largest difference {off.largest:.1e} in [-1, 1], mean {off.mean:.1e}'
    if meta['pixels'] == 'uint8':
        text = (
            f'largest difference {off.largest:.0f} of 255, mean {off.mean:.1e}, '
            f'{off.apart:.3%} of the values differ'
        )
    if meta['heatmap'] == 'yes':
        text += f'; heatmap {off.heatmap:.1e} of its maximum'
    return text


def _as_input(pictures: np.ndarray, pixels: str) -> np.ndarray:
    if pixels == 'uint8':
        return pictures
    values = normalise(pictures.astype(np.float32))
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
