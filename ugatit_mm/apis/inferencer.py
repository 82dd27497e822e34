"""Pictures in, translations out."""

import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from ..converters import CheckpointError
from ..datasets.deep import Range, check_deep_range
from ..domains import other
from ..engine.replay import Replay
from ..files import whole
from ..models.base import StyleChoice
from ..pixels import (
    PNG_CHANNELS,
    displayed,
    normalise,
    resize,
    sides_of,
    size_words,
    to_uint8,
    write_picture,
)
from ..visualization import colour_heatmap, normalise_heatmap
from ..visualization.grid import make_sheet
from .loading import model_of, open_weights
from .sizes import SIZE_MODES, Fitted, fit, tiles
from .sources import Failure, Picture, Source, find_sources, read_with_alpha
from .styles import Style, check_styles, choose_styles

NOTEBOOK = 1024  # pixels of the longer side that a notebook keeps


class Translation(NamedTuple):
    """A translated picture.

    Attributes:
        name: Where the source came from.
        relative: Path below an output folder, without suffix.
        source: uint8, (H, W, C), as it was read, with the channels that the network takes.
        image: uint8, of the source's size (of the network's with ``restore=False``), with the
            channels that the network makes: grey (H, W, 1), RGB (H, W, 3), or others.
        heatmap: The model's attention, float32, in [0, 1], of the size of ``image``, where it is
            asked for.
        alpha: The source's transparency, uint8, of the size of ``image``, where it is asked for
            and the source has it.
        number: Number of its style, from 1.
    """

    name: str
    relative: str
    source: np.ndarray
    image: np.ndarray
    heatmap: np.ndarray | None = None
    alpha: np.ndarray | None = None
    number: int = 1

    @property
    def pixels(self) -> np.ndarray:
        """The translation with its transparency, if it has some: uint8, (H, W, C)."""
        return self.image if self.alpha is None else np.dstack([self.image, self.alpha])

    @property
    def pil(self) -> Image.Image:
        """The translation as a Pillow image: L, LA, RGB or RGBA.

        Raises:
            ValueError: It has more channels than these.
        """
        pixels = self.pixels
        if pixels.shape[2] > PNG_CHANNELS:
            raise ValueError(
                f"Pillow's pictures have up to {PNG_CHANNELS} channels, this one has "
                f'{pixels.shape[2]}: take .image, or .save() it as a .tif'
            )
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)

    def save(self, path: str | os.PathLike) -> None:
        """Write the translation, whole or not at all; folders are created.

        Args:
            path: ``.png``, ``.tif`` or ``.webp`` without loss, or ``.jpg``.

        Raises:
            ValueError: Another suffix, or one that cannot hold so many channels.
            OSError: It cannot be written.
        """
        path = Path(path).expanduser()
        suffix, channels = path.suffix.lower(), self.pixels.shape[2]
        kinds = [kind for kind, (held, _) in KINDS.items() if channels in held]
        if suffix not in kinds:
            raise ValueError(
                f'{path}: a translation of {channels} channels is written as {", ".join(kinds)}: '
                f'name {path.with_suffix(kinds[0]).name}'
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path, durable=False) as building:
            if channels > PNG_CHANNELS:
                write_picture(self.pixels, building)
            else:
                self.pil.save(building, **KINDS[suffix][1])

    def _repr_png_(self) -> bytes:
        """What Jupyter shows: the translation, or source, attention and translation; reduced."""
        share = min(1, NOTEBOOK / max(self.image.shape[:2]))
        size = [max(1, round(share * side)) for side in self.image.shape[:2]]
        pictures = [resize(np.ascontiguousarray(displayed(self.image)), *size)]
        if self.heatmap is not None:
            source = resize(np.ascontiguousarray(displayed(self.source)), *size)
            pictures = [source, colour_heatmap(resize(self.heatmap, *size)), *pictures]
        shown = make_sheet([pictures]) if len(pictures) > 1 else pictures[0]
        file = io.BytesIO()
        write_picture(shown, file)
        return file.getvalue()


KINDS: dict[str, tuple[range, dict[str, Any]]] = {
    '.png': (range(1, PNG_CHANNELS + 1), {}),
    '.tif': (range(1, 9), {}),
    '.tiff': (range(1, 9), {}),
    '.webp': (range(3, 5), {'lossless': True}),
    '.jpg': (range(1, 4, 2), {'quality': 95}),
    '.jpeg': (range(1, 4, 2), {'quality': 95}),
}
"""Suffixes for saved translations: numbers of channels that they hold, and Pillow's options."""


class TranslationInferencer:
    """Translate pictures with trained weights.

    Args:
        checkpoint: See :func:`load_model`; the pair that comes with the package if not given.
        config: See :func:`load_model`.
        device: See :func:`load_model`.
        graphs: On a GPU, replay CUDA graphs for batches of a repeated shape.
        deep_range: The values that are black and white in pictures of more than 8 bits, see
            :func:`~ugatit_mm.datasets.decode_rgb`; those of the training, from the checkpoint, if
            not given.

    Attributes:
        model: The translation model, in evaluation mode.
        translate: Its translation, by CUDA graphs if they are on.
        checkpoint: The file of weights.
        meta: Its ``meta``.
        img_size: Side of the square that pictures are fitted to, or (height, width).
        deep_ranges: The ranges of deep pictures, by the letter of their domain.

    Raises:
        FileNotFoundError, CheckpointError: See :func:`load_model`.
        ValueError: ``deep_range`` is not a range.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | None = None,
        config: str | os.PathLike | Config | None = None,
        device: str | torch.device | None = None,
        graphs: bool = True,
        deep_range: Range | None = None,
    ) -> None:
        given = check_deep_range(deep_range)
        self.checkpoint, content = open_weights(checkpoint)
        self.model, self.meta = model_of(self.checkpoint, content, config, device)
        self.deep_ranges = _trained_ranges(self.meta, self.checkpoint)
        if given is not None:
            self.deep_ranges = dict.fromkeys('AB', given)
        self.translate = Replay(self.model) if graphs else self.model.translate
        self.img_size: int | tuple[int, int] = self.model.img_size

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains A and B."""
        return tuple(self.model.domain_names.values())

    def __call__(
        self, inputs: Picture | Iterable[Picture], to: str | None = None, **options: Any
    ) -> list[Translation]:
        """Translate pictures; see :meth:`iterate`, which a bad picture does not stop.

        Raises:
            ImageReadError, ValueError, OSError: A picture cannot be read.
        """
        results = []
        for result in self.iterate(inputs, to, **options):
            if isinstance(result, Failure):
                raise result.error
            results.append(result)
        return results

    def iterate(
        self,
        inputs: Picture | Iterable[Picture],
        to: str | None = None,
        *,
        batch_size: int = 1,
        size: str = 'resize',
        scale: int = 1,
        restore: bool = True,
        return_heatmap: bool = False,
        return_alpha: bool = False,
        allow_url: bool = False,
        style: Style | None = None,
        styles: int | None = None,
    ) -> Iterator[Translation | Failure]:
        """Translate pictures one after the other, and skip those that cannot be read.

        Args:
            inputs: See :func:`find_sources`.
            to: The domain to translate into: its name, in any case, or its letter; the model's
                default if not given.
            batch_size: Pictures in a batch of the network; with tiles, parts of one picture.
            size: How a picture of another size is fitted, one of ``SIZE_MODES``; see :func:`fit`.
            scale: The network takes pictures of so many times its size, if it takes any size.
            restore: Give the translation the size of its source. Without, it is what
                ``tools/test.py`` writes (``size='resize'``).
            return_heatmap: Return the attention too, of a model that has it.
            return_alpha: Return the source's transparency too, where it has some.
            allow_url: See :func:`find_sources`.
            style: For models with styles: a seed, which draws each picture's style together with
                its file name, 0 if not given; or a picture of the target domain, whose style is
                used; or the styles for all pictures, (N, *style_shape); or the result of
                :meth:`choose_styles`.
            styles: Number of styles for each picture; the k-th is of the seed ``style + k - 1``.

        Yields:
            A translation for each style of a picture, or a failure, in the order of the pictures.

        Raises:
            ValueError: An option is unknown, or one that the model does not have, or the picture
                of a style cannot be read.
        """
        self.check_options(to, size, batch_size, return_heatmap, style, styles, scale)
        target = self.model.target(to)
        chosen = self.choose_styles(style, styles, target, size, allow_url)
        prepared = self._prepare(find_sources(inputs, allow_url), size, target, scale)
        run, at_once = self._run, batch_size
        if size == 'tiles':
            run, at_once = partial(self._run_tiles, batch_size=batch_size, scale=scale), 1
        while group := list(islice(prepared, at_once)):
            good = [item for item in group if not isinstance(item, Failure)]
            images = [fitted.image for *_, fitted in good]
            names = [os.path.basename(source.name) for source, *_ in good]
            outputs = [
                run(images, drawn, target, return_heatmap)
                for drawn in (chosen.of(self.model, names, target) if good else [])
            ]
            for item in group:
                if isinstance(item, Failure):
                    yield item
                    continue
                source, picture, alpha, fitted = item
                if not return_alpha:
                    alpha = None
                elif alpha is not None and not restore:
                    alpha = self.fit(alpha[..., None], size, scale).image[..., 0]
                for number, (image, heatmap) in enumerate(map(next, outputs), 1):
                    if heatmap is not None:
                        heatmap = normalise_heatmap(heatmap, image.shape[:2])
                    if restore:
                        image, heatmap = _restored(picture, fitted, image, heatmap)
                    yield Translation(
                        source.name, source.relative, picture, image, heatmap, alpha, number
                    )

    def check_options(
        self,
        to: str | None,
        size: str,
        batch_size: int = 1,
        return_heatmap: bool = False,
        style: Style | None = None,
        styles: int | None = None,
        scale: int = 1,
    ) -> None:
        """Raise a ValueError for options that :meth:`iterate` does not take."""
        if size not in SIZE_MODES:
            raise ValueError(f'size must be one of {list(SIZE_MODES)}, got {size!r}')
        if size == 'keep' and not self.model.takes_any_size:
            raise ValueError(
                f'size=keep needs networks that take any size; these take '
                f'{size_words(self.img_size)} only: choose resize, crop, pad or tiles'
            )
        if not isinstance(scale, int) or scale < 1:
            raise ValueError(f'scale must be a whole number, 1 or more, got {scale!r}')
        if scale > 1 and not self.model.takes_any_size:
            raise ValueError(
                f'scale={scale} needs networks that take any size; these take '
                f'{size_words(self.img_size)} only: leave out scale, or choose size=tiles'
            )
        if scale > 1 and size == 'keep':
            raise ValueError('size=keep is the size of the picture: leave out scale')
        came, made = self.model.in_channels, self.model.out_channels
        if size == 'crop' and came != made:
            raise ValueError(
                f'size=crop leaves the picture around its middle as it is, and these networks make '
                f'{made} channels of {came}: choose resize, pad, keep or tiles'
            )
        if batch_size < 1:
            raise ValueError(f'batch_size must be 1 or more, got {batch_size}')
        if return_heatmap and not self.model.has_attention:
            raise ValueError(
                'these networks have no attention: leave out heatmap, overlay and figure'
            )
        check_styles(self.model, style, styles)
        self.model.target(to)

    def deep_range(self, target: str) -> Range | None:
        """The range of deep pictures that are translated into a domain, given by its letter."""
        return self.deep_ranges.get(other(target))

    def fit(self, picture: np.ndarray, size: str, scale: int = 1) -> Fitted:
        """Fit a picture to the networks by one of :data:`SIZE_MODES`; see :func:`sizes.fit`."""
        sides = self._sides(scale)
        return fit(picture, sides, size, self.model.STRIDE, self.model.INTERPOLATION)

    def _sides(self, scale: int) -> tuple[int, int]:
        height, width = sides_of(self.img_size)
        return height * scale, width * scale

    def choose_styles(
        self,
        style: Style | None = None,
        styles: int | None = None,
        to: str | None = None,
        size: str = 'resize',
        allow_url: bool = False,
    ) -> StyleChoice:
        """Turn options of styles into a value for ``style`` of :meth:`iterate`, for several calls.

        Args:
            style: See :meth:`iterate`; a picture is read here, once.
            styles: See :meth:`iterate`.
            to: See :meth:`iterate`.
            size: How that picture is fitted.
            allow_url: See :func:`find_sources`.

        Raises:
            ValueError: The model has no styles, or the picture cannot be read.
        """
        target = self.model.target(to)
        return choose_styles(
            self.model,
            style,
            styles,
            target,
            size=size,
            deep_range=self.deep_ranges.get(target),
            allow_url=allow_url,
        )

    def _prepare(
        self, sources: Iterable[Source | Failure], size: str, target: str, scale: int
    ) -> Iterator[tuple[Source, np.ndarray, np.ndarray | None, Fitted] | Failure]:
        for source in sources:
            if isinstance(source, Failure):
                yield source
                continue
            try:
                picture, alpha = read_with_alpha(
                    source.picture, self.deep_range(target), self.model.in_channels
                )
            except (ValueError, OSError) as error:
                yield Failure(source.name, error)
            else:
                yield source, picture, alpha, self.fit(picture, size, scale)

    @torch.inference_mode()
    def _run(
        self, images: list[np.ndarray], style: Tensor | None, target: str, return_heatmap: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Translate fitted pictures, those of one size in one batch."""
        device = next(self.model.parameters()).device
        results: list[Any] = [None] * len(images)
        for shape in dict.fromkeys(image.shape for image in images):
            places = [i for i, image in enumerate(images) if image.shape == shape]
            pixels = torch.from_numpy(np.stack([images[i] for i in places])).to(device)
            pixels = normalise(pixels.permute(0, 3, 1, 2).float())
            out = self.translate(
                pixels,
                target,
                heatmap=return_heatmap,
                style=None if style is None else style[places],
            )
            pictures = to_uint8(out.image).permute(0, 2, 3, 1).cpu().numpy()
            maps = [None] * len(places)
            if out.heatmap is not None:
                maps = out.heatmap[:, 0].float().cpu().numpy()
            for place, result in zip(places, zip(pictures, maps, strict=True), strict=True):
                results[place] = result
        return iter(results)

    def _run_tiles(
        self,
        images: list[np.ndarray],
        style: Tensor | None,
        target: str,
        return_heatmap: bool,
        batch_size: int,
        scale: int,
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Translate a picture in parts of the network's size, and blend the results."""
        (image,) = images
        sides = self._sides(scale)
        if image.shape[:2] == sides:
            return self._run(images, style, target, return_heatmap)
        blended = np.zeros((*image.shape[:2], self.model.out_channels), np.float32)
        heat = np.zeros(image.shape[:2], np.float32) if return_heatmap else None
        parts = tiles(image.shape[:2], sides)
        while group := list(islice(parts, batch_size)):
            styles = None if style is None else style.expand(len(group), *style.shape[1:])
            results = self._run(
                [image[places] for places, _ in group], styles, target, return_heatmap
            )
            for (places, weights), (made, heatmap) in zip(group, results, strict=True):
                blended[places] += weights[..., None] * made
                if heat is not None and heatmap is not None:
                    heat[places] += weights * resize(heatmap, *sides)
        return iter([(np.rint(blended).astype(np.uint8), heat)])


def _restored(
    picture: np.ndarray, fitted: Fitted, image: np.ndarray, heatmap: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """A translation and its heatmap, of the size of its source."""
    # Where the window covers all, what is around it has no effect.
    size_of = (*picture.shape[:2], image.shape[2])
    around = picture if picture.shape == size_of else np.zeros(size_of, np.uint8)
    if heatmap is not None:
        heatmap = fitted.restore(heatmap, np.zeros(picture.shape[:2], np.float32))
    return fitted.restore(image, around), heatmap


def _trained_ranges(meta: dict[str, Any], checkpoint: str | os.PathLike | None) -> dict[str, Range]:
    """The ranges of deep pictures in a checkpoint, which is not trusted."""
    said = meta.get('deep_range') or {}
    try:
        if not isinstance(said, dict) or not said.keys() <= {'A', 'B'}:
            raise ValueError(f'deep_range must be of the domains A and B, got {said!r}.')
        ranges = {letter: check_deep_range(pair) for letter, pair in said.items()}
    except ValueError as error:
        raise CheckpointError(f'{checkpoint}: {error}') from error
    return {letter: pair for letter, pair in ranges.items() if pair is not None}


UGATITInferencer = TranslationInferencer  # its name when there was one model
