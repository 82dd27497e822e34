"""The server, by HTTP as anyone could speak to it."""

import base64
import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from helpers import PATIENCE
from PIL import Image
from styled_model import write_styled
from web_helpers import ABOUT, LIMITS, Gated, Server, save_model, serving_page

from ugatit_mm.apis.examples import EXAMPLES
from ugatit_mm.apis.inferencer import Translation
from ugatit_mm.apis.sizes import SIZE_MODES
from ugatit_mm.datasets.drawings import charcoal_drawing
from ugatit_mm.datasets.loading import MAX_SCANS, decode_rgb
from ugatit_mm.pixels import resize
from ugatit_mm.web import app, main, serving
from ugatit_mm.web.limits import Limits

Answer = tuple[int, dict | str]


def make_picture(width: int = 40, height: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(
        rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)), np.ones((8, 8, 1), int)
    )[:height, :width].astype(np.uint8)


def as_file(picture: np.ndarray | Image.Image, kind: str = 'PNG', **options: object) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def translate(server: Server, data: bytes, query: str = 'to=B', **headers: str) -> Answer:
    headers = {'Origin': f'http://{server.client.host}', 'Content_Type': 'image/png'} | headers
    status, _, body = server.client.request('POST', f'/translate?{query}', data, **headers)
    return status, json.loads(body) if status == 200 else body.decode()


def pixels(base64_file: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(base64_file))))


def check(answer: Answer, expected: Translation) -> None:
    status, result = answer
    assert status == 200, result
    np.testing.assert_array_equal(pixels(result['translation']), expected.image)
    np.testing.assert_allclose(pixels(result['heatmap']) / 255, expected.heatmap, atol=0.502 / 255)
    assert (result['height'], result['width']) == expected.source.shape[:2]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.time() + PATIENCE
    while not true():
        assert time.time() < deadline
        time.sleep(0.02)


def connect(server: Server, head: str = '', body: bytes = b'', length: int = 0) -> socket.socket:
    """A connection on which something was sent; with ``length`` a POST of so many bytes."""
    if length:
        head = (
            f'POST /translate HTTP/1.1\r\nHost: {server.client.host}\r\n'
            f'Origin: http://{server.client.host}\r\nContent-Type: image/png\r\n'
            f'Content-Length: {length}\r\n\r\n'
        )
    connection = socket.create_connection(('127.0.0.1', server.port), timeout=PATIENCE)
    connection.sendall(head.encode() + body)
    return connection


def status_of(connection: socket.socket) -> int:
    """0 if it was closed without an answer."""
    try:
        line = connection.makefile('rb').readline()
    except ConnectionResetError:
        line = b''
    return int(line.split()[1]) if line else 0


# -- translating ---------------------------------------------------------------------------------


@pytest.mark.parametrize('size', SIZE_MODES)
def test_the_pixels_are_the_inferencers(server, size):
    picture = make_picture(52, 37)
    for target in 'AB':
        (expected,) = server.inferencer(picture, target, size=size, return_heatmap=True)
        check(translate(server, as_file(picture), f'to={target}&size={size}'), expected)
    a, b = (translate(server, as_file(picture), f'to={target}')[1] for target in 'AB')
    assert a['translation'] != b['translation']
    for query in ('', 'to=sunflower', 'to=Sunflower'):
        assert translate(server, as_file(picture), query)[1]['translation'] == b['translation']


def test_files_are_read_as_everywhere_else(server):
    picture = make_picture(48, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    alpha = np.dstack([picture, make_picture(48, 40, 1)[..., :1]])
    files = {
        'turned': as_file(picture, 'JPEG', exif=exif),
        'transparent': as_file(alpha),
        'tiff': as_file(picture, 'TIFF', compression='tiff_lzw'),
        'cmyk': as_file(Image.fromarray(picture).convert('CMYK'), 'JPEG'),
        'animated': as_file(Image.fromarray(picture), 'GIF', save_all=True),
        'webp': as_file(picture, 'WEBP'),
    }
    for name, data in files.items():
        source = decode_rgb(data)
        assert source.shape == ((48, 40, 3) if name == 'turned' else (40, 48, 3))
        (expected,) = server.inferencer(source, 'B', return_heatmap=True)
        check(translate(server, data, Content_Type='application/octet-stream'), expected)


def test_what_is_shown_as_the_source_is_the_picture(server):
    picture = resize(make_picture(8, 8), 64, 80)  # smooth, as JPEG likes it
    source = pixels(translate(server, as_file(picture))[1]['source'])
    assert np.abs(source.astype(int) - picture).mean() < 4


def test_large_pictures_are_reduced_first(server):
    for width, height, wanted in ((200, 100, (96, 48)), (1, 500, (1, 96)), (96, 96, (96, 96))):
        picture = make_picture(width, height)
        reduced = resize(picture, wanted[1], wanted[0])
        (expected,) = server.inferencer(reduced, 'B', return_heatmap=True)
        answer = translate(server, as_file(picture))
        check(answer, expected)
        result = answer[1]
        assert result['original'] == [width, height]
        assert (result['width'], result['height']) == wanted


def test_a_style_by_its_number(server, styled, tmp_path):
    file = as_file(make_picture())
    said = 'U-GAT-IT has no styles: leave out style and styles'
    assert translate(server, file, 'to=B&style=1') == (400, said)
    inferencer = Gated(write_styled(tmp_path / 'w.pth', styled))
    with serving_page(inferencer, LIMITS) as other:
        assert json.loads(other.client.get('/model')[2])['styles'] is True
        for query, seed in (('to=B', 0), ('to=B&style=0', 0), ('to=A&style=12', 12)):
            status, result = translate(other, file, query)
            (expected,) = inferencer(make_picture(), query[3], style=seed)
            assert status == 200 and np.array_equal(pixels(result['translation']), expected.image)
        for word in ('', 'x', '1.5', '1' * 10, 'a.png', '%D9%A3'):
            status, text = translate(other, file, f'to=B&style={word}')
            assert (status, text) == (400, 'A style is a whole number, of up to nine digits.')


def test_a_model_without_attention(server, monkeypatch):
    monkeypatch.setattr(server.inferencer.model, '_cam', False)
    assert json.loads(server.client.get('/model')[2])['attention'] is False
    status, answer = translate(server, as_file(make_picture()))
    (result,) = server.inferencer(make_picture(), 'B')
    assert (status, answer['heatmap']) == (200, None)
    np.testing.assert_array_equal(pixels(answer['translation']), result.image)


def test_a_model_of_one_direction(server, monkeypatch):
    monkeypatch.setattr(server.inferencer.model, '_reachable_domains', ['B'])
    assert json.loads(server.client.get('/model')[2])['targets'] == ['B']
    assert translate(server, as_file(make_picture()))[0] == 200
    status, said = translate(server, as_file(make_picture()), 'to=A')
    assert (status, said) == (400, '"to" must be one of B.')


def test_what_the_page_gets(server):
    model = json.loads(server.client.get('/model')[2])
    assert model == {
        'domains': {'A': 'daisy', 'B': 'sunflower'},
        'targets': ['A', 'B'],
        'to': 'B',
        'size_of_network': [32, 32],
        'sizes': list(SIZE_MODES),
        'attention': True,
        'styles': False,
        'about': ABOUT,
        'examples': [
            {'name': name, 'domains': ['A', 'B'] if name == 'flower' else []} for name in EXAMPLES
        ],
        'upload': LIMITS.upload,
        'pixels': LIMITS.pixels,
        'side': LIMITS.side,
    }


def test_examples_are_photographs_of_other_packages(server):
    import sklearn
    from skimage import data

    status, headers, body = server.client.get('/example/0')
    path = Path(sklearn.__file__).parent / 'datasets/images/flower.jpg'
    assert (status, headers['Content-Type']) == (200, 'image/jpeg') and body == path.read_bytes()
    chelsea = np.asarray(Image.open(io.BytesIO(server.client.get('/example/2')[2])))
    np.testing.assert_array_equal(chelsea, data.chelsea())
    assert server.client.get('/example/4')[0] == 200


def test_examples_are_of_the_domains_of_the_weights(tiny, tmp_path):
    checkpoint = save_model(tiny(), tmp_path / 'pair.pth', ('Photo', 'drawing'))
    with serving_page(Gated(checkpoint), LIMITS) as server:
        examples = json.loads(server.client.get('/model')[2])['examples']
        photographs = [{'name': name, 'domains': ['A']} for name in EXAMPLES]
        drawings = [{'name': f'{name}, drawn', 'domains': ['B']} for name in EXAMPLES]
        assert examples == photographs + drawings
        photograph, drawing, again = (server.client.get(f'/example/{n}')[1:] for n in (2, 7, 7))
        assert drawing[0]['Content-Type'] == 'image/png' and drawing[1] == again[1]
        photograph, drawn = (
            np.asarray(Image.open(io.BytesIO(f[1]))) for f in (photograph, drawing)
        )
        np.testing.assert_array_equal(drawn, charcoal_drawing(photograph))
        assert server.client.get('/example/10')[0] == 404


def test_sizes_that_the_networks_do_not_take_are_not_offered(server, monkeypatch):
    monkeypatch.setattr(type(server.inferencer.model), 'takes_any_size', False)
    assert 'keep' not in json.loads(server.client.get('/model')[2])['sizes']


# -- bad files and requests ----------------------------------------------------------------------


def bad_files() -> dict[str, tuple[bytes, int, str]]:
    """File, status and a part of the message."""
    whole = as_file(make_picture(64, 64))
    wide = bytearray(as_file(make_picture(8, 8), 'BMP'))
    wide[18:26] = np.array([1001, 1000], '<i4').tobytes()
    bomb = bytearray(wide)
    bomb[18:26] = np.array([60_000, 60_000], '<i4').tobytes()
    scans = as_file(make_picture(), 'JPEG') + b'\xff\xda\x00\x08\x01' * (MAX_SCANS + 1)
    script = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    return {
        'empty': (b'', 400, 'is empty'),
        'text': (b'Dear Sir or Madam,', 415, 'is not a picture'),
        'svg': (script, 415, 'is not a picture'),
        'postscript': (as_file(make_picture(), 'EPS'), 415, 'is not a picture'),
        'icon': (as_file(make_picture(), 'ICO'), 415, 'is not a picture'),
        'head': (whole[:20], 415, 'is not a picture'),
        'truncated': (whole[: len(whole) // 2], 400, 'damaged or incomplete'),
        'flipped': (whole[:60] + b'\xff' * 20 + whole[80:], 400, 'damaged or incomplete'),
        'wide': (bytes(wide), 413, '1001 x 1000'),
        'bomb': (bytes(bomb), 413, 'too many pixels'),
        'scans': (scans, 400, 'too slow to decode'),
        'greys': (as_file(Image.new('F', (8, 8), -3), 'TIFF'), 400, 'greys from -3 to -3'),
    }


@pytest.mark.parametrize('name', bad_files())
def test_bad_files_get_a_clear_message(server, name):
    data, wanted, part = bad_files()[name]
    status, text = translate(server, data)
    assert (status, part in text) == (wanted, True), text
    assert server.inferencer.started == []
    assert translate(server, as_file(make_picture()))[0] == 200  # it goes on


def test_the_limit_of_pixels_is_reached_by_a_picture_that_is_taken(server):
    assert translate(server, as_file(Image.new('RGB', (1000, 1000))))[0] == 200
    assert translate(server, as_file(Image.new('RGB', (1000, 1001))))[0] == 413


def test_an_upload_is_limited_with_and_without_its_length(server):
    file = as_file(make_picture())
    at_limit = file + bytes(LIMITS.upload - len(file))  # a PNG may be followed by anything
    assert translate(server, at_limit)[0] == 200
    for size in (1, LIMITS.upload, 20 * LIMITS.upload):
        body = at_limit + bytes(size)
        pieces = [body[i : i + 50_000] for i in range(0, len(body), 50_000)]
        for data in (body, iter(pieces)):  # the second in chunks
            try:
                status, text = translate(server, data)
            except (BrokenPipeError, ConnectionResetError):
                assert size > LIMITS.upload  # far too much: no one listens any more
            else:
                assert status == 413 and '0.3 MB' in text
    assert server.inferencer.started == ['B']


def test_requests_that_cannot_be(server):
    data = as_file(make_picture())
    for query in ('to=C', 'to=', 'to=flower', 'to=B&size=big', 'to=B&size=', 'to=%00'):
        assert translate(server, data, query)[0] == 400, query
    for kind in ('text/plain', 'multipart/form-data; boundary=x', '', 'imag/png'):
        assert translate(server, data, Content_Type=kind)[0] == 415, kind
    assert server.client.get('/translate?to=B')[0] == 405
    for number in ('5', '-1', '0.0', '%D9%A1', '9' * 5000, '../0', '..%2f0', '0%00', 'flower'):
        assert server.client.get(f'/example/{number}')[0] == 404, number
    for path in ('/../app.py', '//etc/passwd', '/page/page.html', '/app.py', '/%2e%2e/app.py'):
        assert server.client.get(path)[0] == 404, path
    assert server.inferencer.started == []


def test_other_sites_get_nothing(server):
    data = as_file(make_picture())
    for origin in ('http://evil.example', 'null', '', 'http://127.0.0.1:1', 'x://['):
        assert translate(server, data, Origin=origin)[0] == 403
    for host in ('evil.example', '127.0.0.1.evil.example', '['):
        assert translate(server, data, Host=host, Origin=f'http://{host}')[0] == 400
        assert server.client.get('/', Host=host)[0] == 400
    assert server.inferencer.started == []
    for path in ('/', '/page.js', '/model', '/example/0', '/nothing'):
        headers = server.client.get(path)[1]
        policy = headers['Content-Security-Policy']
        assert "default-src 'self';" in policy and 'unsafe' not in policy and 'http' not in policy
        assert headers['Cache-Control'] == 'no-store'
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert headers['Cross-Origin-Resource-Policy'] == 'same-origin'


@pytest.mark.parametrize('error', [RuntimeError('out of memory'), ValueError('not finite')])
def test_a_network_that_fails_is_reported_and_survived(server, capfd, error):
    server.inferencer.failure = error
    status, text = translate(server, as_file(make_picture()))
    assert status == 500 and str(error) not in text
    assert f'{type(error).__name__}: {error}' in capfd.readouterr().err
    server.inferencer.failure = None
    assert translate(server, as_file(make_picture()))[0] == 200


# -- the queue -----------------------------------------------------------------------------------


class Later(threading.Thread):
    """A translation that is asked for in the background."""

    def __init__(self, server: Server, target: str) -> None:
        super().__init__()
        self.words = server, as_file(make_picture()), f'to={target}'
        self.start()

    def run(self) -> None:
        self.answer = translate(*self.words)

    def status(self) -> int:
        self.join()
        return self.answer[0]


def test_one_is_translated_two_wait_and_others_are_sent_away(server):
    server.inferencer.gate.clear()
    first = Later(server, 'A')
    wait_until(lambda: server.inferencer.started == ['A'])
    second = Later(server, 'B')
    wait_until(lambda: server.pages.waiting == 1)
    third = Later(server, 'A')
    wait_until(lambda: server.pages.waiting == 2)
    headers = {'Origin': f'http://{server.client.host}', 'Content_Type': 'image/png'}
    data = as_file(make_picture())
    status, headers, body = server.client.request('POST', '/translate', data, **headers)
    assert status == 503 and int(headers['Retry-After']) >= 1 and b'Try again' in body
    assert server.client.get('/')[0] == 200  # meanwhile the page is served
    assert server.inferencer.started == ['A']
    server.inferencer.gate.set()
    assert [later.status() for later in (first, second, third)] == [200] * 3
    assert server.inferencer.started == ['A', 'B', 'A']  # first come, first served
    assert server.pages.waiting == server.pages.held == 0


def test_who_goes_away_leaves_the_queue(server):
    server.inferencer.gate.clear()
    first = Later(server, 'A')
    wait_until(lambda: server.inferencer.started == ['A'])
    data = as_file(make_picture())
    gone = connect(server, body=data, length=len(data))
    wait_until(lambda: server.pages.waiting == 1)
    gone.close()
    wait_until(lambda: server.pages.waiting == 0)
    last = Later(server, 'A')
    wait_until(lambda: server.pages.waiting == 1)
    server.inferencer.gate.set()
    assert first.status() == last.status() == 200
    assert server.inferencer.started == ['A', 'A']


def test_who_goes_away_while_sending_or_translated_harms_nobody(server):
    data = as_file(make_picture())
    connect(server, body=data[:50], length=len(data)).close()
    server.inferencer.gate.clear()
    gone = connect(server, body=data, length=len(data))
    wait_until(lambda: server.inferencer.started == ['B'])
    gone.close()
    later = Later(server, 'A')
    wait_until(lambda: server.pages.waiting == 1)
    server.inferencer.gate.set()
    assert later.status() == 200
    assert server.pages.held == 0 and not server.pages.free.locked()


def test_uploads_together_hold_bounded_memory(server):
    """Three times the largest upload with a queue of two; nothing of those that are too large."""
    most = bytes(LIMITS.upload)
    with ExitStack() as stack:
        slow = [connect(server, body=most, length=2 * LIMITS.upload) for _ in range(3)]
        for connection in slow:
            stack.enter_context(connection)
        wait_until(lambda: server.pages.held == 3 * len(most))
        assert translate(server, as_file(make_picture()))[0] == 503
        for connection in slow:
            connection.sendall(b'more')
        wait_until(lambda: server.pages.held == 0)
        assert translate(server, as_file(make_picture()))[0] == 200
        for connection in slow:
            connection.sendall(most[4:])
            assert status_of(connection) == 413


# -- slow clients --------------------------------------------------------------------------------


def test_a_slow_upload_ends(server):
    with serving_page(server.inferencer, Limits(seconds=0.2)) as short:
        with connect(short, body=b'\x89PNG', length=1000) as slow:
            assert status_of(slow) == 408
        assert short.pages.held == 0


def test_connections_that_ask_for_nothing_or_do_not_read_are_closed(server, monkeypatch, tmp_path):
    monkeypatch.setattr(serving, 'PATIENCE', 0.2)
    size = 64_000_000  # more than the kernel takes for someone who does not read
    (tmp_path / 'large').write_bytes(bytes(size))
    with serving_page(server.inferencer, LIMITS) as short, ExitStack() as stack:
        for head in ('', 'GET / HTTP/1.1\r\nHost: 127.0'):
            connection = stack.enter_context(connect(short, head))
            assert status_of(connection) == 0
        short.pages.examples[0] = app._Example('large', tmp_path / 'large', ())
        get = 'GET /example/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'
        deaf = stack.enter_context(connect(short, get))
        received = len(deaf.recv(1))
        wait_until(lambda: not short.connections)
        with suppress(ConnectionResetError):
            while part := deaf.recv(1 << 20):
                received += len(part)
        assert 0 < received < size
        monkeypatch.undo()
        assert translate(short, as_file(make_picture()))[0] == 200


# -- files ---------------------------------------------------------------------------------------


def test_no_file_is_written(server):
    written, watch = [], threading.Event()

    def hook(event: str, words: tuple) -> None:
        if not watch.is_set():
            return
        if event == 'open':
            _, mode, flags = words
            if flags & 3 or (mode and set(mode) & set('wax+')):
                written.append(words)
        elif event.startswith(('tempfile.', 'shutil.', 'os.mkdir', 'os.rename', 'os.link')):
            written.append((event, words))

    sys.addaudithook(hook)
    watch.set()
    try:
        open('/dev/null', 'w').close()
        assert len(written) == 1  # the hook sees
        for data, _, _ in bad_files().values():
            translate(server, data)
        tiff = as_file(make_picture(96, 96), 'TIFF', compression='tiff_deflate')
        assert translate(server, tiff)[0] == 200
        assert server.client.get('/')[0] == 200
    finally:
        watch.clear()
    assert [name for name, *_ in written[1:] if not isinstance(name, int)] == []


# -- the command ---------------------------------------------------------------------------------


def test_the_command_serves_on_loopback(checkpoint, monkeypatch, capsys):
    served = []
    monkeypatch.setattr(uvicorn.Server, 'run', lambda self, sockets: served.extend(sockets))
    assert main(['--ckpt', str(checkpoint), '--port', '0', '--device', 'cpu']) == 0
    printed = capsys.readouterr()
    (listener,) = served
    assert 'Open http://127.0.0.1:' in printed.out and 'warning' not in printed.err
    assert listener.fileno() == -1  # closed again
    assert main(['--ckpt', str(checkpoint), '--port', '0', '--host', '0.0.0.0']) == 0
    assert 'warning: anyone who reaches this machine' in capsys.readouterr().err


def test_errors_of_the_command(tmp_path, capsys, checkpoint, server):
    bad = tmp_path / 'bad.pth'
    bad.write_bytes(b'no checkpoint')
    for path, part in ((tmp_path / 'none.pth', 'no checkpoint file'), (bad, 'bad.pth')):
        assert main(['--ckpt', str(path)]) == 1
        error = capsys.readouterr().err
        assert error.startswith('error: ') and part in error
    assert main(['--ckpt', str(checkpoint), '--port', str(server.port)]) == 1
    assert 'choose another --host or --port' in capsys.readouterr().err


@pytest.mark.parametrize(
    'words',
    [
        ['--port', '65536'],
        ['--max-upload-mb', '0'],
        ['--max-pixels', '-1'],
        ['--max-side', '0'],
        ['--queue', '-1'],
        ['picture.jpg'],
    ],
)
def test_command_lines_that_cannot_be(words):
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2


def test_without_the_extra_packages(monkeypatch, capsys):
    for name in ('app', 'serving'):
        monkeypatch.delitem(sys.modules, f'ugatit_mm.web.{name}')
    monkeypatch.setitem(sys.modules, 'starlette.applications', None)  # as if not installed
    assert main([]) == 1
    assert "pip install 'ugatit_mm[web]'" in capsys.readouterr().err
