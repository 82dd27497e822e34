"""The Selfie data set's attribute file, by which the authors chose their selfies."""

from __future__ import annotations

import os

from ..loading import IMAGE_SUFFIXES

SELFIE_ATTRIBUTES = (  # noqa: SIM905, a list takes 36 lines
    'partial_faces is_female baby child teenager youth middle_age senior white black asian '
    'oval_face round_face heart_face smiling mouth_open frowning wearing_glasses '
    'wearing_sunglasses wearing_lipstick tongue_out duck_face black_hair blond_hair brown_hair '
    'red_hair curly_hair straight_hair braid_hair showing_cellphone using_earphone using_mirror '
    'braces wearing_hat harsh_lighting dim_lighting'
).split()
"""Columns of the Selfie data set's ``selfie_dataset.txt`` after a name and a popularity score.

The file has no header. The order is the one that published programs reading the file agree on.
"""


def choose_by_attributes(
    path: str | os.PathLike, wanted: dict[str, int]
) -> tuple[set[str], set[str]]:
    """Read an attribute file like the Selfie data set's and choose pictures by it.

    A line has a name, a popularity score and 36 attributes, each -1, 0 or 1, separated by blanks.

    Args:
        path: The file.
        wanted: Attributes and the value that each must have.

    Returns:
        Names that have all of them, and all names of the file, without suffixes.

    Raises:
        ValueError: An attribute is unknown, or a line has another form.
        OSError: The file cannot be read.
    """
    unknown = [name for name in wanted if name not in SELFIE_ATTRIBUTES]
    if unknown:
        raise ValueError(f'unknown attribute {unknown[0]}; known: {" ".join(SELFIE_ATTRIBUTES)}')
    columns = 2 + len(SELFIE_ATTRIBUTES)
    chosen, known = set(), set()
    with open(path, encoding='utf-8') as stream:
        for number, line in enumerate(stream, 1):
            words = line.split()
            if not words:
                continue
            if len(words) != columns or not {'-1', '0', '1'}.issuperset(words[2:]):
                raise ValueError(
                    f"'{path}', line {number}: a name, a score and {len(SELFIE_ATTRIBUTES)} "
                    f'values of -1, 0 or 1 are expected, got {len(words)} columns: '
                    f'{line.strip()[:60]}'
                )
            name = bare_name(words[0])
            values = dict(zip(SELFIE_ATTRIBUTES, map(int, words[2:])))
            known.add(name)
            if all(values[attribute] == value for attribute, value in wanted.items()):
                chosen.add(name)
    return chosen, known


def bare_name(file: str) -> str:
    """The name of an image without folder and suffix, with any other dots."""
    stem, suffix = os.path.splitext(os.path.basename(file))
    return stem if suffix.lower() in IMAGE_SUFFIXES else stem + suffix
