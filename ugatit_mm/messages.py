"""Parts of error messages."""

from collections.abc import Iterable
from typing import Any

MAX_WORD = 200  # characters of a text from a file


def check_choice(field: str, value: Any, choices: Iterable) -> None:
    """Raise a ValueError that lists the known values of ``field`` if ``value`` is not one."""
    if value not in choices:
        raise ValueError(f'{field} must be one of {list(choices)}, got {value!r}')


def check_counts(**counts: int) -> None:
    """Raise a ValueError that names the first field that is below 1."""
    for field, value in counts.items():
        if value < 1:
            raise ValueError(f'{field} must be 1 or more, got {value}')


def first_line(error: BaseException) -> str:
    """The message of an error, as a line that is not too long and has no control characters."""
    text = str(error).strip().splitlines()
    return printable(text[0] if text else type(error).__name__, 300)


def printable(text: str, most: int = MAX_WORD) -> str:
    """Text from a file for a message: no control characters, not too long."""
    return ''.join(c if c.isprintable() else '?' for c in text[:most])


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    names = [printable(str(name)) for name in names]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
