"""A tiny user study and a client for its server."""

import http.client
import io
import json
from pathlib import Path

import numpy as np
from helpers import PATIENCE
from PIL import Image

METHODS = ('ours', 'cyclegan', 'munit')
SOURCES = tuple(f'face{i}' for i in range(4))


def write_study(root: Path) -> dict[str, str]:
    """Sources as JPEG, results as PNG: the green of a pixel says the method, its red the source."""
    (root / 'sources').mkdir(parents=True)
    for i, name in enumerate(SOURCES):
        Image.new('RGB', (8, 8), (60 * i, 0, 0)).save(root / 'sources' / f'{name}.jpg', quality=95)
        for m, method in enumerate(METHODS):
            (root / method).mkdir(exist_ok=True)
            # another shape, which the page must show at the same size all the same
            pixels = np.full(
                (8, 8 - 4 * (method == 'munit'), 3), (60 * i, 80 * (m + 1), 0), np.uint8
            )
            Image.fromarray(pixels).save(root / method / f'{name}.png')
    return {method: str(root / method) for method in METHODS}


def what_it_shows(data: bytes) -> tuple[str, str | None]:
    """The source and the method of a picture that was served; None for the source itself."""
    red, green, _ = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))[0, 0].astype(int)
    m = round(green / 80)
    return SOURCES[round(red / 60)], METHODS[m - 1] if m else None


class Client:
    """Requests exactly as they are written: no path is tidied on the way."""

    def __init__(self, port: int) -> None:
        self.host = f'127.0.0.1:{port}'

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        try:
            connection._validate_path = lambda path: None
            names = {name.replace('_', '-'): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        return self.request('GET', path, **headers)

    def post(self, path: str, words: object, **headers: str) -> tuple[int, object]:
        """Status and what came back, as the page itself would ask."""
        headers = {'Origin': f'http://{self.host}', 'Content_Type': 'application/json'} | headers
        status, _, body = self.request('POST', path, json.dumps(words).encode(), **headers)
        return status, json.loads(body) if status == 200 else body.decode()

    def begin(self, name: str = '') -> str:
        """Address of a new person."""
        status, answer = self.post('/start', {'name': name})
        assert status == 200, answer
        return answer['page']

    def state(self, person: str) -> dict:
        status, _, body = self.get(f'{person}/state')
        assert status == 200, body
        return json.loads(body)

    def vote(self, person: str, question: int, slot: int, **headers: str) -> tuple[int, object]:
        return self.post(f'{person}/vote', {'question': question, 'slot': slot}, **headers)

    def shown(self, person: str) -> list[tuple[str, str | None]]:
        """What the person's question shows: source, then slots 1 to N."""
        return [what_it_shows(self.get(path)[2]) for path in self.state(person)['pictures']]
