"""A tiny random model behind a gate, and the web page's server in a thread."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import PATIENCE
from study_helpers import Client

from ugatit_mm.apis.inferencer import Translation, UGATITInferencer
from ugatit_mm.converters import describe, write_checkpoint
from ugatit_mm.models import UGATIT
from ugatit_mm.web.app import build_app
from ugatit_mm.web.limits import Limits
from ugatit_mm.web.serving import make_server

ABOUT = 'Random weights, <b>for tests</b>.'
LIMITS = Limits(upload=300_000, pixels=1_000_000, side=96, queue=2)


def save_model(model: UGATIT, path: Path, names: tuple[str, str] = ('daisy', 'sunflower')) -> Path:
    networks = describe(model.state_dict())
    networks['generator']['img_size'] = 32  # which weights of a light generator do not show
    networks['domains'] = dict(zip('AB', names))
    write_checkpoint(path, model.state_dict(), {'networks': networks, 'about': ABOUT})
    return path


class Gated(UGATITInferencer):
    """An inferencer that can be made to wait, or to fail."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gate = threading.Event()
        self.started: list[str] = []  # targets of all pictures so far
        self.failure: Exception | None = None
        self.reset()

    def reset(self) -> None:
        self.gate.set()
        self.started.clear()
        self.failure = None

    def __call__(self, picture: Any, target: str, **options: Any) -> list[Translation]:
        self.started.append(target)
        assert self.gate.wait(PATIENCE)
        if self.failure:
            raise self.failure
        return super().__call__(picture, target, **options)


class Server:
    """The page of an inferencer at a free port, with what is inside."""

    def __init__(self, inferencer: Gated, limits: Limits) -> None:
        app = build_app(inferencer, limits=limits)
        (translate,) = (route for route in app.routes if route.path == '/translate')
        self.pages = translate.endpoint.__self__
        self.inferencer = inferencer
        self.server = make_server(app)
        self.connections = self.server.server_state.connections
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.client = Client(self.port)
        self.thread = threading.Thread(target=self.server.run, kwargs={'sockets': [self.listener]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


@contextmanager
def serving_page(inferencer: Gated, limits: Limits) -> Iterator[Server]:
    server = Server(inferencer, limits)
    try:
        yield server
    finally:
        server.stop()
