"""The server, through HTTP as any client uses it."""

import json
import sqlite3
import threading
from pathlib import Path

from study_helpers import METHODS, SOURCES

from ugatit_mm.user_study.store import read_votes

# -- answering -----------------------------------------------------------------------------------


def test_a_person_sees_every_source_once_and_each_choice_is_stored(client, study, database):
    person = client.begin('Ann')
    token = person.removeprefix('/p/')
    chosen = []
    for index in range(4):
        state = client.state(person)
        assert (state['index'], state['total'], len(state['pictures'])) == (index, 4, 4)
        assert state['question'] == 'Which is best?'
        (source, none), *results = client.shown(person)
        assert none is None and {name for name, _ in results} == {source}
        assert sorted(method for _, method in results) == sorted(METHODS)
        assert [method for _, method in results] == study.slots(token, source)
        slot = 1 + index % 3
        status, following = client.vote(person, index, slot)
        assert (status, following['stored'], following['index']) == (200, True, index + 1)
        assert state['next'] == following['pictures']
        chosen.append((source, results[slot - 1][1]))
        (votes,) = read_votes(database)  # at once
        assert votes.counts.sum() == index + 1
    assert sorted(source for source, _ in chosen) == sorted(SOURCES)
    counts = [sum(method == name for _, method in chosen) for name in METHODS]
    assert votes.counts.tolist() == [counts]
    assert client.state(person)['pictures'] == []


def test_a_second_vote_changes_nothing(client, database):
    person = client.begin()
    _, first = client.vote(person, 0, 1)
    before = read_votes(database)[0].counts.tolist()
    status, second = client.vote(person, 0, 2)
    assert status == 200 and second == first | {'stored': False}
    assert read_votes(database)[0].counts.tolist() == before


def test_undo(client, database):
    person = client.begin()
    for index in range(4):
        client.vote(person, index, 1)
    status, state = client.post(f'{person}/undo', {'question': 3})
    assert (status, state['stored'], state['index']) == (200, True, 3)
    for question in (3, 0, -1, 2.0, '2', None, 10**30):  # not, or no longer, the last
        status, state = client.post(f'{person}/undo', {'question': question})
        assert (status, state['stored'], state['index']) == (200, False, 3)
    assert read_votes(database)[0].counts.sum() == 3


def test_votes_that_cannot_be(client, database):
    person = client.begin()
    bodies = [
        *({'question': q, 'slot': 1} for q in (1, 4, -1, 10**30, 0.0, '0', True, None, [0])),
        *({'question': 0, 'slot': s} for s in (0, 4, -1, 1.0, '1', True, None)),
        {'question': 0},
        {},
    ]
    refused = [client.post(f'{person}/vote', body)[0] for body in bodies]
    assert refused == [400] * len(bodies)
    assert read_votes(database)[0].counts.sum() == 0


def test_no_vote_after_the_end(client):
    person = client.begin()
    for index in range(4):
        client.vote(person, index, 1)
    assert client.vote(person, 4, 1)[0] == 400


def test_several_persons_at_once(client, study, database):
    """Each person in two tabs that both answer everything."""
    people = [client.begin() for _ in range(4)]
    stored = []

    def answer(person):
        for index in range(4):
            while True:  # a tab that is ahead gets 400 until the other catches up
                status, state = client.vote(person, index, 2)
                if status == 200:
                    break
            stored.append(state['stored'])

    threads = [threading.Thread(target=answer, args=(person,)) for person in people * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 32 and sum(stored) == 16
    (votes,) = read_votes(database)
    assert votes.counts.sum(1).tolist() == [4] * 4
    expected = {
        person.removeprefix('/p/'): [
            sum(study.slots(person.removeprefix('/p/'), source)[1] == method for source in SOURCES)
            for method in METHODS
        ]
        for person in people
    }
    assert dict(zip(votes.tokens, votes.counts.tolist())) == expected


def test_persons_differ_in_their_orders(client):
    people = [client.begin() for _ in range(8)]
    assert len({str(client.shown(person)) for person in people}) > 1


def test_the_first_page_knows_this_browsers_person(client):
    assert json.loads(client.get('/study')[2]) == {
        'question': 'Which is best?',
        'total': 4,
        'methods': 3,
        'resume': None,
    }
    person = client.begin()
    _, headers, _ = client.get(person)
    cookie = headers['Set-Cookie']
    assert 'HttpOnly' in cookie and 'SameSite=strict' in cookie
    _, _, body = client.get('/study', Cookie=cookie.split(';')[0])
    assert json.loads(body)['resume'] == person
    _, _, body = client.get('/study', Cookie=cookie.split('=')[0] + '=someone')
    assert json.loads(body)['resume'] is None


def test_a_name_is_stored_and_nothing_but_a_name(client, database):
    for name in (None, 5, 'x' * 101, 'two\nlines'):
        assert client.post('/start', {'name': name})[0] == 400
    client.begin('  Zoë <b> ')
    with sqlite3.connect(database) as db:
        assert db.execute('SELECT name FROM person').fetchall() == [('Zoë <b>',)]


# -- what must not get out or in -----------------------------------------------------------------


def test_no_method_and_no_file_is_named(client, study, tmp_path):
    person = client.begin()
    answers = [client.get(path) for path in ('/', '/page.js', '/page.css', '/study', person)]
    answers.append(client.get(f'{person}/state'))
    answers += [client.get(path) for path in client.state(person)['pictures']]
    answers.append(client.get(f'{person}/image/9/9'))
    secrets = [*METHODS, *SOURCES, str(tmp_path), study.dataset]
    for _, headers, body in answers:
        text = str(headers).encode() + body
        assert [secret for secret in secrets if secret.encode() in text] == []


def test_the_headers(client):
    person = client.begin()
    for path in ('/', person, f'{person}/state', f'{person}/image/0/0', '/nothing'):
        _, headers, _ = client.get(path)
        assert headers['Cache-Control'] == 'no-store'
        assert headers['Content-Security-Policy'].startswith("default-src 'self';")
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert headers['Cross-Origin-Resource-Policy'] == 'same-origin'
    types = [client.get(f'{person}/image/0/{slot}')[1]['Content-Type'] for slot in (0, 1)]
    assert types == ['image/jpeg', 'image/png']


PATHS = (
    '/../../etc/passwd',
    '//etc/passwd',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/page/page.html',
    '/app.py',
    '/study.sqlite',
    '{person}/image/../../../study.sqlite',
    '{person}/image/%2e%2e/%2e%2e',
    '{person}/image/..%2f..%2f/etc',
    '{person}/image/0/../0/0',
    '{person}/image/0/%00',
    '{person}/image/0/0%00.png',
    '{person}/image/0//etc/passwd',
    '{person}/image/0/%2fetc%2fpasswd',
    '{person}/image/-1/0',
    '{person}/image/4/0',
    '{person}/image/0/4',
    '{person}/image/0/-1',
    '{person}/image/0/1.0',
    '{person}/image/0/%D9%A1',
    '{person}/image/0/' + '9' * 5000,
    '{person}/image/0/face0.png',
    '/p/nobody/image/0/0',
    '/p/nobody/state',
    '/p/nobody',
    '/p/%27%20OR%201=1--/state',
    '/p/../page.js',
)


def test_nothing_else_is_served(client):
    person = client.begin()
    answers = {path: client.get(path.format(person=person)) for path in PATHS}
    assert {path: status for path, (status, _, _) in answers.items()} == dict.fromkeys(PATHS, 404)
    assert max(len(body) for _, _, body in answers.values()) < 100


def test_a_changed_file_is_refused(client, study, tmp_path, capfd):
    person = client.begin()
    source = study.questions(person.removeprefix('/p/'))[0]
    path = study.sources[source].path
    path.unlink()
    path.symlink_to(Path(__file__))
    status, _, body = client.get(f'{person}/image/0/0')
    assert status == 500 and source.encode() not in body
    assert f"{path.name}' has changed" in capfd.readouterr().err


def test_other_names_are_refused(client):
    wanted = {
        '127.0.0.1:1': 200,
        'localhost': 200,
        'LOCALHOST:8000': 200,
        '192.168.1.7:8000': 200,
        '[::1]:8000': 200,
        'evil.example': 400,
        'localhost.evil.example:8000': 400,
        '127.0.0.1.evil.example': 400,
        'evil.example@': 400,
        '[': 400,
        '': 400,
    }
    assert {host: client.get('/study', Host=host)[0] for host in wanted} == wanted


def test_other_sites_cannot_vote(client, database):
    person = client.begin()
    origins = ('http://evil.example', 'null', '', 'http://127.0.0.1:1', 'http://localhost', 'x://[')
    assert [client.vote(person, 0, 1, Origin=origin)[0] for origin in origins] == [403] * 6
    body = json.dumps({'question': 0, 'slot': 1}).encode()
    assert client.request('POST', f'{person}/vote', body, Content_Type='application/json')[0] == 403
    assert read_votes(database)[0].counts.sum() == 0


def test_bodies_that_are_refused(client):
    person = client.begin()
    for body, kind, wanted in (
        (b'{"question": 0, "slot": 1}', 'text/plain', 415),
        (b'question=0&slot=1', 'application/x-www-form-urlencoded', 415),
        (b'', 'application/json', 400),
        (b'[]', 'application/json', 400),
        (b'{"question": 0', 'application/json', 400),
        (b'\xff', 'application/json', 400),
        (b'[' * 4000, 'application/json', 400),
        (b'{"question": ' + b'1' * 4000 + b'}', 'application/json', 400),
        (b' ' * 5000 + b'{"question": 0, "slot": 1}', 'application/json', 413),
    ):
        headers = {'Origin': f'http://{client.host}', 'Content_Type': kind}
        assert client.request('POST', f'{person}/vote', body, **headers)[0] == wanted, body[:20]
    assert client.state(person)['index'] == 0


def test_a_vote_is_not_a_get(client):
    person = client.begin()
    assert client.get(f'{person}/vote')[0] == 405
    assert client.get('/start')[0] == 405
