"""A tiny study, and its server in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from study_helpers import Client

    from ugatit_mm.user_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    from study_helpers import write_study

    from ugatit_mm.user_study import collect

    methods = write_study(tmp_path / 'pictures')
    return collect(tmp_path / 'pictures' / 'sources', methods, 'selfie2anime', 'Which is best?')


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / 'study.sqlite'


@pytest.fixture
def client(study: Study, database: Path) -> Iterator[Client]:
    import uvicorn
    from study_helpers import Client

    from ugatit_mm.user_study import Store, build_app

    store = Store(database, study)
    listener = socket.create_server(('127.0.0.1', 0))
    server = uvicorn.Server(uvicorn.Config(build_app(study, store), log_level='error'))
    thread = threading.Thread(target=server.run, kwargs={'sockets': [listener]})
    thread.start()
    yield Client(listener.getsockname()[1])
    server.should_exit = True
    thread.join()
    listener.close()
    store.close()
