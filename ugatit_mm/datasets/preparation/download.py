"""Download an archive over HTTP, resuming where an earlier attempt stopped.

No library does it: pooch and ``torch.hub`` start again after an interruption, and huggingface_hub's
``http_get`` resumes, but takes a web page or another part of the file for the archive.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import requests
from tqdm import tqdm

from .archives import looks_like_web_page

ATTEMPTS = 5  # for each address; every one resumes after the bytes that are there
TIMEOUT_S = (15, 60)  # to connect, between two chunks
CHUNK = 1 << 18


class DownloadError(OSError):
    """No address gave the archive; the message has each one's reason and what to do by hand."""


def download(urls: Sequence[str], target: str | os.PathLike, by_hand: str) -> None:
    """Write the first of ``urls`` that answers with an archive to ``target``.

    Bytes go to a ``.part`` file next to it, one for each address, which stays when the connection
    is lost. Whether a resumed file is consistent is checked when the archive is read: zip and gz
    have checksums.

    Args:
        urls: Addresses of the same file, tried in this order.
        target: File to create.
        by_hand: Advice for the message when none works.

    Raises:
        FileExistsError: ``target`` exists.
        DownloadError: No address works.
        OSError: The disk is full.
    """
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"'{target}' exists: give it as the source, or choose another place.")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in urls:
        digest = hashlib.sha256(url.encode()).hexdigest()[:8]
        part = target.with_name(f'{target.name}.{digest}.part')
        try:
            _fetch(url, part)
        except (requests.RequestException, DownloadError) as error:
            reasons.append(f'{url}: {error}')
            continue
        part.replace(target)
        return
    raise DownloadError(
        f"'{target.name}' could not be downloaded:\n  "
        + '\n  '.join(reasons)
        + f'\nBy hand: {by_hand}; then give the file or the unpacked folder as the source.'
    )


def _fetch(url: str, part: Path) -> None:
    cuts = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    for attempt in range(1, ATTEMPTS + 1):
        before = _size(part)
        try:
            _fetch_once(url, part)
            return
        except cuts:
            if attempt == ATTEMPTS or _size(part) == before:
                raise


def _fetch_once(url: str, part: Path) -> None:
    start = _size(part)
    headers = {'Accept-Encoding': 'identity'}  # offsets are those of the file itself
    if start:
        headers['Range'] = f'bytes={start}-'
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        status, content_range = response.status_code, response.headers.get('Content-Range', '')
        if status == 416 and content_range == f'bytes */{start}':
            return  # the part is the whole file already
        if status == 416 and start:
            part.unlink()
            raise requests.ConnectionError('the partial file is not a part of this file; deleted')
        response.raise_for_status()
        if status == 206 and not content_range.startswith(f'bytes {start}-'):
            raise DownloadError(f'answers with the wrong part of the file ({content_range})')
        if status != 206:
            start = 0
        length = response.headers.get('Content-Length')
        total = start + int(length) if length else None
        chunks = response.iter_content(CHUNK)
        first = next(chunks, b'')
        if start == 0 and looks_like_web_page(first):
            raise DownloadError('answers with a web page instead of an archive')
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise OSError(f"'{part.parent}' has {free:,} bytes free, '{url}' needs {total:,}.")
        with (
            open(part, 'ab' if start else 'wb') as file,
            tqdm(
                total=total, initial=start, unit='B', unit_scale=True, desc=part.name, disable=None
            ) as bar,
        ):
            while first:
                file.write(first)
                bar.update(len(first))
                first = next(chunks, b'')
    if total is not None and _size(part) != total:
        raise requests.ConnectionError(f'sent {_size(part):,} of {total:,} bytes')


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
