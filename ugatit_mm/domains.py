"""The two domains: ``A`` and ``B`` in the code, names for users."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

DOMAINS = ('A', 'B')
SEPARATORS = '/\\:*?"<>|'  # not in names on Windows, either


def other(domain: str) -> str:
    """Return the other one of the two domains."""
    return 'B' if domain == 'A' else 'A'


def direction(names: Mapping[str, str], target: str) -> str:
    """Return the name of the direction into a domain, given by its letter: ``'selfie2anime'``."""
    return f'{names[other(target)]}2{names[target]}'


def letter_of(names: Mapping[str, str], domain: str) -> str | None:
    """Return the letter of a domain, given by letter or name; ``None`` if it is neither.

    Case does not count: :func:`domain_names` refuses names that differ only in it.
    """
    asked = _on_a_disk(domain)
    return next((x for x, name in names.items() if asked in map(_on_a_disk, (x, name))), None)


def names_in(value: str | Sequence[str]) -> Sequence[str]:
    """Return the names of a config's field that takes a list, or a string with commas."""
    return value.split(',') if isinstance(value, str) else value


def domain_names(domains: dict[str, str] | None) -> dict[str, str]:
    """Return the name of each domain; its letter where none is given.

    Raises:
        ValueError: A key is not a domain, the two names are the same, or a name cannot be part of
            the name of a folder.
    """
    names = {'A': 'A', 'B': 'B', **(domains or {})}
    if set(names) != set(DOMAINS):
        raise ValueError(f'domains takes names for A and B, got {domains}')
    for letter, name in names.items():
        if not _can_be_part_of_a_path(name):
            raise ValueError(
                f'domains.{letter}={str(name)[:100]!r} must be a name that can be part of a folder '
                'name on every system: at most 100 bytes, no control characters, none of '
                f'{SEPARATORS}, no "." or space at its ends'
            )
    one, two = (_on_a_disk(name) for name in names.values())
    if one == two or one == 'b' or two == 'a':
        raise ValueError(
            f'domains must have different names, got {dict(names)} (case does not count, as on '
            'some systems both would be one folder)'
        )
    return names


def _on_a_disk(name: str) -> str:
    """A name without the differences that some file systems ignore."""
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


def _can_be_part_of_a_path(name: Any) -> bool:
    if not isinstance(name, str) or not name or name != name.strip().strip('.'):
        return False
    if set(name) & set(SEPARATORS) or any(unicodedata.category(c) == 'Cc' for c in name):
        return False
    try:
        return len(name.encode()) <= 100  # two of them and a word fit into a name of 255
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
