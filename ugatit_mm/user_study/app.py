"""The web application: one page, its style and script, pictures by number, votes by POST.

Only the pictures that were found when the study was opened can be reached, each by the number of a
question and a slot of one person; no URL ever becomes a path. No page, URL or header names a method
or a file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..web.serving import Guard, file_endpoint, index_below, run_server
from .questions import Study
from .store import Store

PAGE = Path(__file__).parent / 'page'
BODY_LIMIT = 4096  # bytes of a POST
NAME_LIMIT = 100  # characters of a person's name, as in page.html


def build_app(study: Study, store: Store, host: str = '127.0.0.1') -> Starlette:
    """Build the study as an ASGI application.

    Args:
        study: The questions.
        store: Storage of the votes.
        host: See :class:`Guard`.
    """
    pages = _Pages(study, store)
    routes = [
        Route('/', pages.page),
        Route('/page.css', file_endpoint(PAGE / 'page.css')),
        Route('/page.js', file_endpoint(PAGE / 'page.js')),
        Route('/icon.svg', file_endpoint(PAGE / 'icon.svg')),
        Route('/study', pages.welcome),
        Route('/start', pages.start, methods=['POST']),
        Route('/p/{token}', pages.page),
        Route('/p/{token}/state', pages.state),
        Route('/p/{token}/vote', pages.vote, methods=['POST']),
        Route('/p/{token}/undo', pages.undo, methods=['POST']),
        Route('/p/{token}/image/{question}/{slot}', pages.image),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)])


def serve(
    study: Study, database: str | os.PathLike, host: str = '127.0.0.1', port: int = 8000
) -> None:
    """Serve the study until Ctrl-C or SIGTERM, and print the address.

    Args:
        study: The questions.
        database: See :class:`Store`.
        host: Address to listen on.
        port: Port to listen on; 0 for any free port.

    Raises:
        OSError: The address is not available, or the database cannot be opened.
        ValueError: The database holds something else.
    """
    store = Store(database, study)
    note = f"Votes go to '{database}'. Ctrl-C stops; the same command resumes."
    try:
        run_server(build_app(study, store, host), host, port, 'open the page and vote', note)
    finally:
        store.close()


class _Pages:
    """The endpoints. They run in one thread, one at a time, up to each await."""

    def __init__(self, study: Study, store: Store) -> None:
        self.study = study
        self.store = store
        # Cookies are shared between the ports of a host, which may serve another study.
        self.cookie = f'person-{study.digest[:12]}'

    async def page(self, request: Request) -> Response:
        """Return the page, for the start or, with a token, for a person."""
        response = FileResponse(PAGE / 'page.html')
        if token := request.path_params.get('token'):
            self._answered(token)
            self._remember(response, token)
        return response

    async def welcome(self, request: Request) -> Response:
        """Return the question, and where this browser's last person continues."""
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
        """Add a person: ``{"name": TEXT}``."""
        name = (await _json(request)).get('name')
        if not isinstance(name, str) or len(name) > NAME_LIMIT or not name.isprintable():
            raise HTTPException(400, f'The name must be up to {NAME_LIMIT} letters on one line.')
        token = self.store.add_person(name.strip())
        response = JSONResponse({'page': f'/p/{token}'})
        self._remember(response, token)
        return response

    async def state(self, request: Request) -> Response:
        """Return a person's progress."""
        return self._state(request.path_params['token'])

    async def vote(self, request: Request) -> Response:
        """Store a choice: ``{"question": INDEX, "slot": 1…N}``; a second one has no effect."""
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
        """Undo the last choice: ``{"question": INDEX}``; any other index has no effect."""
        token = request.path_params['token']
        index = (await _json(request)).get('question')
        last = self._answered(token) - 1
        stored = _is_number(index, last, last) and self.store.undo(token, index)
        return self._state(token, stored)

    async def image(self, request: Request) -> Response:
        """Return a picture of a person's question: slot 0 is the source."""
        token = request.path_params['token']
        self._answered(token)
        questions = self.study.questions(token)
        source = questions[index_below(len(questions), request.path_params['question'])]
        slot = index_below(len(self.study.methods) + 1, request.path_params['slot'])
        if slot == 0:
            picture = self.study.sources[source]
        else:
            picture = self.study.results[source][self.study.slots(token, source)[slot - 1]]
        try:
            data, media_type = await run_in_threadpool(picture.for_browser)
        except (OSError, ValueError) as error:
            print(f'error: {error}', file=sys.stderr)
            raise HTTPException(500, 'This picture can no longer be read.') from error
        return Response(data, media_type=media_type)

    def _answered(self, token: str) -> int:
        """Return the number of the person's answers."""
        answered = self.store.answered(token)
        if answered is None:
            raise HTTPException(404, 'No person in this study has this address.')
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


async def _json(request: Request) -> dict:
    """Return the body of a POST."""
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


def _is_number(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
