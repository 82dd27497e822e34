"""Shares of preference with confidence intervals, as the paper's Table 2."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import binomtest

from ..evaluation.paper import TABLE_2, TABLE_2_PERSONS
from .store import Votes, read_votes

CONFIDENCE = 0.95
DRAWS = 10_000

Interval = tuple[float, float]


@dataclass(frozen=True)
class Share:
    """A method's share of a data set's votes, in [0, 1]."""

    votes: int
    of: int
    wilson: Interval
    """Wilson's interval, as if every vote were independent."""
    bootstrap: Interval | None
    """Percentiles over resampled persons; None for a single one."""


@dataclass(frozen=True)
class Column:
    """One data set."""

    dataset: str
    question: str
    persons: int
    votes: int
    shares: dict[str, Share]
    """By method; empty while there is no vote."""


def columns(databases: Sequence[str | os.PathLike], seed: int = 0) -> list[Column]:
    """The shares of every data set in these databases.

    Several databases of one study, as from several machines, are taken together.

    Args:
        databases: Files of :class:`Store`.
        seed: Of the bootstrap.

    Raises:
        OSError: A file is missing or cannot be opened.
        ValueError: A file is something else, two hold different studies of one data set, or a
            person is in two.
    """
    by_dataset = defaultdict(list)
    for database in databases:
        for votes in read_votes(database):
            by_dataset[votes.dataset].append(votes)
    return [_column(_together(parts), seed) for parts in by_dataset.values()]


def shares(counts: np.ndarray, seed: int = 0) -> list[Share]:
    """Share of each method.

    A person's votes resemble each other, so Wilson's interval, for independent votes, is too
    narrow for the question how other people would choose; resampling persons with all their votes
    answers that one. Few persons make it too narrow as well.

    Args:
        counts: int (persons, methods), at least one vote by each person.
        seed: Of the bootstrap.
    """
    totals = counts.sum(0)
    of = int(totals.sum())
    bootstrap = [None] * len(totals)
    if len(counts) > 1:
        rng = np.random.default_rng(seed)
        n = len(counts)
        weights = rng.multinomial(n, np.full(n, 1 / n), DRAWS)  # (draws, persons)
        drawn = weights @ counts  # (draws, methods)
        tail = (1 - CONFIDENCE) / 2
        ends = np.quantile(drawn / drawn.sum(1, keepdims=True), (tail, 1 - tail), axis=0)
        bootstrap = [(float(low), float(high)) for low, high in ends.T]
    return [
        Share(int(votes), of, _wilson(int(votes), of), interval)
        for votes, interval in zip(totals, bootstrap)
    ]


def markdown(table: Sequence[Column], seed: int = 0) -> str:
    """The table with methods in rows and data sets in columns, and the paper's where it has them.

    Args:
        table: What :func:`columns` gave.
        seed: That of :func:`columns`, for the caption.
    """
    lines = [f'{column.dataset}: {column.question}' for column in table]
    lines += [
        '',
        f'Share of preference in %, [{CONFIDENCE:.0%} Wilson interval, votes as if independent], '
        f'({CONFIDENCE:.0%} bootstrap interval over persons, {DRAWS} draws, seed {seed})',
        '',
    ]
    methods = list(dict.fromkeys(m for column in table for m in column.shares))
    rows = [
        *([method, *(_cell(column.shares.get(method)) for column in table)] for method in methods),
        ['persons', *(str(column.persons) for column in table)],
        ['votes', *(str(column.votes) for column in table)],
    ]
    lines += _table([column.dataset for column in table], rows)
    in_paper = {dataset for shares in TABLE_2.values() for dataset in shares}
    if known := [column.dataset for column in table if column.dataset in in_paper]:
        lines += ['', f'The paper ({TABLE_2_PERSONS} persons, no intervals given)', '']
        rows = [
            [method, *(f'{paper[name]:.2f}' for name in known)] for method, paper in TABLE_2.items()
        ]
        lines += _table(known, rows)
    return '\n'.join(lines)


def csv_rows(table: Sequence[Column]) -> list[list]:
    """A heading, then a row for each data set and method; shares in [0, 1], empty where unknown."""
    ends = [f'{kind}_{end}' for kind in ('wilson', 'bootstrap') for end in ('low', 'high')]
    return [
        ['dataset', 'method', 'persons', 'votes', 'of', 'share', *ends],
        *(
            [column.dataset, method, column.persons, share.votes, share.of, share.votes / share.of]
            + [*share.wilson, *(share.bootstrap or ('', ''))]
            for column in table
            for method, share in column.shares.items()
        ),
    ]


def _together(parts: list[Votes]) -> Votes:
    """One study's votes from several databases."""
    first = parts[0]
    for a, b in combinations(parts, 2):
        same = (a.question, a.pictures, set(a.methods)) == (b.question, b.pictures, set(b.methods))
        if not same:
            raise ValueError(
                f"'{a.path}' and '{b.path}' hold different studies of '{first.dataset}' (question, "
                'methods or pictures): report them one by one.'
            )
        if set(a.tokens) & set(b.tokens):
            raise ValueError(
                f"'{a.path}' and '{b.path}' hold the same persons, so one is a copy of the other: "
                'give one of them.'
            )
    counts = [part.counts[:, [part.methods.index(m) for m in first.methods]] for part in parts]
    tokens = tuple(token for part in parts for token in part.tokens)
    return first._replace(tokens=tokens, counts=np.concatenate(counts))


def _column(votes: Votes, seed: int) -> Column:
    of = int(votes.counts.sum())
    return Column(
        votes.dataset,
        votes.question,
        len(votes.counts),
        of,
        dict(zip(votes.methods, shares(votes.counts, seed))) if of else {},
    )


def _wilson(votes: int, of: int) -> Interval:
    interval = binomtest(votes, of).proportion_ci(CONFIDENCE, method='wilson')
    return float(interval.low), float(interval.high)


def _cell(share: Share | None) -> str:
    if share is None:
        return '–'  # noqa: RUF001
    bootstrap = '' if share.bootstrap is None else f' ({_percent(share.bootstrap)})'
    return f'{100 * share.votes / share.of:.2f} [{_percent(share.wilson)}]{bootstrap}'


def _percent(interval: Interval) -> str:
    return ', '.join(f'{100 * end:.1f}' for end in interval)


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    cells = [['', *heads], ['---'] * (len(heads) + 1), *rows]
    return ['| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in cells]
