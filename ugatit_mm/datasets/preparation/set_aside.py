"""Move what :mod:`.checks` found aside, and back."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection
from pathlib import Path

from .checks import MOVED, Finding, Report

ASIDE = 'set_aside'
LOG = 'moves.csv'


def planned_moves(report: Report) -> list[tuple[str, str, Finding]]:
    """Where ``--fix`` puts what it moves: pairs of paths below the root, and why.

    A file stays where moving it would break a link that stays.
    """
    root = Path(report.root)
    moves, taken = [], set()
    for finding in report.of(MOVED):
        source = root / finding.file
        if finding.other and not source.is_symlink() and _same_path(source, root / finding.other):
            continue
        target = _free_name(root, f'{ASIDE}/{finding.kind}/{finding.file}', taken)
        taken.add(target)
        moves.append((finding.file, target, finding))
    return moves


def _same_path(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _free_name(root: Path, name: str, taken: Collection[str]) -> str:
    stem, suffix = os.path.splitext(name)
    number, free = 1, name
    while free in taken or os.path.lexists(root / free):
        number += 1
        free = f'{stem}~{number}{suffix}'
    return free


def move_aside(report: Report) -> list[tuple[str, str, Finding]]:
    """Make the moves of :func:`planned_moves`, to ``set_aside/KIND/SPLIT`` under the root.

    Nothing is deleted or overwritten. Each move is logged in ``set_aside/moves.csv`` before it is
    made; :func:`move_back` undoes them.
    """
    root = Path(report.root)
    moves = planned_moves(report)
    if not moves:
        return moves
    (root / ASIDE).mkdir(exist_ok=True)
    log = root / ASIDE / LOG
    is_new = not log.exists()
    with open(log, 'a', newline='', encoding='utf-8', errors='surrogateescape') as stream:
        writer = csv.writer(stream)
        if is_new:
            writer.writerow(['from', 'to', 'kind', 'reason'])
        for source, target, finding in moves:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            writer.writerow([source, target, finding.kind, finding.text])
            stream.flush()
            os.rename(root / source, root / target)
    return moves


def move_back(root: str | os.PathLike) -> list[tuple[str, str]]:
    """Undo the moves of :func:`move_aside`, the last first.

    Returns:
        Pairs of paths below the root, from and to.

    Raises:
        FileNotFoundError: There is no log of moves.
        FileExistsError: Another file has the place of one; those before it are back.
    """
    root = Path(root)
    log = root / ASIDE / LOG
    if not log.is_file():
        raise FileNotFoundError(f"'{log}' does not exist: nothing was moved aside here.")
    with open(log, newline='', encoding='utf-8', errors='surrogateescape') as stream:
        rows = list(csv.DictReader(stream))
    moves = []
    for row in reversed(rows):
        aside, home = root / row['to'], root / row['from']
        if not os.path.lexists(aside):
            continue  # moved back before
        if os.path.lexists(home):
            raise FileExistsError(f"'{home}' exists: rename it, so that '{aside}' can go back.")
        home.parent.mkdir(parents=True, exist_ok=True)
        os.rename(aside, home)
        moves.append((row['to'], row['from']))
    return moves
