"""Make a sheet of several methods' results, as the paper's Figure 4.

`ugatit compare SOURCES ours=DIR cyclegan=DIR --out sheet.png`, or for the models that
`ugatit paper` trained `ugatit compare --run work_dirs/paper/table3 --dataset horse2zebra`.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ugatit_mm.datasets.deep import Range, add_deep_range
from ugatit_mm.datasets.loading import find_images, read_rgb
from ugatit_mm.evaluation.runs import add_run, methods_of
from ugatit_mm.files import output_names
from ugatit_mm.visualization import make_sheet


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Show the results of several methods next to their sources: a row for each '
        'source, a column for each method. A result belongs to the source of the same path in its '
        'folder; the suffix may differ.',
        usage='%(prog)s SOURCES METHOD=DIR [METHOD=DIR …] [options]\n'
        '       %(prog)s --run DIR [--dataset DIRECTION] [options]',
    )
    parser.add_argument('sources', nargs='?', metavar='SOURCES', help='folder of source pictures')
    parser.add_argument(
        'methods',
        nargs='*',
        metavar='METHOD=DIR',
        help="a method's name and the folder of its results",
    )
    add_run(parser)
    parser.add_argument(
        '--out', type=os.path.expanduser, default='sheet.png', help='sheet to write (%(default)s)'
    )
    parser.add_argument(
        '--names', nargs='+', metavar='NAME', help='sources to show, by path without suffix'
    )
    parser.add_argument(
        '--count',
        type=int,
        default=8,
        help='without --names: how many sources, in order of name; 0: all (%(default)s)',
    )
    parser.add_argument(
        '--rows', type=int, default=8, help='rows of a page; more go to OUT_2, OUT_3 (%(default)s)'
    )
    add_deep_range(parser)
    parser.add_argument(
        '--size', type=int, default=256, help='side of a picture in pixels (%(default)s)'
    )
    args = parser.parse_intermixed_args(argv)
    if bool(args.run) == bool(args.methods):
        parser.error('give SOURCES and METHOD=DIR, or --run DIR')
    methods = {}
    for word in args.methods:
        name, _, folder = word.partition('=')
        if not (name and folder) or name in methods:
            parser.error(f'{word!r}: give each method its own name, METHOD=DIR')
        methods[name] = folder
    args.methods = methods
    if args.count < 0 or args.rows < 1 or not 16 <= args.size <= 2048:
        parser.error('--count must be 0 or more, --rows 1 or more, --size 16 to 2048')
    if Path(args.out).suffix.lower() not in ('.png', '.jpg', '.jpeg', '.webp'):
        parser.error(f'--out {args.out}: the name must end in .png, .jpg, .jpeg or .webp')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.run:
            args.dataset, args.sources, args.methods = methods_of(args.run, args.dataset)
        rows = match(args.sources, args.methods, args.names, args.count)
        pages = [rows[i : i + args.rows] for i in range(0, len(rows), args.rows)]
        for number, page in enumerate(pages, 1):
            out = Path(args.out)
            if number > 1:
                out = out.with_stem(f'{out.stem}_{number}')
            draw(page, ['source', *args.methods], args.size, args.deep_range).save(out, quality=95)
            print(f'{out}: {len(page)} sources')
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def match(
    sources: str, methods: dict[str, str], names: list[str] | None = None, count: int = 0
) -> list[tuple[str, list[str]]]:
    """Find the results of sources.

    Args:
        sources: Folder of the sources.
        methods: Folder of the results by the method's name.
        names: Sources to show, in this order.
        count: Without ``names``: how many sources, in order of name; 0 is all.

    Returns:
        For each source its name and the files of its row, the source first. Names are those that
        ``ugatit test`` gives its results, without ``.png``.

    Raises:
        OSError: A folder is missing, or a method lacks results; the message names them.
        ValueError: A folder holds no picture, a name is unknown, or a source has two results.
    """
    files = output_names(find_images(sources), sources)
    found = {name.removesuffix('.png'): path for path, name in files.items()}
    if unknown := [name for name in names or () if name not in found]:
        raise ValueError(f"'{sources}' has no {_listed(unknown)}; it has {_listed(found)}")
    chosen = names or list(found)[: count or None]
    rows = {name: [found[name]] for name in chosen}
    for method, folder in methods.items():
        results = defaultdict(list)
        for path in find_images(folder):
            results[os.path.splitext(os.path.relpath(path, folder))[0]].append(path)
        if missing := [name for name in chosen if name not in results]:
            raise FileNotFoundError(
                f"the method '{method}' lacks {len(missing)} of {len(chosen)} sources in "
                f"'{folder}': {_listed(missing)}. Add them, or choose others with --names"
            )
        for name in chosen:
            if len(results[name]) > 1:
                raise ValueError(
                    f"'{method}' has several results of one source: {_listed(results[name])}"
                )
            rows[name] += results[name]
    return list(rows.items())


def draw(
    rows: list[tuple[str, list[str]]],
    titles: list[str],
    size: int,
    deep_range: Range | None = None,
) -> Image.Image:
    """Draw a page: titles, and for each source a line of pictures above its name.

    Args:
        rows: As :func:`match` gives them.
        titles: Titles of the columns.
        size: Side of a picture in pixels; pictures are padded to a square with white.
        deep_range: Value range of pictures of more than 8 bits.

    Raises:
        ImageReadError: A picture is damaged.
    """
    pictures = [
        [
            np.asarray(
                ImageOps.pad(
                    Image.fromarray(read_rgb(file, deep_range=deep_range)),
                    (size, size),
                    Image.Resampling.LANCZOS,
                    'white',
                )
            )
            for file in files
        ]
        for _, files in rows
    ]
    return Image.fromarray(make_sheet(pictures, titles, captions=[[name] for name, _ in rows]))


def _listed(words: Iterable[str], most: int = 5) -> str:
    words = [str(word) for word in words]
    more = f' and {len(words) - most} more' if len(words) > most else ''
    return ', '.join(words[:most]) + more


if __name__ == '__main__':
    sys.exit(main())
