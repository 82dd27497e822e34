"""``ugatit translate``: pictures, folders and videos from the command line."""

import argparse
import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ..converters import CheckpointError
from ..datasets.deep import add_deep_range
from ..domains import DOMAINS, direction, other
from ..files import identity, unused, whole
from ..models.base import StyleChoice, UnpairedTranslation
from ..pixels import displayed, resize, suffix_written, write_picture
from ..visualization import COLOUR_MAPS, attention_figure, colour_heatmap, overlay
from .examples import find_examples, is_of
from .inferencer import Translation, TranslationInferencer
from .loading import add_weights_arguments
from .sizes import SIZE_MODES
from .sources import Failure, Source, find_sources, is_video, names_file
from .styles import add_style_argument, add_styles_argument
from .video import VideoError, count_frames, translate_video

EXTRAS = ('heatmap', 'overlay', 'figure')  # options, and the endings of their files' names
SHOWN = 20  # results that are printed, a line each
Targets = list[tuple[Source, Path]]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Translate pictures, folders of pictures and videos, and videos. Each result '
        'is a PNG (a TIFF for more than 4 channels, an MP4 for a video) of the size of its source, '
        'under its name. Without --ckpt a small pair that comes with the package is used: '
        'photographs to drawings, and back.',
    )
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='INPUT',
        help="a picture, a video, a folder, a pattern in quotes ('photos/*.jpg')",
    )
    parser.add_argument(
        '--example',
        action='store_true',
        help='instead of an INPUT: a photograph that comes with installed packages',
    )
    add_weights_arguments(parser)
    parser.add_argument(
        '--out',
        type=os.path.expanduser,
        default='translations',
        metavar='DIR',
        help='results go to DIR/SOURCE2TARGET, the domains by their names (%(default)s); or, for '
        'one picture or video, the file to write: NAME.png, NAME.mp4',
    )
    parser.add_argument(
        '--size',
        choices=SIZE_MODES,
        default='resize',
        help='how a picture of another size is fitted to the network. '
        + '; '.join(f'{mode}: {words}' for mode, words in SIZE_MODES.items())
        + ' (%(default)s; keep needs networks that take any size)',
    )
    parser.add_argument(
        '--scale',
        type=int,
        default=1,
        metavar='N',
        help='the network takes pictures of N times its size, if it takes any: 2 keeps more of '
        'large pictures, and costs four times as much (%(default)s)',
    )
    parser.add_argument(
        '--network-size', action='store_true', help="leave results at the network's size"
    )
    parser.add_argument('--heatmap', action='store_true', help='write NAME_heatmap.png, too')
    parser.add_argument('--overlay', action='store_true', help='write NAME_overlay.png, too')
    parser.add_argument(
        '--figure',
        action='store_true',
        help='write NAME_figure.png, too: source, attention, result, as the paper shows them',
    )
    parser.add_argument('--colour-map', choices=COLOUR_MAPS, default='jet', help='(%(default)s)')
    add_style_argument(parser, 'seed 0; one style for all frames of a video')
    add_styles_argument(parser, 'NAME_1.png ... NAME_N.png')
    parser.add_argument('--batch', type=int, default=1, help='pictures at a time (%(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU where there is one)')
    parser.add_argument(
        '--alpha', action='store_true', help='keep the transparency of pictures: PNGs with alpha'
    )
    add_deep_range(parser)
    parser.add_argument('--allow-url', action='store_true', help='fetch INPUTs that are addresses')
    args = parser.parse_args(argv)
    if bool(args.inputs) == args.example:
        parser.error('name an INPUT, or give --example instead')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    done, total, stopped, where = 0, 0, False, Path(args.out)
    failures: list[Failure] = []
    with interrupted_once():
        try:
            inferencer = TranslationInferencer(
                args.ckpt, args.config, args.device, deep_range=args.deep_range
            )
            print(weights_in_words(inferencer, args.ckpt))
            wants = [name for name in EXTRAS if getattr(args, name)]
            figure = [] if inferencer.model.style_shape is None else ['figure']  # of the styles
            attention = bool(set(wants).difference(figure))
            inferencer.check_options(
                args.to, args.size, args.batch, attention, args.style, args.styles, args.scale
            )
            if args.figure and args.size == 'tiles':
                raise ValueError('--figure shows one part: choose another --size, or --overlay')
            if args.example:
                args.inputs = [example(inferencer.model, args.to)]
            where, targets, failures = plan(args, inferencer.model)
            chosen = inferencer.choose_styles(
                args.style, args.styles, args.to, args.size, args.allow_url
            )
            total = len(targets) + len(failures)
            pictures = [pair for pair in targets if not is_video(pair[0].picture)]
            videos = [pair for pair in targets if is_video(pair[0].picture)]
            if videos and (extra := [*wants, *(['alpha'] if args.alpha else [])]):
                print(f'Videos are written without --{" --".join(extra)}', file=sys.stderr)
            for result in chain(
                translate_pictures(inferencer, pictures, args, chosen),
                translate_videos(inferencer, videos, args, chosen),
            ):
                if isinstance(result, Failure):
                    failures.append(result)
                    continue
                done += 1
                if done <= SHOWN:
                    tqdm.write(result)  # above the bar
        except KeyboardInterrupt:
            stopped = True
            print('stopped by Ctrl-C', file=sys.stderr)
        except (CheckpointError, OSError, ValueError) as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        if done > SHOWN:
            print(f'... and {done - SHOWN} more')
        if total:
            print(f'{done} of {total} translated, in {where}')
        for failure in failures:
            print(f'not translated: {shown(failure.name)}: {failure.error}', file=sys.stderr)
    return 130 if stopped else 1 if failures else 0


def weights_in_words(inferencer: TranslationInferencer, given: str | None) -> str:
    """The weights and the device, in a line."""
    model, where = inferencer.model, f'on {next(inferencer.model.parameters()).device}'
    if given is None:
        return f'Weights: the pair of the package, {where}. {inferencer.meta["about"]}'
    names = ' and '.join(inferencer.domains)
    return f'Weights: {shown(inferencer.checkpoint)}, {model.ROW} of {names}, {where}'


def example(model: UnpairedTranslation, to: str | None) -> str:
    """The photograph of ``--example``, of the source domain if there is one.

    Raises:
        FileNotFoundError: The packages that have them are not installed.
    """
    domain = model.domain_names[other(model.target(to))]
    for name, path in find_examples(domain).items():
        if not is_of(name, domain):
            print(f'No example is of {domain}: this one is a photograph ({name})')
        return str(path)
    raise FileNotFoundError('no example is installed (scikit-learn, scikit-image): name an INPUT')


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Until the block ends the first Ctrl-C is an interrupt, and later ones are ignored.

    So they do not disturb the clean-up after the first, up to the end of the process.
    """

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if (
        before is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def plan(
    args: argparse.Namespace, model: UnpairedTranslation
) -> tuple[Path, Targets, list[Failure]]:
    """Choose a file for each result; no two are equal, and none is a source.

    Results of earlier runs inside of an input folder are not sources.

    Args:
        args: The command's.
        model: Its domains name the folders of results inside ``--out``.

    Returns:
        Where the results go, a folder or the one file; each source with its file; and what cannot
        be translated.

    Raises:
        ValueError: ``--out`` names a file that the results cannot be written to.
    """
    suffix = suffix_written(model.out_channels)
    sources = list(find_sources(args.inputs, args.allow_url, videos=True))
    for letter in DOMAINS:  # results of earlier runs, in either direction
        results = Path(args.out, direction(model.domain_names, letter))
        sources = without_results(sources, args.inputs, results)
    file = single_file(args.out, sources, suffix, args.styles or 1)
    folder = Path(args.out, model.direction(args.to))
    inputs = {identity(source.name) for source in sources} - {None}
    lender = identity(args.style) if isinstance(args.style, str) else None
    targets, failures = [], []
    taken: set[str] = set()
    for source in sources:
        if isinstance(source, Failure):
            failures.append(source)
            continue
        end = '.mp4' if is_video(source.picture) else suffix
        parts = parts_of(args, is_video(source.picture))
        endings = [beside(Path(f'_{end}'), *part).name[1:] for part in parts]
        target = file or folder / (unused(source.relative, taken, endings) + end)
        for path in [beside(target, *part) for part in parts]:
            if (there := identity(path)) is not None and there in (*inputs, lender):
                what = 'itself an input' if there in inputs else 'the picture of --style'
                said = f'its result {path} is {what}: choose another --out'
                failures.append(Failure(source.name, ValueError(said)))
                break
        else:
            targets.append((source, target))
    return file or folder, targets, failures


def without_results(
    sources: list[Source | Failure], inputs: list[str], results: Path
) -> list[Source | Failure]:
    """Leave out the files of a results folder inside of an input, with a message."""
    inside = results.resolve()
    if not any(Path(name).resolve() in inside.parents for name in inputs if os.path.isdir(name)):
        return sources
    kept = [
        source
        for source in sources
        if source.name in inputs or inside not in Path(source.name).resolve().parents
    ]
    if left := len(sources) - len(kept):
        print(f'left out: {left} in {results}, where results go', file=sys.stderr)
    return kept


def single_file(
    out: str, sources: list[Source | Failure], suffix: str = '.png', styles: int = 1
) -> Path | None:
    """The file that ``--out`` names; ``None`` if it is a folder.

    Raises:
        ValueError: The sources give not one file, or one of another type.
    """
    path = Path(out)
    if not names_file(out):
        if path.is_file():
            raise ValueError(
                f'--out {out} is a file: name a folder, or a file that ends in {suffix}'
            )
        return None
    if len(sources) != 1:
        raise ValueError(
            f'--out {out} is one file, and {len(sources)} are to be translated: name a folder'
        )
    if styles > 1:
        raise ValueError(f'--out {out} is one file, and --styles {styles} are more: name a folder')
    kind, wanted = ('a video', '.mp4') if is_video(sources[0].name) else ('a picture', suffix)
    if path.suffix.lower() != wanted:
        raise ValueError(
            f'--out {out}: {kind} is written as {wanted}: name {path.with_suffix(wanted)}, or a '
            'folder'
        )
    return path


def parts_of(args: argparse.Namespace, video: bool) -> list[tuple[str, str]]:
    """The files of a source, as numbers of styles and kinds for :func:`beside`."""
    numbers = [number_of(k, args) for k in range(1, (args.styles or 1) + 1)]
    kinds = [f'_{name}' for name in EXTRAS if getattr(args, name) and not video]
    once = [('', kind) for kind in kinds if kind == '_figure']  # it shows all styles
    return [(n, kind) for n in numbers for kind in ['', *kinds] if kind != '_figure'] + once


def number_of(k: int, args: argparse.Namespace) -> str:
    """The number in the names of the k-th style; nothing where there is one style."""
    return f'_{k}' if (args.styles or 1) > 1 else ''


def beside(target: Path, number: str, kind: str) -> Path:
    """The file of a style, or a style's ``_heatmap`` and so on."""
    suffix = target.suffix if not kind or target.suffix.lower() == '.png' else '.png'
    return target.with_name(f'{target.stem}{number}{kind}{suffix}')


def translate_pictures(
    inferencer: TranslationInferencer,
    targets: Targets,
    args: argparse.Namespace,
    chosen: StyleChoice,
) -> Iterator[str | Failure]:
    """Write the results of pictures; yield a line about each, or what went wrong."""
    results = inferencer.iterate(
        [source for source, _ in targets],
        args.to,
        batch_size=args.batch,
        size=args.size,
        scale=args.scale,
        restore=not args.network_size,
        return_heatmap=args.heatmap or args.overlay,
        return_alpha=args.alpha,
        allow_url=args.allow_url,
        style=chosen,
    )
    for source, target in tqdm(targets, disable=None, unit='picture'):
        result = next(results)
        if isinstance(result, Failure):
            yield result
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for each in [result, *islice(results, chosen.count - 1)]:
                number = number_of(each.number, args)
                for kind, picture in extras(each, args).items():
                    save(picture, beside(target, number, kind))
            if args.figure:
                save(figure(inferencer, result, args, chosen), beside(target, '', '_figure'))
        except OSError as error:  # a name too long with what is added to it, a full disk
            yield Failure(source.name, error)
        else:
            height, width = result.source.shape[:2]
            yield line(source, f'{width} x {height}', target, inferencer, args)


def line(
    source: Source,
    size: str,
    target: Path,
    inferencer: TranslationInferencer,
    args: argparse.Namespace,
) -> str:
    """The line about a translated source."""
    last = args.styles or 1
    files = ' to '.join(str(beside(target, number_of(k, args), '')) for k in sorted({1, last}))
    name = inferencer.model.domain_names[inferencer.model.target(args.to)]
    return f'{shown(source.name)} ({size}) -> {name}: {shown(files)}'


def extras(result: Translation, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """The translation and the requested extras, by the end of the file's name."""
    pictures = {'': result.pixels}
    if args.heatmap:
        pictures['_heatmap'] = colour_heatmap(result.heatmap, colour_map=args.colour_map)
    if args.overlay:
        size = result.heatmap.shape
        pictures['_overlay'] = overlay(
            resize(displayed(result.source), *size), result.heatmap, args.colour_map
        )
    return pictures


def figure(
    inferencer: TranslationInferencer,
    result: Translation,
    args: argparse.Namespace,
    chosen: StyleChoice,
) -> np.ndarray:
    """Source, attention, and the result in each style."""
    model = inferencer.model
    styles = chosen.of(model, [os.path.basename(result.name)], model.target(args.to))
    fitted = inferencer.fit(result.source, args.size, args.scale)
    return attention_figure(model, fitted.image, args.to, args.colour_map, styles)


def translate_videos(
    inferencer: TranslationInferencer,
    targets: Targets,
    args: argparse.Namespace,
    chosen: StyleChoice,
) -> Iterator[str | Failure]:
    """Write the results of videos; yield a line about each, or what went wrong."""
    model = inferencer.model
    for source, target in targets:
        name = os.path.basename(source.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for k, style in enumerate(chosen.of(model, [name], model.target(args.to)), 1):
                file = beside(target, number_of(k, args), '')
                frames = translate_film(inferencer, source.name, file, args, style)
        except (OSError, VideoError) as error:
            yield Failure(source.name, error)
        else:
            yield line(source, f'{frames} frames', target, inferencer, args)


def translate_film(
    inferencer: TranslationInferencer,
    name: str,
    target: Path,
    args: argparse.Namespace,
    style: Tensor | None,
) -> int:
    """Write the result of a video in a style; return the number of its frames.

    Raises:
        OSError, VideoError: See :func:`translate_video`.
    """
    done, total = 0, count_frames(name)
    frames = translate_video(
        inferencer,
        name,
        target,
        args.to,
        batch_size=args.batch,
        size=args.size,
        scale=args.scale,
        restore=not args.network_size,
        style=style,
    )
    bar = tqdm(frames, desc=shown(name), total=total or None, disable=None, unit='frame')
    try:
        with closing(frames):
            for number in bar:
                done = number
    except KeyboardInterrupt:
        of = f' of {total}' if total else ''
        print(
            f'{shown(name)}: stopped after {done}{of} frames, which are not kept', file=sys.stderr
        )
        raise
    if done < total - 1 - total // 50:  # some containers only estimate
        print(
            f'{shown(name)}: only {done} of about {total} frames can be read: the file may be cut '
            'off or damaged',
            file=sys.stderr,
        )
    return done


def shown(name: str) -> str:
    """A source's name as a message shows it, in one line."""
    return name if name.isprintable() else repr(name)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with whole(path, durable=False) as building:
        write_picture(picture, building)
