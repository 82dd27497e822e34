"""The web application: one page, its style and script, and ``POST /translate``.

A picture comes as the body of a request and goes back as JSON in its answer. Nothing is stored, on
disk or in memory, so nobody can request another's; no part of a request becomes a path.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from anyio import move_on_after
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..apis.examples import drawn, find_examples, is_drawn, is_of
from ..apis.sizes import SIZE_MODES
from ..datasets.formats import FORMATS
from ..datasets.loading import ImageReadError, decode_rgb
from ..pixels import displayed, resize, sides_of
from .limits import Limits
from .serving import Guard, file_endpoint, index_below, run_server

if TYPE_CHECKING:
    from ..apis.inferencer import TranslationInferencer

PAGE = Path(__file__).parent / 'page'
FILES = ('page.css', 'page.js', 'zip.js', 'icon.svg')


def build_app(
    inferencer: TranslationInferencer, host: str = '127.0.0.1', limits: Limits | None = None
) -> Starlette:
    """The page as an ASGI application.

    Args:
        inferencer: Translates the pictures.
        host: See :class:`Guard`.
        limits: Limits of what is accepted; the defaults of :class:`Limits` if not given.

    Raises:
        ValueError: The networks take other pictures than grey or RGB ones.
    """
    if (channels := inferencer.model.in_channels) not in (1, 3):
        raise ValueError(
            f'the page takes grey and RGB pictures, these networks take {channels} channels: '
            'use ugatit translate'
        )
    pages = _Pages(inferencer, limits or Limits())
    routes = [
        Route('/', file_endpoint(PAGE / 'page.html')),
        *(Route(f'/{name}', file_endpoint(PAGE / name)) for name in FILES),
        Route('/model', pages.model),
        Route('/example/{number}', pages.example),
        Route('/translate', pages.translate, methods=['POST']),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)])


def serve(inferencer: TranslationInferencer, host: str, port: int, limits: Limits) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        OSError: The address is not available.
    """
    app = build_app(inferencer, host, limits)
    may = 'open the page and have pictures translated'
    run_server(app, host, port, may, 'Pictures stay in memory; no file is written. Ctrl-C stops.')


class _Pages:
    """The endpoints. They run in one thread, the network in another, one picture at a time."""

    def __init__(self, inferencer: TranslationInferencer, limits: Limits) -> None:
        self.inferencer = inferencer
        self.limits = limits
        self.worker = ThreadPoolExecutor(1, 'translate')
        self.free = asyncio.Lock()  # held by the request that is being translated; fair
        self.waiting = 0
        self.inside = 0  # those and the one that is being translated
        self.held = 0  # bytes of uploads that are received or wait
        self.seconds = 1.0  # for the last picture
        self.target = inferencer.model.target()
        self.examples = _examples(inferencer.model.domain_names)

    async def model(self, request: Request) -> Response:
        """What the page shows of the model and the limits."""
        about = self.inferencer.meta.get('about')
        model = self.inferencer.model
        return JSONResponse(
            {
                'domains': model.domain_names,
                'targets': list(model.targets()),
                'to': self.target,
                'size_of_network': sides_of(self.inferencer.img_size),  # height, width
                'sizes': [mode for mode in SIZE_MODES if self._takes(mode)],
                'attention': model.has_attention,
                'styles': model.style_shape is not None,
                'about': about if isinstance(about, str) else None,
                'examples': [{'name': e.name, 'domains': e.domains} for e in self.examples],
                'upload': self.limits.upload,
                'pixels': self.limits.pixels,
                'side': self.limits.side,
            }
        )

    def _takes(self, size: str) -> bool:
        try:
            self.inferencer.check_options(None, size)
        except ValueError:
            return False
        return True

    async def example(self, request: Request) -> Response:
        number = index_below(len(self.examples), request.path_params['number'])
        example = self.examples[number]
        if not example.drawn:
            return FileResponse(example.path)
        return Response(await asyncio.to_thread(_drawing, example.path), media_type='image/png')

    async def translate(self, request: Request) -> Response:
        """``POST /translate?to=DOMAIN&size=MODE`` with a picture's file as its body.

        ``&style=SEED``, for a model that has styles, is one style for all pictures.

        Answers JSON: ``translation`` and ``heatmap`` (grey, [0, 1] is 0 to 255; null without
        attention) are PNGs in base64, ``source`` is the picture before translation, for display,
        as JPEG; all have ``width`` times ``height``, and the file's picture had ``original``,
        [width, height]. ``seconds`` is the time without the wait.
        """
        model = self.inferencer.model
        size = request.query_params.get('size', 'resize')
        try:
            target = model.target(request.query_params.get('to'))
        except ValueError as error:
            said = f'"to" must be one of {", ".join(model.targets())}.'
            raise HTTPException(400, said) from error
        style = request.query_params.get('style')
        if style is not None and not re.fullmatch('-?[0-9]{1,9}', style):
            raise HTTPException(400, 'A style is a whole number, of up to nine digits.')
        options = {'size': size, 'style': None if style is None else int(style)}
        try:
            self.inferencer.check_options(target, **options)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        kind = request.headers.get('content-type', '').split(';')[0].strip().lower()
        if not (kind.startswith('image/') or kind == 'application/octet-stream'):
            raise HTTPException(415, 'The body must be the file of a picture, its type image/….')
        try:
            async with self._upload(request) as data, self._turn(request):
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self.worker, self._work, data, target, options)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        return Response(answer, media_type='application/json')

    @asynccontextmanager
    async def _upload(self, request: Request) -> AsyncIterator[bytes]:
        """The body, whose bytes count as held until the block ends."""
        limit, size, held = self.limits.upload, 0, 0
        chunks = []
        try:
            with move_on_after(self.limits.seconds) as clock:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > 2 * limit:
                        break
                    if size > limit:  # the rest is read: a client that still sends reads no answer
                        self.held, held = self.held - held, 0
                        chunks.clear()
                        continue
                    held += len(chunk)
                    self.held += len(chunk)
                    if self.held > (self.limits.queue + 1) * limit:
                        raise self._busy()
                    chunks.append(chunk)
            if clock.cancelled_caught:
                raise HTTPException(
                    408,
                    'The picture came in too slowly. Try a smaller file or a better connection.',
                )
            if size > limit:
                raise HTTPException(
                    413,
                    f'This file is too large: it may have {limit / 1e6:g} MB. '
                    'Choose a smaller one, or save it with fewer pixels.',
                )
            data = b''.join(chunks)
            chunks.clear()
            yield data
        finally:
            self.held -= held

    @asynccontextmanager
    async def _turn(self, request: Request) -> AsyncIterator[None]:
        """Wait in the queue until the network is free, unless the client goes away."""
        # Not free.locked(): a lock that was released is not yet taken by the next in the queue.
        if self.inside > self.limits.queue:
            raise self._busy()
        self.inside += 1
        try:
            await self._wait(request)
            try:
                yield
            finally:
                self.free.release()
        finally:
            self.inside -= 1

    async def _wait(self, request: Request) -> None:
        turn = asyncio.ensure_future(self.free.acquire())
        gone = asyncio.ensure_future(_until_gone(request))
        self.waiting += 1
        try:
            await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
            gone.cancel()
            if not turn.done():
                turn.cancel()
        if turn.cancelled() or not turn.done():
            raise ClientDisconnect

    def _busy(self) -> HTTPException:
        seconds = max(1, round(self.seconds * self.limits.queue))
        return HTTPException(
            503,
            'Too many pictures are waiting. Try again in a moment.',
            {'Retry-After': str(seconds)},
        )

    def _work(self, data: bytes, target: str, options: dict) -> bytes:
        """Translate a file; returns the answer as JSON."""
        start = time.perf_counter()
        picture = self._decode(data, target)
        height, width = original = picture.shape[:2]
        if (scale := self.limits.side / max(original)) < 1:
            picture = resize(picture, *(max(1, round(scale * side)) for side in original))
        try:
            attention = self.inferencer.model.has_attention
            (result,) = self.inferencer(picture, target, return_heatmap=attention, **options)
        except (MemoryError, RuntimeError, ValueError) as error:  # from memory or the weights
            print(f'error: {type(error).__name__}: {error}', file=sys.stderr)
            raise HTTPException(
                500, "The network could not translate this picture; the server's terminal says why."
            ) from error
        heatmap = None
        if result.heatmap is not None:
            heatmap = _encode(np.rint(255 * result.heatmap).astype(np.uint8))
        answer = {
            'source': _encode(displayed(result.source), 'JPEG', quality=90),
            'translation': _encode(displayed(result.image)),
            'heatmap': heatmap,
            'width': picture.shape[1],
            'height': picture.shape[0],
            'original': [width, height],
        }
        self.seconds = answer['seconds'] = round(time.perf_counter() - start, 3)
        return json.dumps(answer).encode()

    def _decode(self, data: bytes, target: str) -> np.ndarray:
        """RGB, uint8, (H, W, 3); an HTTPException says what is wrong with the file."""
        if not data:
            raise HTTPException(400, 'This file is empty.')
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError as error:
            raise self._too_many_pixels('') from error
        except Exception as error:  # a parser may raise anything, see decode_rgb
            raise HTTPException(
                415,
                'This file is not a picture that can be read. Choose a JPEG, PNG, WebP, GIF, TIFF '
                'or BMP file.',
            ) from error
        if width * height > self.limits.pixels:
            raise self._too_many_pixels(f' ({width} x {height})')
        try:
            return decode_rgb(data, 'the picture', deep_range=self.inferencer.deep_range(target))
        except ImageReadError as error:
            text = 'This picture is damaged or incomplete. Try another one, or save it again.'
            raise HTTPException(400, text if error.__cause__ else str(error)) from error

    def _too_many_pixels(self, size: str) -> HTTPException:
        return HTTPException(
            413,
            f'This picture has too many pixels{size}: it may have {self.limits.pixels / 1e6:g} '
            'million. Choose a smaller one.',
        )


async def _until_gone(request: Request) -> None:
    while (await request.receive())['type'] != 'http.disconnect':
        pass


def _encode(picture: np.ndarray, kind: str = 'PNG', **options: int) -> str:
    """An image file in base64."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


class _Example(NamedTuple):
    name: str
    path: Path  # of the photograph
    domains: tuple[str, ...]  # letters of the domains that it belongs to
    drawn: bool = False


def _examples(domain_names: dict[str, str]) -> list[_Example]:
    """Photographs, and drawings of them if a domain has drawings."""
    found = find_examples(domain_names['A'])
    drawings = tuple(letter for letter, name in domain_names.items() if is_drawn(name))
    examples = [
        _Example(name, path, tuple(key for key in 'AB' if is_of(name, domain_names[key])))
        for name, path in found.items()
    ]
    if drawings:
        examples += [_Example(f'{name}, drawn', found[name], drawings, True) for name in found]
    return examples


@functools.cache
def _drawing(path: Path) -> bytes:
    """A drawing of an example, PNG."""
    return base64.b64decode(_encode(drawn(path)))
