"""Shares of preference with confidence intervals, as in the paper's Table 2."""

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
    """Wilson's interval, assuming that all votes are independent."""
    bootstrap: Interval | None
    """Percentiles over resampled persons; None for a single person."""


@dataclass(frozen=True)
class Column:
    """One data set."""

    dataset: str
    question: str
    persons: int
    votes: int
    shares: dict[str, Share]
    """By method; empty without votes."""


def columns(databases: Sequence[str | os.PathLike], seed: int = 0) -> list[Column]:
    """Return the shares of every data set in these databases.

    Several databases of one study, for example from several machines, are merged.

    Args:
        databases: Files of :class:`Store`.
        seed: Seed of the bootstrap.

    Raises:
        OSError: A file is missing or cannot be opened.
        ValueError: A file is not such a database, two hold different studies of one data set, or a
            person is in two.
    """
    by_dataset = defaultdict(list)
    for database in databases:
        for votes in read_votes(database):
            by_dataset[votes.dataset].append(votes)
    return [_column(_together(parts), seed) for parts in by_dataset.values()]


def shares(counts: np.ndarray, seed: int = 0) -> list[Share]:
    """Return each method's share.

    A person's votes are correlated, so Wilson's interval, for independent votes, is too narrow for
    how other people would choose; resampling persons with all their votes answers that. With few
    persons this interval is too narrow as well.

    Args:
        counts: int (persons, methods), at least one vote by each person.
        seed: Seed of the bootstrap.
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
    """Format a table of methods by data sets, with the paper's values where it has them.

    Args:
        table: Result of :func:`columns`.
        seed: Seed given to :func:`columns`, for the caption.
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
    """Return a heading, then a row per data set and method; shares in [0, 1], empty if unknown."""
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
    """Merge one study's votes from several databases."""
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
    """Format a Markdown table."""
    cells = [['', *heads], ['---'] * (len(heads) + 1), *rows]
    return ['| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in cells]
