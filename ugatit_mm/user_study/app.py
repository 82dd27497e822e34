"""The web application: one page, its style and script, pictures by number, votes by POST.

Nothing but the pictures that were found when the study was opened can be reached, each by the
number of a question and a slot of one person; no URL is ever made into a path. No page, URL or
header names a method or a file.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .questions import Study
from .store import Store

PAGE = Path(__file__).parent / 'page'
BODY_LIMIT = 4096  # bytes of a POST
NAME_LIMIT = 100  # characters of a person's name, as in page.html
HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'same-origin',  # the person's token is in the address
    'X-Content-Type-Options': 'nosniff',
}


def build_app(study: Study, store: Store, host: str = '127.0.0.1') -> Starlette:
    """The study as an ASGI application.

    Args:
        study: What is asked.
        store: Where votes go.
        host: A name by which browsers may call this server, besides ``localhost``, the machine's
            own name and addresses of digits.
    """
    pages = _Pages(study, store)
    routes = [
        Route('/', pages.page),
        Route('/page.css', _file('page.css')),
        Route('/page.js', _file('page.js')),
        Route('/icon.svg', _file('icon.svg')),
        Route('/study', pages.welcome),
        Route('/start', pages.start, methods=['POST']),
        Route('/p/{token}', pages.page),
        Route('/p/{token}/state', pages.state),
        Route('/p/{token}/vote', pages.vote, methods=['POST']),
        Route('/p/{token}/undo', pages.undo, methods=['POST']),
        Route('/p/{token}/image/{question}/{slot}', pages.image),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_Guard, host=host)])


def serve(
    study: Study, database: str | os.PathLike, host: str = '127.0.0.1', port: int = 8000
) -> None:
    """Serve the study until Ctrl-C or SIGTERM; the address is printed.

    Args:
        study: What is asked.
        database: See :class:`Store`.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.

    Raises:
        OSError: The address is not to be had, or the database cannot be opened.
        ValueError: The database holds something else.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    store = Store(database, study)
    try:
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
                print(
                    f'warning: whoever reaches this machine at {host} can open the page and vote.',
                    file=sys.stderr,
                )
            if address.is_unspecified:
                name = socket.gethostname()
                print(f'Elsewhere open http://{name}:{port}/, or the same with its address.')
                shown = '[::1]' if ':' in host else '127.0.0.1'
            print(f'Open http://{shown}:{port}/')
            print(f"Votes go to '{database}'. Ctrl-C stops; the same command goes on.", flush=True)
            config = uvicorn.Config(
                build_app(study, store, host),
                http='h11',
                ws='none',
                lifespan='off',
                log_level='warning',
                access_log=False,  # addresses hold the persons' tokens
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=3,
            )
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()


class _Pages:
    """The endpoints. They run in one thread, one after the other, up to where they await."""

    def __init__(self, study: Study, store: Store) -> None:
        self.study = study
        self.store = store
        # Cookies are shared between the ports of a machine, where another study may be served.
        self.cookie = f'person-{study.digest[:12]}'

    async def page(self, request: Request) -> Response:
        """The page, for the start and, with a token, for a person."""
        response = FileResponse(PAGE / 'page.html')
        if token := request.path_params.get('token'):
            self._answered(token)
            self._remember(response, token)
        return response

    async def welcome(self, request: Request) -> Response:
        """What is asked, and where this browser's last person goes on."""
        token = request.cookies.get(self.cookie, '')
        known = self.store.answered(token) is not None
        total = self.study.per_person or len(self.study.sources)
        return JSONResponse(
            {
                'question': self.study.question,
                'total': total,
                'methods': len(self.study.methods),
                'resume': f'/p/{token}' if known else None,
            }
        )

    async def start(self, request: Request) -> Response:
        """Enter a person: ``{"name": TEXT}``."""
        name = (await _json(request)).get('name')
        if not isinstance(name, str) or len(name) > NAME_LIMIT or not name.isprintable():
            raise HTTPException(400, f'The name must be up to {NAME_LIMIT} letters on one line.')
        token = self.store.add_person(name.strip())
        response = JSONResponse({'page': f'/p/{token}'})
        self._remember(response, token)
        return response

    async def state(self, request: Request) -> Response:
        """Where a person stands."""
        return self._state(request.path_params['token'])

    async def vote(self, request: Request) -> Response:
        """Store a choice: ``{"question": INDEX, "slot": 1…N}``; a second one changes nothing."""
        token = request.path_params['token']
        body = await _json(request)
        answered = self._answered(token)
        index, slot = body.get('question'), body.get('slot')
        questions = self.study.questions(token)
        if not _is_number(index, 0, min(answered, len(questions) - 1)):
            raise HTTPException(400, 'There is no such question yet.')
        source = questions[index]
        methods = self.study.slots(token, source)
        if not _is_number(slot, 1, len(methods)):
            raise HTTPException(400, 'There is no such picture.')
        stored = self.store.vote(token, index, source, methods[slot - 1], slot)
        return self._state(token, stored)

    async def undo(self, request: Request) -> Response:
        """Take back the last choice: ``{"question": INDEX}``; any other changes nothing."""
        token = request.path_params['token']
        index = (await _json(request)).get('question')
        last = self._answered(token) - 1
        stored = _is_number(index, last, last) and self.store.undo(token, index)
        return self._state(token, stored)

    async def image(self, request: Request) -> Response:
        """A picture of a person's question: slot 0 is the source."""
        token = request.path_params['token']
        self._answered(token)
        questions = self.study.questions(token)
        source = questions[_index(request.path_params['question'], len(questions))]
        slot = _index(request.path_params['slot'], len(self.study.methods) + 1)
        if slot == 0:
            picture = self.study.sources[source]
        else:
            picture = self.study.results[source][self.study.slots(token, source)[slot - 1]]
        try:
            data, media_type = await run_in_threadpool(picture.for_browser)
        except (OSError, ValueError) as error:
            print(f'error: {error}', file=sys.stderr)
            raise HTTPException(500, 'This picture cannot be read any more.') from error
        return Response(data, media_type=media_type)

    def _answered(self, token: str) -> int:
        """Number of the person's answers."""
        answered = self.store.answered(token)
        if answered is None:
            raise HTTPException(404, 'Nobody in this study has this address.')
        return answered

    def _state(self, token: str, stored: bool = True) -> Response:
        index = self._answered(token)
        total = len(self.study.questions(token))

        def pictures(question: int) -> list[str]:
            if question >= total:
                return []
            slots = range(len(self.study.methods) + 1)
            return [f'/p/{token}/image/{question}/{slot}' for slot in slots]

        return JSONResponse(
            {
                'question': self.study.question,
                'index': index,
                'total': total,
                'pictures': pictures(index),
                'next': pictures(index + 1),
                'stored': stored,
            }
        )

    def _remember(self, response: Response, token: str) -> None:
        year = 365 * 24 * 3600
        response.set_cookie(self.cookie, token, max_age=year, httponly=True, samesite='strict')


class _Guard(BaseHTTPMiddleware):
    """Refuse other sites' requests, and give every answer the headers above.

    A page elsewhere may have its own name resolve to this machine (DNS rebinding). It needs a name
    for that, so an address of digits in ``Host`` is safe, whichever it is.
    """

    def __init__(self, app: Callable, host: str) -> None:
        super().__init__(app)
        own = socket.gethostname().lower()
        self.names = {'localhost', host.lower(), own, f'{own}.local'}

    async def dispatch(self, request: Request, call_next: Callable) -> Response:
        host = request.headers.get('host', '')
        origin = request.headers.get('origin', '')
        if not self._is_ours(host):
            response = PlainTextResponse('This server has another name.', 400)
        elif request.method not in ('GET', 'HEAD') and _netloc(origin) != host:
            response = PlainTextResponse('Answers come from the page of the study alone.', 403)
        else:
            response = await call_next(request)
        response.headers.update(HEADERS)
        return response

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


async def _json(request: Request) -> dict:
    """The body of a POST."""
    if request.headers.get('content-type', '').split(';')[0].strip() != 'application/json':
        raise HTTPException(415, 'The body must be JSON.')
    body = b''
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f'The body must not exceed {BODY_LIMIT} bytes.')
    try:
        words = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, 'The body must be JSON.') from error
    if not isinstance(words, dict):
        raise HTTPException(400, 'The body must be a JSON object.')
    return words


def _index(word: str, size: int) -> int:
    """A number below ``size`` from a URL."""
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) < size):
        raise HTTPException(404, 'There is no such picture.')
    return int(word)


def _is_number(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _file(name: str) -> Callable:
    async def endpoint(request: Request) -> Response:
        return FileResponse(PAGE / name)

    return endpoint
