"""Plot the loss curves of one or several runs in one picture.

`python tools/analysis/plot_losses.py float32=work_dirs/a bfloat16=work_dirs/b --out losses.png`
"""

import argparse
import os
import sys

from ugatit_mm.visualization import plot_losses


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'runs', nargs='+', metavar='NAME=WORK_DIR', help="a run's name and its work dir"
    )
    parser.add_argument(
        '--out',
        type=os.path.expanduser,
        default='losses.png',
        help='picture to write, in the format of its suffix (%(default)s)',
    )
    args = parser.parse_args(argv)
    runs = {}
    for run in args.runs:
        name, sign, work_dir = run.partition('=')
        if not (name and sign and work_dir) or name in runs:
            parser.error(f'{run!r}: give each run its own name, NAME=WORK_DIR')
        runs[name] = work_dir
    try:
        plot_losses(runs, args.out)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == '__main__':
    sys.exit(main())
