"""The tool: its server in its own process, its page in headless Chromium, its report."""

import csv
import multiprocessing
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers import PATIENCE, load_tool
from study_helpers import METHODS, SOURCES, Client, write_study

from ugatit_mm.user_study.store import read_votes

QUESTION = 'Which is the best <b>anime</b> "picture" of this selfie?'
READY = '#pictures[aria-busy=false]'
# Chromium drops keys until the first frame of a page is drawn.
FRAMES = '() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))'


class Server:
    """``ugatit study`` in a child process."""

    def __init__(self, root: Path) -> None:
        self.words = [str(root / 'sources'), *(f'{name}={root / name}' for name in METHODS)]
        self.words += ['--dataset', 'selfie2anime', '--question', QUESTION, '--port', '0']
        self.database = root / 'study.sqlite'
        self.words += ['--db', str(self.database)]
        self.process = None
        self.printed = []

    def start(self) -> Client:
        main = load_tool('user_study').main
        reading, writing = os.pipe()

        def child() -> None:
            sys.stdout = sys.stderr = os.fdopen(writing, 'w', 1)
            os._exit(main(self.words))

        # A fork has the imports, which take longer than all the tests here.
        self.process = multiprocessing.get_context('fork').Process(target=child)
        self.process.start()
        os.close(writing)
        with open(reading) as lines:
            for line in lines:
                self.printed.append(line)
                if opened := re.match(r'Open http://127\.0\.0\.1:(\d+)/', line):
                    return Client(int(opened[1]))
        raise AssertionError(self.printed)

    def stop(self, number: int) -> int:
        """Send a signal; returns the exit code."""
        os.kill(self.process.pid, number)
        self.process.join(PATIENCE)
        return self.process.exitcode

    def votes(self) -> dict[str, int]:
        (votes,) = read_votes(self.database)
        return dict(zip(votes.methods, votes.counts.sum(0).tolist()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write_study(tmp_path)
    server = Server(tmp_path)
    yield server
    if server.process is not None and server.process.is_alive():
        server.stop(signal.SIGKILL)


# -- the server ----------------------------------------------------------------------------------


def test_votes_survive_a_kill_and_the_same_command_goes_on(server):
    client = server.start()
    person = client.begin('Ann')
    before = client.shown(person)
    for index in range(2):
        assert client.vote(person, index, 1)[1]['stored']
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert sum(server.votes().values()) == 2

    client = server.start()
    state = client.state(person)
    assert state['index'] == 2
    assert client.vote(person, 2, 3)[1]['stored']
    client.post(f'{person}/undo', {'question': 2})
    client.post(f'{person}/undo', {'question': 1})
    client.post(f'{person}/undo', {'question': 0})
    assert client.shown(person) == before  # the same orders as before
    assert server.stop(signal.SIGINT) == 0


def test_sigterm_ends_the_server(server):
    server.start()
    assert server.stop(signal.SIGTERM) == -signal.SIGTERM


# -- the page ------------------------------------------------------------------------------------


class Person:
    """A separate browser at the study's page."""

    def __init__(self, chromium, address: str) -> None:
        self.context = chromium.new_context(viewport={'width': 1000, 'height': 700})
        self.requests, self.errors = [], []
        self.context.on('request', lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.on('console', lambda message: self.errors.append(message.text))
        self.page.goto(address)

    def begin(self) -> str:
        """Press Begin; returns the path of the person."""
        self.page.fill('#name', 'Ann')
        self.page.click('#begin')
        self.page.wait_for_selector(READY)
        self.page.evaluate(FRAMES)
        return urlsplit(self.page.url).path

    def at(self) -> str:
        return self.page.inner_text('#progress')

    def wait_for(self, progress: str) -> None:
        self.page.get_by_text(progress, exact=True).wait_for()
        self.page.wait_for_selector(READY)
        self.page.evaluate(FRAMES)


@pytest.fixture
def visit(chromium, server):
    """Open the study in a fresh browser; what all pages asked for is checked at the end."""
    client = server.start()
    people = []

    def open_page(path: str = '/') -> Person:
        people.append(Person(chromium, f'http://{client.host}{path}'))
        return people[-1]

    open_page.client = client
    yield open_page
    for person in people:
        assert {urlsplit(url).netloc for url in person.requests} == {client.host}
        assert not any(word in url for url in person.requests for word in (*METHODS, *SOURCES))
        assert person.errors == []
        person.context.close()


@pytest.mark.slow
def test_clicks_keys_undo_and_the_end(visit, server):
    person = visit()
    page = person.page
    page.wait_for_selector('#welcome h1:not(:empty)')
    assert page.inner_text('#welcome h1') == QUESTION  # as text, not as markup
    path = person.begin()
    token = path.removeprefix('/p/')
    assert re.fullmatch(r'[\w-]{16}', token)
    assert person.at() == '1 of 4' and page.inner_text('#question h1') == QUESTION

    shown = [method for _, method in visit.client.shown(path)]
    page.get_by_role('button', name='Picture 2').click()
    person.wait_for('2 of 4')
    expected = dict.fromkeys(METHODS, 0)
    expected[shown[2]] += 1
    assert server.votes() == expected

    shown = [method for _, method in visit.client.shown(path)]
    page.keyboard.press('3')
    person.wait_for('3 of 4')
    assert server.votes() == expected | {shown[3]: expected[shown[3]] + 1}

    for key, progress in (('Backspace', '2 of 4'), ('ArrowLeft', '1 of 4')):
        page.keyboard.press(key)
        person.wait_for(progress)
    assert sum(server.votes().values()) == 0 and page.is_disabled('#back')
    page.keyboard.press('Backspace')  # nothing to take back, and the page stays

    for ignored in ('4', '0', 'Control+1', 'a'):  # three pictures are shown
        page.keyboard.press(ignored)
    page.wait_for_timeout(100)
    assert sum(server.votes().values()) == 0
    for index in range(4):
        assert person.at() == f'{index + 1} of 4'
        page.keyboard.press('1')
        if index < 3:
            person.wait_for(f'{index + 2} of 4')
    page.wait_for_selector('#thanks:visible')
    assert 'All 4 answers are stored' in page.inner_text('#thanks')
    assert sum(server.votes().values()) == 4

    page.wait_for_timeout(50)
    page.keyboard.press('1')  # no fifth vote
    page.click('#change')
    person.wait_for('4 of 4')
    assert sum(server.votes().values()) == 3


@pytest.mark.slow
def test_resume_after_reload_and_elsewhere_and_another_person(visit):
    first = visit()
    path = first.begin()
    first.page.keyboard.press('1')
    first.wait_for('2 of 4')
    first.page.reload()
    first.page.wait_for_selector(READY)
    assert first.at() == '2 of 4'

    second = visit(path)  # a fresh browser, by nothing but the link
    second.wait_for('2 of 4')
    second.page.keyboard.press('2')
    second.wait_for('3 of 4')

    first.page.keyboard.press('3')  # still shows question 2
    first.wait_for('3 of 4')
    assert 'answered already' in first.page.inner_text('#notice')

    second.page.goto(f'http://{visit.client.host}/')  # the cookie leads back
    second.page.click('#resume')
    second.wait_for('3 of 4')

    second.page.goto(f'http://{visit.client.host}/')
    other = second.begin()  # as another person, who sees other orders
    assert other != path and second.at() == '1 of 4'
    images = [f'/image/{question}/{slot}' for question in range(4) for slot in range(4)]
    sheets = [[visit.client.get(who + image)[2] for image in images] for who in (path, other)]
    assert sheets[0] != sheets[1] and sorted(sheets[0]) == sorted(sheets[1])


@pytest.mark.slow
def test_the_page_is_blind_large_and_labelled(visit):
    person = visit()
    path = person.begin()
    page = person.page
    html = page.content() + str(page.evaluate('[document.title, document.cookie, location.href]'))
    assert not any(word in html for word in (*METHODS, *SOURCES, 'selfie2anime', str(Path.home())))
    sources = page.eval_on_selector_all('#pictures img', 'all => all.map(i => i.src)')
    base = f'http://{visit.client.host}{path}'
    assert sources == [f'{base}/image/0/{slot}' for slot in range(4)]
    alts = page.eval_on_selector_all('#pictures img', 'all => all.map(i => i.alt)')
    assert alts == ['Source picture', 'Picture 1', 'Picture 2', 'Picture 3']

    def boxes() -> list[dict]:
        return [image.bounding_box() for image in page.query_selector_all('#pictures img')]

    for width, height, least in ((1000, 700, 230), (400, 800, 170), (320, 480, 130)):
        page.set_viewport_size({'width': width, 'height': height})
        page.wait_for_timeout(150)  # for the pictures to follow
        sides = {box[side] for box in boxes() for side in ('width', 'height')}
        assert len(sides) == 1 and min(sides) >= least, (width, sides)
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        if height >= 700:  # all without scrolling
            assert max(box['y'] + box['height'] for box in boxes()) < height


@pytest.mark.slow
def test_faults_never_cost_or_make_an_answer(visit, server):
    person = visit()
    page = person.page
    # A picture of the second question does not load: the first one's must not answer it.
    broken = ['/image/1/']
    person.context.route(
        lambda url: any(part in url for part in broken), lambda route: route.abort()
    )
    path = person.begin()
    page.keyboard.press('1')
    page.get_by_text('could not be loaded').wait_for()
    page.wait_for_timeout(400)
    page.keyboard.press('1')
    page.wait_for_timeout(100)
    assert visit.client.state(path)['index'] == 1
    broken[:] = []
    page.reload()
    person.wait_for('2 of 4')

    # The server cannot be reached, and then can.
    broken[:] = ['/vote']
    page.keyboard.press('1')
    page.get_by_text('does not answer').wait_for()
    assert person.at() == '2 of 4' and sum(server.votes().values()) == 1
    assert page.query_selector('.chosen') is None
    broken[:] = []
    page.keyboard.press('1')
    person.wait_for('3 of 4')
    assert page.is_hidden('#notice') and sum(server.votes().values()) == 2
    person.errors.clear()  # of the network, as wanted


# -- the command line ----------------------------------------------------------------------------


def test_report(server, tmp_path, capsys):
    client = server.start()
    for slot in (1, 2):
        person = client.begin()
        for index in range(4):
            client.vote(person, index, slot)
    votes = server.votes()  # while the server runs
    tool = load_tool('user_study')
    words = ['--report', str(server.database), '--csv', str(tmp_path / 'table.csv')]
    assert tool.main(words) == 0
    printed = capsys.readouterr().out
    assert f'selfie2anime: {QUESTION}' in printed
    for method in METHODS:
        assert f'| {method} | {100 * votes[method] / 8:.2f} [' in printed
    assert '| persons | 2 |' in printed and '| votes | 8 |' in printed
    with open(tmp_path / 'table.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row['method']: int(row['votes']) for row in rows} == votes

    assert tool.main(words) == 1  # never over a file that is there
    assert "table.csv' exists" in capsys.readouterr().err


def test_user_errors(server, tmp_path, capsys):
    tool = load_tool('user_study')
    (tmp_path / 'munit' / 'face1.png').unlink()
    assert tool.main(server.words) == 1
    assert "error: the method 'munit' lacks 1 of 4" in capsys.readouterr().err
    assert not server.database.exists()
    server.words = [word for word in server.words if not word.startswith('munit')]
    client = server.start()
    words = [*server.words, '--port', client.host.split(':')[1]]
    assert tool.main(words) == 1
    assert 'choose another --host or --port' in capsys.readouterr().err
    assert tool.main([*words, '--seed', '1']) == 1
    assert '(different: seed)' in capsys.readouterr().err
    assert tool.main(['--report', str(tmp_path / 'none.sqlite')]) == 1
    assert 'no database' in capsys.readouterr().err


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['sources', 'ours'],
        ['sources', '=folder'],
        ['sources', 'ours='],
        ['sources', 'ours=a', 'ours=b'],
        ['sources', 'ours=a', 'b=b', '--csv', 'x.csv'],
        ['sources', 'ours=a', 'b=b', '--report', 'x.sqlite'],
        ['sources', 'ours=a', 'b=b', '--port', '65536'],
    ],
)
def test_command_lines_that_cannot_be(words, capsys):
    with pytest.raises(SystemExit) as raised:
        load_tool('user_study').main(words)
    assert raised.value.code == 2
    assert 'error: ' in capsys.readouterr().err


def test_a_wider_address_is_warned_of(server):
    server.start()
    assert 'warning' not in ''.join(server.printed)
    server.stop(signal.SIGKILL)
    server.words += ['--host', '0.0.0.0']
    client = server.start()
    assert 'warning: anyone who reaches this machine' in ''.join(server.printed)
    assert client.get('/', Host='192.168.1.7')[0] == 200
    assert client.get('/', Host=f'{socket.gethostname()}:80')[0] == 200
    assert client.get('/', Host='evil.example')[0] == 400


def test_without_the_extra_packages(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, 'ugatit_mm.user_study.app')
    monkeypatch.delitem(sys.modules, 'ugatit_mm.user_study')
    monkeypatch.delitem(sys.modules, 'ugatit_mm.web.serving')
    monkeypatch.setitem(sys.modules, 'uvicorn', None)  # as if it were not installed
    assert load_tool('user_study').main(['--report', 'x.sqlite']) == 1
    assert "pip install 'ugatit_mm[study]'" in capsys.readouterr().err
