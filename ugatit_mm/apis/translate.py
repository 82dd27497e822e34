"""``ugatit translate``: pictures, folders and videos from the command line."""

import argparse
import os
import sys
from itertools import chain, count
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..converters import CheckpointError
from ..files import whole
from ..pixels import resize
from ..visualization import COLOUR_MAPS, attention_figure, colour_heatmap, overlay
from .inferencer import Translation, TranslationInferencer
from .sizes import SIZE_MODES
from .sources import Failure, Source, find_sources
from .video import VideoError, count_frames, is_video, translate_video


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Translate pictures, folders of pictures, and videos. Each result is a PNG (an '
        'MP4 of a video) of the size of its source, under its name. Without --ckpt a small pair '
        'that comes with the package is used: daisies to sunflowers, and back.',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help="a picture, a video, a folder, a pattern in quotes ('photos/*.jpg')",
    )
    parser.add_argument('--ckpt', help='weights: .pth of a training, or what a converter wrote')
    parser.add_argument(
        '--config', help='of the training; for weights that do not say what networks they need'
    )
    parser.add_argument('--to', metavar='DOMAIN', help='translate to it: its name, or A or B')
    parser.add_argument('--out', default='translations', metavar='DIR', help='(%(default)s)')
    parser.add_argument(
        '--size',
        choices=SIZE_MODES,
        default='resize',
        help='how a picture of another size is fitted to the network: squeezed (resize), its '
        'middle (crop), reflected to a square (pad), or not at all (keep, by networks of any size)',
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
    parser.add_argument('--batch', type=int, default=1, help='pictures at a time (%(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (a GPU where there is one)')
    parser.add_argument('--allow-url', action='store_true', help='fetch INPUTs that are addresses')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        inferencer = TranslationInferencer(args.ckpt, args.config, args.device)
        inferencer.check_options(
            args.to, args.size, args.batch, args.heatmap or args.overlay or args.figure
        )
        if args.ckpt is None:
            print(f'Without --ckpt: {inferencer.meta["about"]}')
        targets, failures = plan(args)
        total = len(targets) + len(failures)
        pictures = [pair for pair in targets if not is_video(pair[0].picture)]
        videos = [pair for pair in targets if is_video(pair[0].picture)]
        failures += translate_pictures(inferencer, pictures, args)
        failures += translate_videos(inferencer, videos, args)
    except (CheckpointError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{total - len(failures)} of {total} translated, in {args.out}')
    for failure in failures:
        name = failure.name if failure.name.isprintable() else repr(failure.name)
        print(f'not translated: {name}: {failure.error}', file=sys.stderr)
    return 1 if failures else 0


def plan(args: argparse.Namespace) -> tuple[list[tuple[Source, Path]], list[Failure]]:
    """Choose a file for each result; no two are equal, and none is a source."""
    targets, failures, taken = [], [], set()
    for source in find_sources(args.inputs, args.allow_url):
        if isinstance(source, Failure):
            failures.append(source)
            continue
        suffix = '.mp4' if is_video(source.picture) else '.png'
        names = chain([source.relative], (f'{source.relative}_{i}' for i in count(2)))
        name = next(name for name in names if (name + suffix).lower() not in taken)
        taken.add((name + suffix).lower())
        target = Path(args.out, name + suffix)
        if target.exists() and os.path.exists(source.name) and target.samefile(source.name):
            error = ValueError('its result would take its place: choose another --out')
            failures.append(Failure(source.name, error))
        else:
            targets.append((source, target))
    return targets, failures


def translate_pictures(
    inferencer: TranslationInferencer, targets: list[tuple[Source, Path]], args: argparse.Namespace
) -> list[Failure]:
    """Write the results of pictures; return what could not be translated."""
    results = inferencer.iterate(
        [source for source, _ in targets],
        args.to,
        batch_size=args.batch,
        size=args.size,
        restore=not args.network_size,
        return_heatmap=args.heatmap or args.overlay,
        allow_url=args.allow_url,
    )
    failures = []
    for (source, target), result in tqdm(
        zip(targets, results, strict=True), total=len(targets), disable=None, unit='picture'
    ):
        if isinstance(result, Failure):
            failures.append(result)
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for name, picture in extras(inferencer, result, args).items():
                save(picture, target.with_name(f'{target.stem}{name}.png'))
        except OSError as error:  # a name too long with what is added to it, a full disk
            failures.append(Failure(source.name, error))
    return failures


def extras(
    inferencer: TranslationInferencer, result: Translation, args: argparse.Namespace
) -> dict[str, np.ndarray]:
    """The translation, and what is asked for beside it, by the end of the file's name."""
    pictures = {'': result.image}
    if args.heatmap:
        pictures['_heatmap'] = colour_heatmap(result.heatmap, colour_map=args.colour_map)
    if args.overlay:
        size = result.heatmap.shape
        pictures['_overlay'] = overlay(
            resize(result.source, *size), result.heatmap, args.colour_map
        )
    if args.figure:
        fitted = inferencer.fit(result.source, args.size)
        pictures['_figure'] = attention_figure(
            inferencer.model, fitted.image, args.to, args.colour_map
        )
    return pictures


def translate_videos(
    inferencer: TranslationInferencer, targets: list[tuple[Source, Path]], args: argparse.Namespace
) -> list[Failure]:
    """Write the results of videos; return what could not be translated."""
    failures = []
    for source, target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        frames = translate_video(
            inferencer, source.name, target, args.to, batch_size=args.batch, size=args.size
        )
        total = count_frames(source.name) or None
        try:
            for _ in tqdm(frames, desc=source.name, total=total, disable=None, unit='frame'):
                pass
        except (OSError, VideoError) as error:
            failures.append(Failure(source.name, error))
    return failures


def save(picture: np.ndarray, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with whole(path, durable=False) as building:
        Image.fromarray(picture).save(building, 'PNG')
