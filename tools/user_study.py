"""User study: `ugatit study SOURCES METHOD=DIR METHOD=DIR…`, then `--report DB`."""

import argparse
import csv
import os
import sys

from ugatit_mm.evaluation.runs import add_run, methods_of

QUESTION = 'Which result is the best translation of the source?'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Ask people which result they prefer, as for Table 2 of the paper. A web page '
        'shows each source with the results of the methods, in random order and without names. '
        'Each choice is stored at once; a person who comes back continues where they stopped. '
        'A result belongs to the source of the same name; the suffix may differ.',
        usage='%(prog)s SOURCES METHOD=DIR METHOD=DIR… [options]\n'
        '       %(prog)s --run DIR [--dataset DIRECTION] [options]\n'
        '       %(prog)s --report DB [DB …] [--csv FILE]',
    )
    parser.add_argument('sources', nargs='?', metavar='SOURCES', help='folder of source pictures')
    parser.add_argument(
        'methods',
        nargs='*',
        metavar='METHOD=DIR',
        help="a method's name and the folder of its results",
    )
    parser.add_argument(
        '--db',
        type=os.path.expanduser,
        default='study.sqlite',
        help='database file for the votes (%(default)s)',
    )
    add_run(parser, "the table's column (study)")
    parser.add_argument(
        '--question',
        default=QUESTION,
        help='the question; name the target domain in it, as in "Which is the best anime picture '
        'of this selfie?" ("%(default)s")',
    )
    parser.add_argument(
        '--per-person', type=int, metavar='N', help='questions for each person (all)'
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='seed of the orders or, with --report, the bootstrap (0)',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to serve at; 0.0.0.0 for the whole local network (%(default)s)',
    )
    parser.add_argument('--port', type=int, default=8000, help='port to serve at (%(default)s)')
    parser.add_argument(
        '--report', nargs='+', metavar='DB', help='print the table of these databases and exit'
    )
    parser.add_argument(
        '--csv',
        type=os.path.expanduser,
        metavar='FILE',
        help='with --report: also write the table to this file',
    )
    args = parser.parse_intermixed_args(argv)
    if args.report and args.sources:
        parser.error('--report takes databases only, no SOURCES')
    if args.run and (args.sources or args.report):
        parser.error('--run finds SOURCES and METHOD=DIR itself: leave them and --report out')
    if not (args.report or args.run or args.sources):
        parser.error('give SOURCES and METHOD=DIR, or --run DIR, or --report DB')
    if args.csv and not args.report:
        parser.error('--csv needs --report')
    if not 0 <= args.port < 2**16:
        parser.error('--port must be from 0 to 65535')
    pairs = [word.partition('=') for word in args.methods]
    if bad := [''.join(pair) for pair in pairs if not all(pair)]:
        parser.error(f'not of the form METHOD=DIR: {bad[0]}')
    args.methods = {name: folder for name, _, folder in pairs}
    if len(args.methods) < len(pairs):
        parser.error('two methods have the same name')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        from ugatit_mm.user_study import collect, serve
    except ModuleNotFoundError as error:
        print(f"error: {error}: pip install 'ugatit_mm[study]'", file=sys.stderr)
        return 1
    try:
        if args.report:
            report(args.report, args.csv, args.seed)
        else:
            if args.run:
                args.dataset, args.sources, args.methods = methods_of(args.run, args.dataset)
            study = collect(
                *(args.sources, args.methods, args.dataset or 'study', args.question),
                *(args.seed, args.per_person),
            )
            print(f'{len(study.sources)} sources, each with {len(study.methods)} results')
            serve(study, args.db, args.host, args.port)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def report(databases: list[str], csv_file: str | None, seed: int) -> None:
    """Print Table 2, and write it as CSV."""
    from ugatit_mm.user_study import columns, csv_rows, markdown

    table = columns(databases, seed)
    print(markdown(table, seed))
    if csv_file:
        try:
            with open(csv_file, 'x', newline='', encoding='utf-8') as file:
                csv.writer(file).writerows(csv_rows(table))
        except FileExistsError as error:
            raise FileExistsError(f"'{csv_file}' exists: choose another name.") from error


if __name__ == '__main__':
    sys.exit(main())
