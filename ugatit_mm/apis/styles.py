"""What ``style`` and ``styles`` mean, wherever pictures are translated."""

import argparse
import re

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..config import metrics_of
from ..converters.networks import kind_of
from ..datasets.deep import Range
from ..datasets.loading import ImageReadError
from ..models.base import StyleChoice, UnpairedTranslation
from ..pixels import normalise
from .sizes import fit
from .sources import Failure, Picture, find_sources, read

Style = int | Picture | Tensor | StyleChoice


class StyleError(ValueError):
    """A choice of styles that is not possible; the message says why."""


def add_style_argument(parser: argparse.ArgumentParser, without: str) -> None:
    """Add ``--style``.

    Args:
        parser: A command's.
        without: What the command does without it.
    """
    parser.add_argument(
        '--style',
        type=seed_or_path,
        metavar='SEED|PICTURE',
        help='for models with random styles (MUNIT, DRIT): a whole number is a seed, which draws '
        "them together with the picture's file name; a picture of the target domain gives its own "
        f'({without})',
    )


def add_styles_argument(parser: argparse.ArgumentParser, where: str) -> None:
    """Add ``--styles``.

    Args:
        parser: A command's.
        where: The files that they become.
    """
    parser.add_argument(
        '--styles',
        type=int,
        metavar='N',
        help=f'number of styles for each picture, as {where}: the k-th is of the seed SEED+k-1',
    )


def seed_or_path(word: str) -> int | str:
    """A whole number is a seed, everything else a path; the file ``7`` is ``./7``."""
    return int(word) if re.fullmatch(r'[+-]?[0-9]+', word) else word


def check_styles(model: UnpairedTranslation, style: Style | None, styles: int | None) -> None:
    """Raise a StyleError for a choice of styles that is not possible.

    Args:
        model: The translation model.
        style: See :func:`choose_styles`.
        styles: See :func:`choose_styles`.
    """
    if isinstance(style, StyleChoice) and styles is None:
        return
    if model.style_shape is None:
        if style is not None or styles is not None:
            raise StyleError(f'{model.ROW} has no styles: leave out style and styles')
        return
    if styles is not None and styles < 1:
        raise StyleError(f'styles must be 1 or more, got {styles}')
    if isinstance(style, (StyleChoice, Tensor)) and styles is not None:
        raise StyleError('style says how many there are: leave out styles')
    if isinstance(style, Tensor):
        if tuple(style.shape[1:]) != model.style_shape or not len(style):
            raise StyleError(
                f'the styles of this {model.ROW} are (N, {", ".join(map(str, model.style_shape))}),'
                f' got {tuple(style.shape)}'
            )
    elif style is not None and not _is_seed(style) and (styles or 1) > 1:
        raise StyleError(
            f'styles={styles} are drawn by a seed, and a picture has one style: leave out styles, '
            'or let style be a number'
        )


def check_diversity(cfg: Config, style: int | Picture | None = None) -> None:
    """Raise a StyleError where a test measures the diversity of styles that no seed draws.

    The metric itself would ask for its weights first, a download that such a test never needs.

    Args:
        cfg: Config of a test.
        style: A seed, or a picture whose style is used.
    """
    kind, metrics = kind_of(cfg.model), metrics_of(cfg.get('test_evaluator') or [])
    if not any(metric.get('type') == 'StyleDiversity' for metric in metrics):
        return
    if kind.style_shape is UnpairedTranslation.style_shape:
        raise StyleError(f'{kind.ROW} has no styles: leave out StyleDiversity, --diversity')
    if style is not None and not _is_seed(style):
        raise StyleError(
            'StyleDiversity, --diversity is of styles that a seed draws: let style be a number'
        )


def choose_styles(
    model: UnpairedTranslation,
    style: Style | None,
    styles: int | None,
    target: str,
    *,
    size: str = 'resize',
    deep_range: Range | None = None,
    allow_url: bool = False,
) -> StyleChoice:
    """Turn a user's options of styles into a choice.

    Args:
        model: The translation model.
        style: The seed of each picture's own styles, 0 if not given; or a picture of the domain
            ``target``, whose style is used; or styles for all pictures, (N, *style_shape), as
            :meth:`UnpairedTranslation.styles` returns them; or an earlier choice.
        styles: Number of styles for each picture, drawn by the seed; 1 if not given.
        target: Letter of the domain to translate into.
        size: How a picture of styles is fitted, see :func:`fit`.
        deep_range: Its black and white, see :func:`read_with_alpha`.
        allow_url: See :func:`find_sources`.

    Raises:
        StyleError: The model has no styles, the two do not fit together, or the picture cannot be
            read.
    """
    check_styles(model, style, styles)
    if isinstance(style, StyleChoice):
        return style
    if style is None or _is_seed(style):
        return StyleChoice(int(style or 0), styles or 1)
    if not isinstance(style, Tensor):
        style = read_style(model, style, target, size, deep_range, allow_url)
    return StyleChoice(count=len(style), given={target: style})


def read_style(
    model: UnpairedTranslation,
    picture: Picture,
    target: str,
    size: str = 'resize',
    deep_range: Range | None = None,
    allow_url: bool = False,
) -> Tensor:
    """Read the style off a picture; see :func:`choose_styles`.

    Returns:
        (1, *style_shape), on the CPU.

    Raises:
        StyleError: As :func:`choose_styles`.
    """
    sources = list(find_sources(picture, allow_url))
    if len(sources) != 1:
        raise StyleError(f'style {picture} is {len(sources)} pictures: name one')
    (source,) = sources
    try:
        if isinstance(source, Failure):
            raise source.error
        pixels = read(source.picture, deep_range, model.out_channels)
        mode = 'resize' if size == 'tiles' else size  # one style is read off the whole picture
        fitted = fit(pixels, model.img_size, mode, model.STRIDE, model.INTERPOLATION).image
    except (OSError, ValueError) as error:
        where = '' if isinstance(error, ImageReadError) else f' {source.name}'
        raise StyleError(f'style{where}: {error}') from error
    device = next(model.parameters()).device
    image = torch.from_numpy(np.stack([fitted])).to(device).permute(0, 3, 1, 2)
    try:
        with torch.no_grad():
            return model.style_of(normalise(image.float()), target).cpu()
    except ValueError as error:  # weights that cannot read it
        raise StyleError(f'style: {error}') from error


def _is_seed(style: Style) -> bool:
    return isinstance(style, (int, np.integer))
