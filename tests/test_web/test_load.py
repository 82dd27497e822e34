"""Fifty clients at once, good, slow, broken and hostile ones mixed.

``UGATIT_LOAD_SECONDS=60 pytest -s tests/test_web/test_load.py`` is the long form, with numbers.
"""

import base64
import io
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from helpers import PATIENCE
from PIL import Image

from ugatit_mm.apis.inferencer import UGATITInferencer
from ugatit_mm.web.app import build_app
from ugatit_mm.web.limits import Limits
from ugatit_mm.web.serving import make_server

CLIENTS = 50
SECONDS = float(os.environ.get('UGATIT_LOAD_SECONDS', 3))
LIMITS = Limits(upload=300_000, pixels=1_000_000, side=96, queue=8, seconds=2)
MOST = 96  # MiB that the server may grow by: queued uploads, a decoded picture, the network
CLOSED = 0  # instead of a status: the connection was closed without an answer

# -- the server, in its own process -------------------------------------------------------------


class Far:
    """The page in a fork of this process, which cannot write a byte to any file."""

    def __init__(self, inferencer: UGATITInferencer, folder: Path) -> None:
        self.folder = folder
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.host = f'127.0.0.1:{self.port}'
        down, self.down = os.pipe()
        self.up, up = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(self.down)
                self._serve(inferencer, down, up)
            finally:
                os._exit(0)
        os.close(down)
        os.close(up)
        self.listener.close()

    def _serve(self, inferencer: UGATITInferencer, down: int, up: int) -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.chdir(self.folder)
        os.environ['TMPDIR'] = os.environ['HOME'] = str(self.folder)
        sys.stdout = sys.stderr = open(os.devnull, 'w')  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        app = build_app(inferencer, limits=LIMITS)
        pages = next(r for r in app.routes if r.path == '/translate').endpoint.__self__
        server = make_server(app)
        most = Counter(inside=0, held=0)

        def watch() -> None:
            while not server.should_exit:
                most['inside'] = max(most['inside'], pages.inside)
                most['held'] = max(most['held'], pages.held)
                time.sleep(0.001)

        def until_asked() -> None:
            os.read(down, 1)
            left = {'inside': pages.inside, 'held': pages.held, 'locked': pages.free.locked()}
            os.write(up, json.dumps({'most': most, 'left': left}).encode())
            server.should_exit = True

        for task in (watch, until_asked):
            threading.Thread(target=task, daemon=True).start()
        server.run(sockets=[self.listener])

    def stop(self) -> dict:
        """End it, and return what its queue did; fails if it has died."""
        alive = os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        said = {}
        if alive:
            os.write(self.down, b'.')
            said = json.loads(os.read(self.up, 1 << 16))
            end = time.monotonic() + PATIENCE
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > end:
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    break
                time.sleep(0.02)
        os.close(self.down)
        os.close(self.up)
        assert alive, 'the server died'
        return said

    def memory(self, name: str) -> float:
        """MiB; ``'VmRSS'`` now, ``'VmHWM'`` at most since :meth:`begin`."""
        lines = Path(f'/proc/{self.pid}/status').read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f'{name}:'))

    def begin(self) -> None:
        Path(f'/proc/{self.pid}/clear_refs').write_text('5')

    def files(self) -> int:
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def head(self, length: int | str, kind: str = 'image/png', path: str = '/translate') -> bytes:
        return (
            f'POST {path} HTTP/1.1\r\nHost: {self.host}\r\nOrigin: http://{self.host}\r\n'
            f'Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n'
        ).encode()

    def connect(self) -> socket.socket:
        return socket.create_connection(('127.0.0.1', self.port), timeout=PATIENCE)

    def ask(self, *parts: bytes, pause: float = 0) -> tuple[int, bytes]:
        """Send parts of a request, with pauses between them; status and body of the answer."""
        with self.connect() as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before the end
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
            return receive(connection)

    def post(self, data: bytes, query: str = '?to=B', kind: str = 'image/png') -> tuple[int, bytes]:
        return self.ask(self.head(len(data), kind, f'/translate{query}') + data)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    data = b''
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            data += part
    head, _, body = data.partition(b'\r\n\r\n')
    return (int(head.split()[1]), body) if head.startswith(b'HTTP/') else (CLOSED, b'')


# -- what the clients send -----------------------------------------------------------------------


class Sample(NamedTuple):
    file: bytes
    translation: np.ndarray


def as_file(picture: np.ndarray | Image.Image, kind: str = 'PNG') -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def make_samples(inferencer: UGATITInferencer, count: int) -> list[Sample]:
    """Pictures of which no two have one translation."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        picture = rng.integers(0, 256, (*rng.integers(20, 48, 2), 3)).astype(np.uint8)
        (result,) = inferencer(picture, 'B')
        samples.append(Sample(as_file(picture), result.image))
    assert len({sample.translation.tobytes() for sample in samples}) == count
    return samples


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG whose header says what it likes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(name + content))
        return struct.pack('>I', len(content)) + name + content + check

    head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('picture.png', bytes(20_000_000))
        archive.writestr('../../picture.png', b'x')
    return file.getvalue()


SCRIPT = '<script>alert(1)</script>'
PATHS = ('/../../etc/passwd', '/..%2f..%2fetc/passwd', '//etc/passwd', f'/{SCRIPT}')
FULL = 'PNG that says 900 x 900 and holds 20 MB'
FILES: dict[str, bytes] = {
    'zip bomb': zip_bomb(),
    'PNG bomb': png(60_000, 60_000, zlib.compress(bytes(1000))),
    FULL: png(900, 900, zlib.compress(bytes(20_000_000))),
    'PNG whose text is deflated 1000:1': as_file(Image.new('L', (8, 8)))[:33]
    + struct.pack('>I', 20_010)
    + b'zTXtx\0\0'
    + zlib.compress(bytes(20_000_000))[:20_007]
    + bytes(4),
    'HTML': f'<!DOCTYPE html>{SCRIPT}'.encode(),
    'SVG': f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'.encode(),
    'empty': b'',
    'half': as_file(np.zeros((40, 40, 3), np.uint8))[:60],
    'GIF of nothing': b'GIF89a' + bytes(7) + b'!\xfe\x10' + bytes(16) + b';',
    'multipart': f'--x\r\nContent-Disposition: form-data; name="f"; filename="../../{SCRIPT}.py"'
    '\r\n\r\nimport os\r\n--x--\r\n'.encode(),
}
THIN = as_file(np.random.default_rng(9).integers(0, 256, (20_000, 1)).astype(np.uint8))
MALFORMED = (
    b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(50),  # TLS
    b'GET\r\n\r\n',
    b'GET / HTTP/9.9\r\n\r\n',
    b'GET / HTTP/1.1\r\n\r\n',  # no Host
    b'POST /translate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\nhello',
    b'POST /translate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1e9\r\n\r\nhello',
    b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n' + b'X: ' + b'y' * 200_000 + b'\r\n\r\n',
    b'POST /translate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n'
    b'Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello',
    b'\r\n' * 1000,
)


class Client(threading.Thread):
    """One of many; it counts the answers that it got, and what was wrong."""

    def __init__(self, server: Far, number: int, samples: list[Sample], until: float) -> None:
        super().__init__()
        self.server, self.samples, self.until = server, samples, until
        self.draw = random.Random(number)
        self.answers: Counter = Counter()
        self.faults: list[str] = []

    def run(self) -> None:
        actions = [*Counter(self.WEIGHTS).elements()]
        try:
            self.good(persist=True)
            while time.monotonic() < self.until:
                name = self.draw.choice(actions)
                getattr(self, name)()
            self.good(persist=True)
        except Exception as error:
            self.faults.append(f'{type(error).__name__}: {error}')

    WEIGHTS = {'good': 6, 'slow': 2, 'aborted': 2, 'oversized': 1, 'malformed': 2, 'hostile': 3}
    WEIGHTS |= {'deaf': 1, 'thin': 1, 'stalled': 1}

    def note(self, name: str, status: int, *expected: int) -> None:
        self.answers[name, status] += 1
        if status not in expected:
            self.faults.append(f'{name}: {status} instead of {expected}')

    def good(self, persist: bool = False, pieces: int = 1, pause: float = 0) -> None:
        """A picture; the answer must be the translation of this client's own."""
        sample = self.draw.choice(self.samples)
        data = self.server.head(len(sample.file), path='/translate?to=B') + sample.file
        step = -(-len(data) // pieces)
        parts = [data[i : i + step] for i in range(0, len(data), step)]
        name = 'good' if pieces == 1 else 'slow'
        while True:
            status, body = self.server.ask(*parts, pause=pause)
            self.note(name, status, 200, 503)
            if status == 200:
                file = io.BytesIO(base64.b64decode(json.loads(body)['translation']))
                if not np.array_equal(np.asarray(Image.open(file)), sample.translation):
                    self.faults.append("another's picture")
            if status == 200 or not persist:
                return
            time.sleep(self.draw.random() / 10)

    def slow(self) -> None:
        self.good(pieces=20, pause=0.01)

    def stalled(self) -> None:
        """Sends nothing more; the server ends it after LIMITS.seconds."""
        status, _ = self.server.ask(self.server.head(1000), b'\x89PNG')
        self.note('stalled', status, 408, 503)

    def aborted(self) -> None:
        file = self.draw.choice(self.samples).file
        with self.server.connect() as connection:
            sent = self.draw.choice((0, 10, len(file) // 2, len(file)))
            connection.sendall(self.server.head(len(file)) + file[:sent])
            if self.draw.random() < 0.5:  # by RST instead of FIN
                linger = struct.pack('ii', 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.answers['aborted', CLOSED] += 1

    def deaf(self) -> None:
        """Asks, and does not wait for the answer."""
        file = self.draw.choice(self.samples).file
        with self.server.connect() as connection:
            connection.sendall(self.server.head(len(file)) + file)
            time.sleep(self.draw.random() / 5)
        self.answers['deaf', CLOSED] += 1

    def oversized(self) -> None:
        size = LIMITS.upload + self.draw.choice((1, LIMITS.upload, 10 * LIMITS.upload))
        if self.draw.random() < 0.5:
            status, _ = self.server.ask(self.server.head(size), bytes(size))
        else:
            head = self.server.head(0).replace(b'Content-Length: 0', b'Transfer-Encoding: chunked')
            piece = b'10000\r\n' + bytes(0x10000) + b'\r\n'
            status, _ = self.server.ask(head, *[piece] * -(-size // 0x10000), b'0\r\n\r\n')
        self.note('oversized', status, 413, 503, CLOSED)

    def malformed(self) -> None:
        status, _ = self.server.ask(self.draw.choice(MALFORMED) + b'\r\n')
        self.note('malformed', status, 400, 403, 405, 431, CLOSED)

    def hostile(self) -> None:
        name, file = self.draw.choice([*FILES.items()])
        kind = self.draw.choice(('image/png', 'image/svg+xml', 'application/octet-stream'))
        status, _ = self.server.post(file, kind=kind)
        taken = (200,) if name == FULL else ()  # Pillow leaves what is too much unread
        self.note(f'hostile: {name}', status, 400, 413, 415, 503, *taken)
        path = self.draw.choice(PATHS)
        status, body = self.server.ask(
            f'GET {path} HTTP/1.1\r\nHost: {self.server.host}\r\n\r\n'.encode()
        )
        self.note('hostile: path', status, 404)
        status, _ = self.server.post(file, f'?to={path}&size={SCRIPT}', 'text/html')
        self.note('hostile: words', status, 400)
        if b'root:' in body or SCRIPT.encode() in body:
            self.faults.append(f'{path}: {body[:100]!r}')

    def thin(self) -> None:
        """1 x 20,000, which is a picture all the same."""
        status, body = self.server.post(THIN)
        self.note('thin', status, 200, 503)
        if status == 200 and json.loads(body)['original'] != [1, 20_000]:
            self.faults.append('thin: another picture')


@pytest.mark.slow
@pytest.mark.timeout(300 + 3 * SECONDS)
def test_fifty_clients_at_once(checkpoint: Path, tmp_path: Path, capsys):
    inferencer = UGATITInferencer(checkpoint, device='cpu')
    samples = make_samples(inferencer, 2 * CLIENTS)
    folder = tmp_path / 'server'
    folder.mkdir()
    before = sorted(tmp_path.rglob('*'))
    server = Far(inferencer, folder)
    try:
        for _ in range(3):  # what the first pictures make for good
            assert server.post(samples[0].file)[0] == 200
            assert server.post(THIN)[0] == 200
        time.sleep(0.2)  # their connections end
        server.begin()
        memory, files = server.memory('VmRSS'), server.files()
        start = time.monotonic()
        clients = [
            Client(server, i, samples[2 * i : 2 * i + 2], start + SECONDS) for i in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        seconds = time.monotonic() - start
        faults = [fault for client in clients for fault in client.faults]
        assert faults == []
        assert server.post(samples[0].file)[0] == 200  # it goes on
        assert settle(server.files, files) == files
        peak, after = server.memory('VmHWM'), server.memory('VmRSS')
        assert peak - memory < MOST
    finally:
        said = server.stop()
    assert said['left'] == {'inside': 0, 'held': 0, 'locked': False}
    assert said['most']['inside'] == LIMITS.queue + 1  # reached, and never more
    assert said['most']['held'] <= (LIMITS.queue + 2) * LIMITS.upload
    assert sorted(tmp_path.rglob('*')) == before
    answers = sum((client.answers for client in clients), Counter())
    assert all(client.answers['good', 200] >= 2 for client in clients)
    seen = {name.split(':')[0] for name, _ in answers}
    assert seen == set(Client.WEIGHTS)
    with capsys.disabled():
        if 'UGATIT_LOAD_SECONDS' in os.environ:
            show(answers, seconds, said['most'], (memory, peak, after), files)


def settle(read: Callable[[], int], wanted: int) -> int:
    """Wait until a number is as wanted, at most until every connection has ended."""
    end = time.monotonic() + 30
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    return found


def show(answers: Counter, seconds: float, most: dict, memory: tuple, files: int) -> None:
    print(f'\n{CLIENTS} clients, {seconds:.1f} s, {sum(answers.values())} requests, queue {most}')
    low, peak, after = memory
    print(f'RSS {low:.0f} MiB, at most {peak:.0f}, then {after:.0f}; {files} files open')
    for (name, status), count in sorted(answers.items()):
        print(f'  {name:45} {status or "closed":>6} {count:6}')
