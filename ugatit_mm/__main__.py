"""``python -m ugatit_mm``: the command ``ugatit``."""

import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())
