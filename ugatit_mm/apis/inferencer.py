"""Pictures in, translations out."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..converters import CheckpointError
from ..datasets.deep import Range, check_deep_range
from ..domains import other
from ..engine.replay import Replay
from ..models.base import StyleChoice
from ..pixels import normalise, size_words, to_uint8
from ..visualization import normalise_heatmap
from .loading import load_model
from .sizes import SIZE_MODES, Fitted, fit
from .sources import Failure, Picture, Source, find_sources, read_with_alpha
from .styles import Style, check_styles, choose_styles


class Translation(NamedTuple):
    """A translated picture.

    Attributes:
        name: Where the source came from.
        relative: Path below an output folder, without suffix.
        source: uint8, (H, W, C), as it was read, of the channels that the network takes.
        image: uint8, of the source's size (of the network's with ``restore=False``), of the
            channels that the network makes: grey (H, W, 1), RGB (H, W, 3), or others.
        heatmap: The model's attention, float32, in [0, 1], of the size of ``image``, where it is
            asked for.
        alpha: The source's transparency, uint8, of the size of ``image``, where it is asked for
            and the source has it.
        number: Which of its styles it has, from 1 on.
    """

    name: str
    relative: str
    source: np.ndarray
    image: np.ndarray
    heatmap: np.ndarray | None = None
    alpha: np.ndarray | None = None
    number: int = 1


class TranslationInferencer:
    """Translate pictures with trained weights.

    Args:
        checkpoint: See :func:`load_model`; the pair that comes with the package if not given.
        config: See :func:`load_model`.
        device: See :func:`load_model`.
        graphs: On a GPU, replay CUDA graphs for batches of a shape that comes again.
        deep_range: The values that are black and white in pictures of more than 8 bits, see
            :func:`~ugatit_mm.datasets.decode_rgb`; those of the training if not given, which the
            checkpoint says.

    Attributes:
        model: The translation model, in evaluation mode.
        translate: Its translation, by CUDA graphs where they are to be used.
        meta: What the file of weights says of itself.
        img_size: Side of the square that pictures are fitted to, or (height, width).
        deep_ranges: The ranges of deep pictures, by the letter of their domain.

    Raises:
        FileNotFoundError, CheckpointError: See :func:`load_model`.
        ValueError: ``deep_range`` is no range.
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
        self.model, self.meta = load_model(checkpoint, config, device)
        self.deep_ranges = _trained_ranges(self.meta, checkpoint)
        if given is not None:
            self.deep_ranges = dict.fromkeys('AB', given)
        self.translate = Replay(self.model) if graphs else self.model.translate
        self.img_size: int | tuple[int, int] = self.model.img_size

    def __call__(
        self, inputs: Picture | Iterable[Picture], target_domain: str | None = None, **options: Any
    ) -> list[Translation]:
        """Translate pictures; see :meth:`iterate`, which a bad picture does not stop.

        Raises:
            ImageReadError, ValueError, OSError: A picture cannot be read.
        """
        results = []
        for result in self.iterate(inputs, target_domain, **options):
            if isinstance(result, Failure):
                raise result.error
            results.append(result)
        return results

    def iterate(
        self,
        inputs: Picture | Iterable[Picture],
        target_domain: str | None = None,
        *,
        batch_size: int = 1,
        size: str = 'resize',
        restore: bool = True,
        return_heatmap: bool = False,
        return_alpha: bool = False,
        allow_url: bool = False,
        style: Style | None = None,
        styles: int | None = None,
    ) -> Iterator[Translation | Failure]:
        """Translate pictures one after the other, and go on past those that cannot be read.

        Args:
            inputs: See :func:`find_sources`.
            target_domain: Letter or name; the model's default if not given.
            batch_size: Pictures that the network takes at a time.
            size: How a picture of another size is fitted, see :func:`fit`.
            restore: Give the translation the size of its source. Without, it is what
                ``tools/test.py`` writes (``size='resize'``).
            return_heatmap: The attention too, of a model that has it.
            return_alpha: The source's transparency too, where it has some.
            allow_url: See :func:`find_sources`.
            style: Of a model that has styles: the seed of each picture's own, drawn by it and the
                file's name, 0 if not given; or a picture of the target domain, which lends its
                style; or the styles to translate all pictures in, (N, *style_shape); or what
                :meth:`choose_styles` gave.
            styles: Styles for each picture; the k-th is that of the seed ``style + k - 1``.

        Yields:
            A translation for each style of a picture, or a failure, in the order of the pictures.

        Raises:
            ValueError: An option is unknown, or one that the model does not have, or the picture
                of a style cannot be read.
        """
        self.check_options(target_domain, size, batch_size, return_heatmap, style, styles)
        target = self.model.target(target_domain)
        chosen = self.choose_styles(style, styles, target, size, allow_url)
        prepared = self._prepare(find_sources(inputs, allow_url), size, target)
        while group := list(islice(prepared, batch_size)):
            good = [item for item in group if not isinstance(item, Failure)]
            images = [fitted.image for *_, fitted in good]
            names = [os.path.basename(source.name) for source, *_ in good]
            outputs = [
                self._run(images, drawn, target, return_heatmap)
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
                    alpha = self.fit(alpha[..., None], size).image[..., 0]
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
        target_domain: str | None,
        size: str,
        batch_size: int = 1,
        return_heatmap: bool = False,
        style: Style | None = None,
        styles: int | None = None,
    ) -> None:
        """Raise a ValueError for options that :meth:`iterate` does not take."""
        if size not in SIZE_MODES:
            raise ValueError(f'size must be one of {list(SIZE_MODES)}, got {size!r}')
        if size == 'keep' and not self.model.takes_any_size:
            raise ValueError(
                f'size=keep needs networks that take any size; these take '
                f'{size_words(self.img_size)} only: choose resize, crop or pad'
            )
        came, made = self.model.in_channels, self.model.out_channels
        if size == 'crop' and came != made:
            raise ValueError(
                f'size=crop leaves the picture around its middle as it is, and these networks make '
                f'{made} channels of {came}: choose resize, pad or keep'
            )
        if batch_size < 1:
            raise ValueError(f'batch_size must be 1 or more, got {batch_size}')
        if return_heatmap and not self.model.has_attention:
            raise ValueError(
                'these networks have no attention: leave out heatmap, overlay and figure'
            )
        check_styles(self.model, style, styles)
        self.model.target(target_domain)

    def deep_range(self, target: str) -> Range | None:
        """The range of deep pictures that are translated into a domain, given by its letter."""
        return self.deep_ranges.get(other(target))

    def fit(self, picture: np.ndarray, size: str) -> Fitted:
        """Fit a picture to the networks by one of :data:`SIZE_MODES`; see :func:`sizes.fit`."""
        return fit(picture, self.img_size, size, self.model.STRIDE, self.model.INTERPOLATION)

    def choose_styles(
        self,
        style: Style | None = None,
        styles: int | None = None,
        target_domain: str | None = None,
        size: str = 'resize',
        allow_url: bool = False,
    ) -> StyleChoice:
        """Make what is said of styles into what ``style`` of :meth:`iterate` takes for each call.

        Args:
            style: See :meth:`iterate`; a picture is read here, once.
            styles: Likewise.
            target_domain: Likewise.
            size: How that picture is fitted.
            allow_url: See :func:`find_sources`.

        Raises:
            ValueError: The model has no styles, or the picture cannot be read.
        """
        target = self.model.target(target_domain)
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
        self, sources: Iterable[Source | Failure], size: str, target: str
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
                yield source, picture, alpha, self.fit(picture, size)

    @torch.inference_mode()
    def _run(
        self, images: list[np.ndarray], style: Tensor | None, target: str, return_heatmap: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Translate pictures that the network takes; those of one size in one batch."""
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
    """The ranges of deep pictures that a checkpoint, which may be a stranger's, says."""
    said = meta.get('deep_range') or {}
    try:
        if not isinstance(said, dict) or not said.keys() <= {'A', 'B'}:
            raise ValueError(f'deep_range must be of the domains A and B, got {said!r}.')
        ranges = {letter: check_deep_range(pair) for letter, pair in said.items()}
    except ValueError as error:
        raise CheckpointError(f'{checkpoint}: {error}') from error
    return {letter: pair for letter, pair in ranges.items() if pair is not None}


UGATITInferencer = TranslationInferencer  # its name of before there were other models
