"""Convert networks of the official UNIT program to ours, or back with --reverse."""

import sys
from functools import partial

import munit

main = partial(munit.main, kind='UNIT')

if __name__ == '__main__':
    sys.exit(main())
