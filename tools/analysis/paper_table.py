"""Write the paper's Tables 1 and 3 with its results and ours; --own: Table 3 of your data."""

import argparse
import sys
from pathlib import Path

from ugatit_mm.evaluation.results import ResultsError
from ugatit_mm.evaluation.tables import Results, table_1, table_3, table_own


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Numbers come from `ugatit test CONFIG CKPT --kid`, which writes them to '
        'WORK_DIR/results_CKPT.json. Without results, all of ours are "not trained".',
    )
    parser.add_argument('results', nargs='*', help='results_*.json, or folders of them')
    parser.add_argument(
        '--own', action='store_true', help="only your own data, without the paper's numbers"
    )
    parser.add_argument(
        '--out-dir',
        help='also write table1.md, table1.csv, table3.md, table3.csv (own.md, own.csv) here',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        results = Results(args.results)
    except (FileNotFoundError, ResultsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    tables = {'own': table_own} if args.own else {'table1': table_1, 'table3': table_3}
    for name, make in tables.items():
        markdown, table = make(results)
        print(markdown, end='\n\n')
        if args.out_dir:
            folder = Path(args.out_dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{name}.md').write_text(markdown + '\n')
            (folder / f'{name}.csv').write_text(table)
    return 0


if __name__ == '__main__':
    sys.exit(main())
