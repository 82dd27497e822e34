"""What the package's web pages share: the check of requests, the headers, the server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10  # seconds without a request's head, or without a byte of the answer being read
CONNECTIONS = 512  # at a time
HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'same-origin',  # an address may hold a person's token
    'X-Content-Type-Options': 'nosniff',
}


class Guard:
    """Refuse requests of other sites, and add the headers above to every answer.

    A page of another site may let its own name resolve to this machine (DNS rebinding). It needs a
    name for that, so any numeric address in ``Host`` is safe.

    Args:
        app: Application to guard.
        host: A name by which browsers may call this server, besides ``localhost``, the machine's
            own name and numeric addresses.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        own = socket.gethostname().lower()
        self.names = {'localhost', host.lower(), own, f'{own}.local'}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        host = headers.get('host', '')
        app = self.app
        if not self._is_ours(host):
            app = PlainTextResponse('This server has another name.', 400)
        elif scope['method'] not in ('GET', 'HEAD') and _netloc(headers.get('origin', '')) != host:
            app = PlainTextResponse('Only the page of this server may ask for that.', 403)
        await app(scope, receive, send_with_headers)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f'//{host}').hostname or ''
        except ValueError:
            return False
        if name in self.names:
            return True
        with suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return False


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def file_endpoint(path: Path) -> Callable:
    """An endpoint that answers with one file."""

    async def endpoint(request: Request) -> Response:
        return FileResponse(path)

    return endpoint


def index_below(size: int, word: str) -> int:
    """A number below ``size`` from a URL.

    Raises:
        HTTPException: It is not such a number (404).
    """
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) < size):
        raise HTTPException(404, 'There is no such picture.')
    return int(word)


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server that gives each connection one answer, and never waits without a limit."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws='none',
        lifespan='off',
        log_level='warning',
        access_log=False,  # an address may hold a person's token
        server_header=False,
        proxy_headers=False,
        headers=[('Connection', 'close')],
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def run_server(app: ASGIApp, host: str, port: int, may: str, note: str) -> None:
    """Serve until Ctrl-C or SIGTERM; the address is printed.

    Args:
        app: Application to serve.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        may: What anyone who reaches the page can do, for the warning if others can reach it.
        note: A line after the address.

    Raises:
        OSError: The address is not available.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(
            f'cannot serve at {host}, port {port} ({error.strerror or error}): choose another '
            '--host or --port.'
        ) from error
    with listener:
        shown = f'[{host}]' if ':' in host else host
        number, port = listener.getsockname()[:2]
        address = ipaddress.ip_address(number)
        if not address.is_loopback:
            print(f'warning: anyone who reaches this machine at {host} can {may}.', file=sys.stderr)
        if address.is_unspecified:
            name = socket.gethostname()
            print(f'On other machines open http://{name}:{port}/, or the same with its address.')
            shown = '[::1]' if ':' in host else '127.0.0.1'
        print(f'Open http://{shown}:{port}/')
        print(note, flush=True)
        with suppress(KeyboardInterrupt):
            make_server(app).run(sockets=[listener])


class _Protocol(H11Protocol):
    """Uvicorn's, but a client that sends no request or does not read the answer is disconnected."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.unread = 0
        self.timer = self.loop.call_later(PATIENCE, self._check)

    def _check(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if self.cycle is None or 0 < unread == self.unread:
            self.transport.abort()
        else:
            self.unread = unread
            self.timer = self.loop.call_later(PATIENCE, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        super().connection_lost(exc)
