"""Turn a downloaded data set of the paper into trainA, trainB, testA, testB."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ugatit_mm.config import data_set
from ugatit_mm.datasets.deep import add_deep_range
from ugatit_mm.datasets.preparation.download import download
from ugatit_mm.datasets.preparation.paper_sets import PAPER_SETS, find_paper_set
from ugatit_mm.datasets.preparation.prepare import prepare, verify


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Write trainA, trainB, testA, testB and manifest.json (files, sizes, SHA-256) from a zip, a tar or a
folder, in the layout of CycleGAN, DRIT or the Google Drive archive of selfie2anime. Images are
copied byte for byte under new names, so nothing is written outside OUT. Nothing is overwritten.
Run the same command again to continue an interrupted run.""",
        epilog='Published at these addresses, which were not tried when this was written:\n'
        + '\n'.join(f'  {url}' for each in PAPER_SETS.values() for url in each.urls),
    )
    parser.add_argument(
        'name', help=f'{", ".join(PAPER_SETS)}, or a reverse direction, which is the same data'
    )
    parser.add_argument('--source', type=os.path.expanduser, help='archive or folder to read')
    parser.add_argument(
        '--download',
        action='store_true',
        help='download the archive to SOURCE or the cache, if it is not there',
    )
    parser.add_argument(
        '--cache',
        type=os.path.expanduser,
        help='folder for the download (the parent of OUT)',
    )
    parser.add_argument(
        '--out', type=os.path.expanduser, help="folder to create (the config's, data/NAME)"
    )
    parser.add_argument(
        '--swap',
        choices=('yes', 'no'),
        help='whether trainA of the source is domain B (detected and printed)',
    )
    parser.add_argument('--seed', type=int, help='seed of the random test images (0)')
    parser.add_argument(
        '--test-sizes',
        type=int,
        nargs=2,
        metavar=('A', 'B'),
        help="numbers of random test images (the paper's)",
    )
    parser.add_argument(
        '--keep-split',
        action='store_true',
        help='cat2dog, photo2portrait: keep the split of the source, draw none',
    )
    add_deep_range(parser)
    parser.add_argument(
        '--strict',
        action='store_true',
        help="exit with 1 if counts differ from the paper's or an image cannot be read",
    )
    parser.add_argument(
        '--verify', action='store_true', help='compare OUT with its manifest and exit'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        paper_set = find_paper_set(args.name)
        out = args.out or data_set(paper_set.name).data_root
        if args.verify:
            problems = verify(out)
            print('\n'.join(problems) or f'{out}: all as in the manifest')
            return 1 if problems else 0
        source = args.source
        if args.download:
            source = source or Path(args.cache or Path(out).parent, paper_set.archive)
            if not Path(source).exists():
                download(paper_set.urls, source, paper_set.by_hand)
        elif not source:
            raise ValueError(
                f'give --source, an archive or a folder of {paper_set.name}, or --download. '
                f'By hand: {paper_set.by_hand}'
            )
        prepared = prepare(
            args.name,
            source,
            out,
            swap=None if args.swap is None else args.swap == 'yes',
            seed=args.seed,
            test_sizes=args.test_sizes,
            keep_split=args.keep_split,
            deep_range=args.deep_range,
        )
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: run the same command again to continue', file=sys.stderr)
        return 130
    print(f'{"wrote" if prepared.written else "already complete:"} {out}')
    print(prepared.describe())
    return 1 if args.strict and not prepared.as_in_paper else 0


if __name__ == '__main__':
    sys.exit(main())
