"""The two domains: ``A`` and ``B`` inside, names for people outside."""

from typing import Any

DOMAINS = ('A', 'B')


def other(domain: str) -> str:
    """Return the other one of the two domains."""
    return 'B' if domain == 'A' else 'A'


def domain_names(domains: dict[str, str] | None) -> dict[str, str]:
    """Return the name of each domain; its letter where none is given.

    Raises:
        ValueError: A key is no domain, the two cannot be told apart, or a name cannot be part of
            the name of a folder.
    """
    names = {'A': 'A', 'B': 'B', **(domains or {})}
    if set(names) != set(DOMAINS):
        raise ValueError(f'domains takes names for A and B, got {domains}')
    if names['A'] == names['B'] or names['A'] == 'B' or names['B'] == 'A':
        raise ValueError(f'domains must be told apart, got {domains}')
    for letter, name in names.items():
        if not _can_be_part_of_a_path(name):
            raise ValueError(
                f'domains.{letter}={str(name)[:100]!r} must be a name that can be part of a folder '
                'name, of at most 100 bytes'
            )
    return names


def _can_be_part_of_a_path(name: Any) -> bool:
    if not isinstance(name, str) or not name or set(name) & set('/\\\0') or name[0] == '.':
        return False
    try:
        return len(name.encode()) <= 100  # two of them and a word fit into a name of 255
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
