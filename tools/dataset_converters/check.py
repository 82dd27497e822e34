"""Check a data set in trainA, trainB, testA, testB; with --fix, set bad pictures aside."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from ugatit_mm.datasets.deep import add_deep_range
from ugatit_mm.datasets.preparation.checks import (
    MIN_SIZE,
    MOVED,
    PROBLEM,
    check_dataset,
    describe,
)
from ugatit_mm.datasets.preparation.contact_sheet import contact_sheet
from ugatit_mm.datasets.preparation.set_aside import move_aside, move_back, planned_moves
from ugatit_mm.datasets.preparation.similarity import NEAR

EPILOG = """
--fix moves unreadable, tiny and flat pictures, copies within a split, and training pictures that
are also test pictures, to ROOT/set_aside/KIND/SPLIT/... Of two copies the test picture stays, then
a file rather than a link, then the first name. ROOT/set_aside/moves.csv lists the moves, --undo
reverts them. Nothing is deleted or overwritten. Pictures in both domains stay: you decide.

exit code: 0 no problem (with --fix: none left), 1 problems, 2 the check could not run
"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'root', metavar='ROOT', help='folder that holds the four folders named above'
    )
    parser.add_argument(
        '--min-size',
        type=int,
        default=MIN_SIZE,
        help=f'smallest allowed shorter side in pixels ({MIN_SIZE})',
    )
    parser.add_argument(
        '--near',
        type=int,
        default=NEAR,
        metavar='BITS',
        help='largest distance of near duplicates in bits of a perceptual hash of 256 bits '
        f'({NEAR}); -1: identical pictures only',
    )
    parser.add_argument(
        '--allow-leak',
        choices=['A', 'B'],
        nargs='+',
        default=(),
        help='allow test pictures of this domain among its training pictures (photo2vangogh: B)',
    )
    add_deep_range(parser)
    parser.add_argument(
        '--channels',
        type=int,
        default=3,
        help='channels of the pictures; 5 to 8 for TIFFs with that many bands (3)',
    )
    parser.add_argument(
        '--workers', type=int, help='processes that read pictures (one per core, 8 at most)'
    )
    parser.add_argument(
        '--json', type=os.path.expanduser, metavar='FILE', help='write the whole report as JSON'
    )
    parser.add_argument(
        '--sheet', type=os.path.expanduser, metavar='FILE.png', help='write a contact sheet'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed for the pictures of the sheet (0)'
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--fix', action='store_true', help='set bad pictures aside')
    action.add_argument('--dry-run', action='store_true', help='show what --fix would move')
    action.add_argument('--undo', action='store_true', help='move everything back and exit')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    sys.stdout.reconfigure(errors='backslashreplace')  # names of files may be any bytes
    try:
        if args.undo:
            for source, target in move_back(args.root):
                print(f'{source} -> {target}')
            return 0
        return check(args)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


def check(args: argparse.Namespace) -> int:
    for file in (args.json, args.sheet):
        if file and os.path.exists(file):
            raise FileExistsError(f"'{file}' exists: choose another name.")
    report = check_dataset(
        args.root,
        args.min_size,
        args.near,
        args.allow_leak,
        args.workers,
        args.deep_range,
        args.channels,
    )
    print(describe(report))
    if args.sheet:
        sheet = contact_sheet(
            report, seed=args.seed, deep_range=args.deep_range, channels=args.channels
        )
        sheet.save(args.sheet)
    moves = []
    if args.fix or args.dry_run:
        moves = move_aside(report) if args.fix else planned_moves(report)
        print('moved:' if args.fix else 'would move:', len(moves))
        for source, target, _ in moves:
            print(f'  {source} -> {target}')
    if args.json:
        moved = [{'from': source, 'to': target} for source, target, _ in moves if args.fix]
        text = json.dumps(report.as_dict() | {'moved': moved}, indent=2)
        Path(args.json).write_text(text + '\n', encoding='utf-8')
    left = len(report.of(MOVED, PROBLEM)) - (len(moves) if args.fix else 0)
    return 1 if left else 0


if __name__ == '__main__':
    sys.exit(main())
