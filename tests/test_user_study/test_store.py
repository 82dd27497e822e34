"""Persons and votes on disk."""

import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest

from ugatit_mm.user_study import Store
from ugatit_mm.user_study.store import read_votes


@pytest.fixture
def store(study, database):
    store = Store(database, study)
    yield store
    store.close()


def rows(database, query):
    with sqlite3.connect(database) as db:
        return db.execute(query).fetchall()


def test_votes_come_in_order_and_once(store, database):
    ann = store.add_person('Ann')
    assert store.answered(ann) == 0
    assert store.vote(ann, 0, 'face2', 'ours', 3)
    assert not store.vote(ann, 0, 'face2', 'munit', 1)  # again
    assert not store.vote(ann, 2, 'face1', 'munit', 1)  # too early
    assert store.vote(ann, 1, 'face0', 'munit', 2)
    assert store.answered(ann) == 2
    assert rows(database, 'SELECT position, source, method, slot FROM vote') == [
        (0, 'face2', 'ours', 3),
        (1, 'face0', 'munit', 2),
    ]


def test_only_the_last_vote_is_taken_back(store):
    ann, bob = store.add_person(), store.add_person()
    for person in (ann, bob):
        for position, source in enumerate(('face2', 'face1')):
            store.vote(person, position, source, 'ours', 1)
    assert not store.undo(ann, 0)
    assert store.undo(ann, 1)
    assert not store.undo(ann, 1)
    assert (store.answered(ann), store.answered(bob)) == (1, 2)
    assert store.vote(ann, 1, 'face1', 'munit', 2)


def test_nobody_has_an_unknown_token(store):
    assert store.answered('nobody') is None
    assert not store.vote('nobody', 0, 'face0', 'ours', 1)
    assert not store.undo('nobody', 0)


def test_reopening_goes_on(store, study, database):
    ann = store.add_person('Ann')
    store.vote(ann, 0, 'face2', 'ours', 1)
    store.close()
    again = Store(database, study)
    assert again.answered(ann) == 1
    again.close()
    assert rows(database, 'SELECT count(*) FROM study') == [(1,)]


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('question', 'Which is worst?'),
        ('methods', ('cyclegan', 'ours', 'munit')),
        ('seed', 1),
        ('per_person', 2),
    ],
)
def test_another_study_of_the_data_set_is_refused(store, study, database, field, value):
    with pytest.raises(ValueError, match=rf"'selfie2anime' \(different: {field}\)"):
        Store(database, replace(study, **{field: value}))


def test_other_pictures_are_refused(store, study, database):
    fewer = dict(list(study.sources.items())[:3])
    with pytest.raises(ValueError, match=r'\(different: pictures\)'):
        Store(database, replace(study, sources=fewer))


def test_several_data_sets_in_one_file(store, study, database):
    other = Store(database, replace(study, dataset='horse2zebra', question='And here?'))
    ann, bob = store.add_person(), other.add_person()
    assert other.answered(ann) is None and store.answered(bob) is None
    store.vote(ann, 0, 'face0', 'munit', 1)
    other.vote(bob, 0, 'face0', 'ours', 1)
    other.vote(bob, 1, 'face1', 'ours', 2)
    first, second = read_votes(database)
    assert (first.dataset, second.dataset) == ('selfie2anime', 'horse2zebra')
    assert (first.question, second.question) == ('Which is best?', 'And here?')
    assert first.counts.tolist() == [[0, 0, 1]] and second.counts.tolist() == [[2, 0, 0]]
    assert first.tokens == (ann,) and second.tokens == (bob,)
    other.close()


def test_who_gave_no_vote_does_not_count(store, database):
    store.add_person()
    (votes,) = read_votes(database)
    assert votes.counts.shape == (0, 3) and votes.counts.dtype == np.int64


def test_many_at_once(store, study, database):
    """Eight connections, like eight servers on one file: nothing is lost or duplicated."""
    people = [store.add_person(str(i)) for i in range(4)]
    stored = []

    def answer(person):
        mine = Store(database, study)
        stored.extend(
            mine.vote(person, position, source, 'ours', 1)
            for position, source in enumerate(study.questions(person))
        )
        mine.close()

    threads = [threading.Thread(target=answer, args=(person,)) for person in people * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 32 and sum(stored) == 16
    assert read_votes(database)[0].counts.tolist() == [[4, 0, 0]] * 4


# -- files that are not ours ---------------------------------------------------------------------


def test_a_text_file_is_refused(study, database):
    database.write_text('these are my notes, and they are long enough to be no database' * 20)
    before = database.read_bytes()
    with pytest.raises(ValueError, match=r'study\.sqlite. is not a database'):
        Store(database, study)
    assert database.read_bytes() == before


def test_a_foreign_database_is_refused(study, database):
    with sqlite3.connect(database) as db:
        db.execute('CREATE TABLE mine (x)')
    before = database.read_bytes()
    with pytest.raises(ValueError, match='foreign'):
        Store(database, study)
    assert database.read_bytes() == before


def test_another_version_is_refused(store, study, database):
    with sqlite3.connect(database) as db:
        db.execute('PRAGMA user_version = 2')
    with pytest.raises(ValueError, match='version 2, not 1'):
        Store(database, study)


def test_files_that_cannot_be_opened(study, tmp_path):
    with pytest.raises(OSError, match=r'cannot be opened'):
        Store(tmp_path / 'nowhere' / 'study.sqlite', study)
    with pytest.raises(FileNotFoundError, match=r'no database'):
        read_votes(tmp_path / 'study.sqlite')
    assert not (tmp_path / 'study.sqlite').exists()


def test_a_name_with_special_characters(study, tmp_path):
    path = tmp_path / 'a?b#c %41.sqlite'
    Store(path, study).close()
    assert path.is_file() and read_votes(path)[0].dataset == 'selfie2anime'
