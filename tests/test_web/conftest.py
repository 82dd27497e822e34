"""One server for all tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from web_helpers import Server

    from ugatit_mm.models import UGATIT


@pytest.fixture
def checkpoint(tiny: Callable[..., UGATIT], tmp_path: Path) -> Path:
    from web_helpers import save_model

    return save_model(tiny(), tmp_path / 'tiny.pth')


@pytest.fixture(scope='session')
def running() -> Iterator[list[Server]]:
    """The server, once a test has asked for it."""
    servers = []
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def server(running: list[Server], checkpoint: Path) -> Server:
    from web_helpers import LIMITS, Gated, Server

    if not running:
        running.append(Server(Gated(checkpoint), LIMITS))
    running[0].inferencer.reset()
    return running[0]
