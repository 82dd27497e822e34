"""Persons and votes in SQLite: a vote is on disk before the server responds."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from .questions import Study

APPLICATION_ID = 0x55474154  # 'UGAT', to recognise our databases
VERSION = 1

_SCHEMA = (
    """CREATE TABLE study (
        id INTEGER PRIMARY KEY,
        dataset TEXT NOT NULL UNIQUE,
        question TEXT NOT NULL,
        methods TEXT NOT NULL,  -- JSON
        pictures TEXT NOT NULL,  -- SHA-256 of all names and contents
        seed INTEGER NOT NULL,
        per_person INTEGER,  -- NULL: all
        opened TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    )""",
    """CREATE TABLE person (
        id INTEGER PRIMARY KEY,
        study INTEGER NOT NULL REFERENCES study,
        token TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,  -- may be empty
        began TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    )""",
    """CREATE TABLE vote (
        person INTEGER NOT NULL REFERENCES person,
        position INTEGER NOT NULL,  -- in the person's order, from 0
        source TEXT NOT NULL,
        method TEXT NOT NULL,
        slot INTEGER NOT NULL,  -- place of the chosen picture, from 1
        given TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (person, position),
        UNIQUE (person, source)
    )""",
    f'PRAGMA application_id = {APPLICATION_ID}',
    f'PRAGMA user_version = {VERSION}',
)


class Store:
    """One study's persons and votes; a file may hold the studies of several data sets.

    A person answers question 0, then 1 and so on, so the number of their votes is their next
    question.

    Args:
        path: The database; created if missing.
        study: Added under its data set's name if new.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not such a database, has another version, or holds another study of this
            data set.
    """

    def __init__(self, path: str | os.PathLike, study: Study) -> None:
        self._db = _connect(path, 'rwc')
        try:
            self._study = self._enter(study, path)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add_person(self, name: str = '') -> str:
        """Add a person; return the secret token that identifies them."""
        token = secrets.token_urlsafe(12)
        self._db.execute(
            'INSERT INTO person (study, token, name) VALUES (?, ?, ?)', (self._study, token, name)
        )
        return token

    def answered(self, token: str) -> int | None:
        """Return the number of a person's votes; None for an unknown token."""
        row = self._db.execute(
            'SELECT (SELECT count(*) FROM vote WHERE person = person.id) '
            'FROM person WHERE study = ? AND token = ?',
            (self._study, token),
        ).fetchone()
        return None if row is None else row[0]

    def vote(self, token: str, position: int, source: str, method: str, slot: int) -> bool:
        """Store the vote on the person's next question; False, and a no-op, for any other."""
        # One statement, so that another tab or server cannot interfere.
        done = self._db.execute(
            'INSERT INTO vote (person, position, source, method, slot) '
            'SELECT id, ?, ?, ?, ? FROM person WHERE study = ? AND token = ? '
            'AND (SELECT count(*) FROM vote WHERE person = person.id) = ?',
            (position, source, method, slot, self._study, token, position),
        )
        return done.rowcount == 1

    def undo(self, token: str, position: int) -> bool:
        """Undo the person's last vote; False, and a no-op, if it is not this one."""
        done = self._db.execute(
            'DELETE FROM vote WHERE position = ? '
            'AND person = (SELECT id FROM person WHERE study = ? AND token = ?) '
            'AND position = (SELECT max(position) FROM vote AS other '
            'WHERE other.person = vote.person)',
            (position, self._study, token),
        )
        return done.rowcount == 1

    def _enter(self, study: Study, path: str | os.PathLike) -> int:
        fields = {
            'question': study.question,
            'methods': json.dumps(study.methods),
            'pictures': study.digest,
            'seed': study.seed,
            'per_person': study.per_person,
        }
        columns = ', '.join(fields)
        with _transaction(self._db):
            row = self._db.execute(
                f'SELECT id, {columns} FROM study WHERE dataset = ?', (study.dataset,)
            ).fetchone()
            if row is None:
                done = self._db.execute(
                    f'INSERT INTO study (dataset, {columns}) VALUES (?, ?, ?, ?, ?, ?)',
                    (study.dataset, *fields.values()),
                )
                return done.lastrowid
        if other := [name for name, was in zip(fields, row[1:]) if was != fields[name]]:
            raise ValueError(
                f"'{path}' holds another study of the data set '{study.dataset}' (different: "
                f'{", ".join(other)}), and votes of two studies must not mix: go on with what it '
                'was begun with, or take another --db or --dataset.'
            )
        return row[0]


class Votes(NamedTuple):
    """A database's votes on one data set's study."""

    path: str
    dataset: str
    question: str
    methods: tuple[str, ...]
    pictures: str
    tokens: tuple[str, ...]
    """Tokens of the persons who voted."""
    counts: np.ndarray
    """int64 (persons, methods): how often each person chose each method."""


def read_votes(path: str | os.PathLike) -> list[Votes]:
    """Return all studies of a database, which may be in use.

    Raises:
        OSError: The file is missing or cannot be opened.
        ValueError: It is not such a database, or has another version.
    """
    db = _connect(path, 'rw')  # 'ro' cannot recover after a server that was killed
    try:
        studies = db.execute(
            'SELECT id, dataset, question, methods, pictures FROM study'
        ).fetchall()
        return [_votes(db, str(path), *study) for study in studies]
    finally:
        db.close()


def _votes(
    db: sqlite3.Connection,
    path: str,
    study: int,
    dataset: str,
    question: str,
    methods: str,
    pictures: str,
) -> Votes:
    methods = json.loads(methods)
    counts = defaultdict(lambda: np.zeros(len(methods), np.int64))
    for token, method in db.execute(
        'SELECT token, method FROM vote JOIN person ON person = person.id WHERE study = ? '
        'ORDER BY person.id',
        (study,),
    ):
        counts[token][methods.index(method)] += 1
    table = np.array(list(counts.values()), np.int64).reshape(-1, len(methods))
    return Votes(path, dataset, question, tuple(methods), pictures, tuple(counts), table)


def _connect(path: str | os.PathLike, mode: str) -> sqlite3.Connection:
    """Open one of our databases; with mode 'rwc', create it if missing."""
    path = Path(path)
    if mode == 'rw' and not path.is_file():
        raise FileNotFoundError(f"there is no database '{path}': check the path.")
    try:
        # Every statement is its own transaction, on disk when it returns. The server runs in one
        # thread, which may differ from the one that opened the file.
        db = sqlite3.connect(
            f'file:{quote(str(path.absolute()))}?mode={mode}',
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute('PRAGMA foreign_keys = ON')
            if mode == 'rwc':
                with _transaction(db):
                    if not db.execute('SELECT count(*) FROM sqlite_master').fetchone()[0]:
                        for statement in _SCHEMA:
                            db.execute(statement)
            found = [_pragma(db, name) for name in ('application_id', 'user_version')]
        except BaseException:
            db.close()
            raise
    except sqlite3.OperationalError as error:
        raise OSError(f"the database '{path}' cannot be opened ({error}).") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"'{path}' is not a database of a user study ({error}).") from error
    if found != [APPLICATION_ID, VERSION]:
        db.close()
        reason = f'version {found[1]}, not {VERSION}' if found[0] == APPLICATION_ID else 'foreign'
        raise ValueError(f"'{path}' is not a database of this user study ({reason}).")
    return db


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return db.execute(f'PRAGMA {name}').fetchone()[0]


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that excludes other processes."""
    db.execute('BEGIN IMMEDIATE')
    with db:
        yield
