"""Shares and intervals against closed forms and a case done by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ugatit_mm.evaluation.paper import TABLE_2
from ugatit_mm.user_study import Store, columns, csv_rows, markdown, table
from ugatit_mm.user_study.table import shares


def wilson(k: int, n: int) -> tuple[float, float]:
    """E. B. Wilson, 1927."""
    z, p = 1.959963984540054, k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def test_shares_and_wilson():
    counts = np.array([[3, 1, 0], [4, 0, 2]])
    found = shares(counts)
    assert [share.votes for share in found] == [7, 1, 2] and {share.of for share in found} == {10}
    for share in found:
        assert share.wilson == pytest.approx(wilson(share.votes, 10), abs=1e-12)
    # by hand: (0.7 + 0.1920729) / 1.3841459 = 0.6445, half width 0.2473
    assert found[0].wilson == pytest.approx((0.3968, 0.8922), abs=1e-4)


def test_bootstrap_of_two_persons_by_hand():
    # One always chooses the first, the other never, each four times: a draw of two persons gives
    # 0, 1/2 or 1 with probability 1/4, 1/2, 1/4, so the 2.5 and 97.5 % points are 0 and 1.
    first, second = shares(np.array([[4, 0], [0, 4]]))
    assert first.bootstrap == (0, 1) == second.bootstrap
    # Wilson's interval assumes independent votes and is too narrow.
    assert first.wilson == pytest.approx(wilson(4, 8)) and first.wilson[0] > 0.2


def test_bootstrap_of_persons_who_agree_is_a_point():
    for share, p in zip(shares(np.array([[3, 1]] * 5)), (0.75, 0.25)):
        assert share.bootstrap == (p, p)


def test_bootstrap_approaches_the_normal_interval():
    rng = np.random.default_rng(0)
    first = rng.binomial(10, 0.6, 200)
    share = shares(np.stack([first, 10 - first], 1))[0]
    p, error = first.mean() / 10, first.std() / 10 / math.sqrt(200)
    assert share.bootstrap == pytest.approx((p - 1.96 * error, p + 1.96 * error), abs=1.5e-3)


def test_bootstrap_weighs_persons_by_their_votes():
    # Person 2 gave one vote of 11: only draws without person 1 (1/4) reach share 0.
    first, _ = shares(np.array([[10, 0], [0, 1]]))
    assert first.votes / first.of == 10 / 11 and first.bootstrap == (0, 1)


def test_bootstrap_is_seeded():
    counts = np.random.default_rng(0).integers(1, 9, (12, 3))
    assert shares(counts, 1) == shares(counts, 1) != shares(counts, 2)


def test_intervals_cover_the_true_share(monkeypatch):
    """About 95 % of 100 simulated studies with persons of different taste must cover it."""
    monkeypatch.setattr(table, 'DRAWS', 1000)
    rng = np.random.default_rng(0)
    covered = {'wilson': 0, 'bootstrap': 0}
    for _ in range(100):
        taste = rng.beta(2, 2, 40)  # mean 1/2
        first = rng.binomial(10, taste)
        share = shares(np.stack([first, 10 - first], 1))[0]
        for kind in covered:
            low, high = getattr(share, kind)
            covered[kind] += low <= 0.5 <= high
    assert covered['bootstrap'] >= 89
    assert covered['wilson'] < covered['bootstrap'] - 5  # too narrow, as the docstring says


def test_a_single_person_has_no_bootstrap():
    assert [share.bootstrap for share in shares(np.array([[3, 1]]))] == [None, None]


# -- the table -----------------------------------------------------------------------------------


def answer(store: Store, choices: str) -> None:
    """A person's choices: o(urs), c(yclegan), m(unit)."""
    names = {'o': 'ours', 'c': 'cyclegan', 'm': 'munit'}
    person = store.add_person()
    for position, choice in enumerate(choices):
        store.vote(person, position, f'face{position}', names[choice], 1)


@pytest.fixture
def filled(study, database):
    store = Store(database, study)
    for choices in ('oooo', 'oocm', 'oo'):
        answer(store, choices)
    store.close()
    other = Store(database, replace(study, dataset='mine', methods=('munit', 'ours')))
    answer(other, 'mmo')
    other.close()
    Store(database, replace(study, dataset='later')).close()
    return database


def test_columns(filled):
    first, second, third = columns([filled])
    assert (first.dataset, first.persons, first.votes) == ('selfie2anime', 3, 10)
    assert {name: share.votes for name, share in first.shares.items()} == {
        'ours': 8,
        'cyclegan': 1,
        'munit': 1,
    }
    assert (second.dataset, second.persons, second.votes) == ('mine', 1, 3)
    assert (third.persons, third.votes, third.shares) == (0, 0, {})


def test_markdown(filled):
    text = markdown(columns([filled], 5), 5)
    lines = text.splitlines()
    assert lines[:3] == [f'{name}: Which is best?' for name in ('selfie2anime', 'mine', 'later')]
    assert 'seed 5' in lines[4] and '95% Wilson' in lines[4] and 'over persons' in lines[4]
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[6:13]]
    assert cells[0] == ['', 'selfie2anime', 'mine', 'later']
    assert [row[0] for row in cells[2:]] == ['ours', 'cyclegan', 'munit', 'persons', 'votes']
    low, high = wilson(8, 10)
    assert cells[2][1].startswith(f'80.00 [{100 * low:.1f}, {100 * high:.1f}] (')
    low, high = wilson(1, 3)
    assert cells[2][2] == f'33.33 [{100 * low:.1f}, {100 * high:.1f}]'  # one person
    assert cells[3][2] == cells[3][3] == '–'  # noqa: RUF001
    assert cells[5] == ['persons', '3', '1', '0'] and cells[6] == ['votes', '10', '3', '0']
    assert '| U-GAT-IT | 73.15 |' in text and '135 persons' in text
    assert 'The paper' not in markdown(columns([filled])[1:])


def test_the_papers_shares_sum_to_all():
    for name in TABLE_2['U-GAT-IT']:
        assert sum(row[name] for row in TABLE_2.values()) == pytest.approx(100, abs=0.02), name


def test_csv(filled):
    head, *rows = csv_rows(columns([filled]))
    assert head[:6] == ['dataset', 'method', 'persons', 'votes', 'of', 'share'] and len(rows) == 5
    assert rows[0][:6] == ['selfie2anime', 'ours', 3, 8, 10, 0.8]
    assert rows[0][6:8] == pytest.approx(wilson(8, 10))
    assert rows[0][8] < 0.8 < rows[0][9]
    assert rows[3][:2] == ['mine', 'munit'] and rows[3][8:] == ['', '']
    assert {len(row) for row in (head, *rows)} == {10}


def test_databases_of_one_study_are_taken_together(filled, study, tmp_path):
    store = Store(tmp_path / 'two.sqlite', replace(study, methods=('munit', 'cyclegan', 'ours')))
    answer(store, 'mmco')
    store.close()
    first = columns([filled, tmp_path / 'two.sqlite'])[0]
    assert (first.persons, first.votes) == (4, 14)
    assert {name: share.votes for name, share in first.shares.items()} == {
        'ours': 9,
        'cyclegan': 2,
        'munit': 3,
    }


def test_a_copy_and_another_study_are_refused(filled, study, tmp_path):
    copy = tmp_path / 'copy.sqlite'
    copy.write_bytes(filled.read_bytes())
    with pytest.raises(ValueError, match=r'copy\.sqlite. hold the same persons'):
        columns([filled, copy])
    Store(tmp_path / 'other.sqlite', replace(study, question='Else?')).close()
    with pytest.raises(ValueError, match=r'hold different studies of .selfie2anime'):
        columns([filled, tmp_path / 'other.sqlite'])
