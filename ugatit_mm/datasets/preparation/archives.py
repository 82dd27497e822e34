"""Reading the files of a zip, a tar or a folder that may come from anywhere.

Nothing is ever unpacked to a path that an archive names: entries are yielded one by one as bytes,
and the caller chooses the names to write. Even so, an archive that a careful packer would not make
(absolute paths, ``..``, links, devices, encrypted or doubled entries, excessive sizes) is refused
as a whole, in the first pass and before anything is written. zipfile and tarfile parse; tarfile's
``filter='data'`` would check each entry only when it is unpacked, and let links and absolute paths
in; zipfile has no filter.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ARCHIVE_SUFFIXES = ('.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.7z', '.rar')
"""Suffixes by which an archive inside another is detected; it is not opened."""

_FOREIGN = {
    b"7z\xbc\xaf'\x1c": 'a 7z archive',
    b'Rar!\x1a\x07': 'a RAR archive',
}
_DAMAGES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,  # zipfile: an unknown compression method
    RecursionError,  # tarfile: headers of headers of headers
    ValueError,  # both: fields that are not numbers
)


class ArchiveError(ValueError):
    """An archive that cannot or should not be read; the message names it and the entry."""


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. The largest set of the paper has 8,263 files and under 1 GB."""

    entries: int = 500_000
    file_bytes: int = 256 << 20
    total_bytes: int = 64 << 30
    ratio: int = 100  # of all files together to the archive; images hardly compress
    ratio_from_bytes: int = 64 << 20  # a small archive does no harm, however it expands


LIMITS = Limits()


@dataclass(frozen=True)
class Entry:
    """A file in a source: its path there ('/' between the parts), size and content.

    ``read`` returns all bytes. For an archive it works only until the next entry is requested.
    """

    name: str
    size: int
    read: Callable[[], bytes]


def iter_entries(source: str | os.PathLike, limits: Limits = LIMITS) -> Iterator[Entry]:
    """The regular files of a folder (links followed), a zip or a tar (plain, gz, bz2, xz).

    Raises:
        FileNotFoundError: There is no ``source``.
        ArchiveError: It is not such an archive, is damaged, or is refused (see the module). Also
            raised while iterating and by ``Entry.read``.
    """
    path = Path(source)
    if path.is_dir():
        return _folder_entries(path, limits)
    return _guarded(_archive_entries(path, limits), path, limits)


def looks_like_web_page(start: bytes) -> bool:
    """Whether a file starts as an HTML page, as a failed download often does."""
    return start.lstrip(b'\xef\xbb\xbf \t\r\n')[:9].lower().startswith((b'<!doctype', b'<html'))


def _archive_entries(path: Path, limits: Limits) -> Iterator[Entry]:
    with open(path, 'rb') as file:
        start = file.read(64)
    # By content: a name means little after a download.
    if start.startswith((b'PK\x03\x04', b'PK\x05\x06')):
        return _zip_entries(path, limits)
    if looks_like_web_page(start):
        raise ArchiveError(
            f"'{path}' is a web page, not an archive: the download failed. Delete it, and download "
            'by hand with a browser.'
        )
    for magic, kind in _FOREIGN.items():
        if start.startswith(magic):
            raise ArchiveError(f"'{path}' is {kind}: unpack it and give the folder.")
    return _tar_entries(path, limits)


def _guarded(entries: Iterator[Entry], path: Path, limits: Limits) -> Iterator[Entry]:
    """Apply the limits of every archive; what a header declares is checked before it is used."""
    size = path.stat().st_size
    seen: set[str] = set()
    total = 0
    for entry in entries:
        if entry.name in seen:
            raise _refused(path, entry.name, 'is in it twice')
        seen.add(entry.name)
        total += entry.size
        if len(seen) > limits.entries:
            raise _refused(path, entry.name, f'is one of more than {limits.entries:,} entries')
        if total > limits.total_bytes:
            raise _refused(path, entry.name, f'brings it to over {limits.total_bytes:,} bytes')
        if total > max(limits.ratio * size, limits.ratio_from_bytes):
            raise _refused(
                path,
                entry.name,
                f'expands it to over {limits.ratio} times its size, as a bomb does',
            )
        yield entry


def _zip_entries(path: Path, limits: Limits) -> Iterator[Entry]:
    with _damage(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _checked_name(path, info.orig_filename)  # filename ends at the first NUL
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where it was not made on Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(path, name, 'is a link or a device')
            if info.flag_bits & 1:
                raise _refused(path, name, 'is encrypted')
            if not info.is_dir():
                yield _entry(path, name, info.file_size, lambda i=info: archive.open(i), limits)


def _tar_entries(path: Path, limits: Limits) -> Iterator[Entry]:
    with _damage(path), _decompressed(path) as stream:
        bounded = _Bounded(stream, path, limits)
        with tarfile.open(fileobj=bounded, mode='r:') as archive:
            for info in archive:
                name = _checked_name(path, info.name)
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise _refused(path, name, 'is a link, a device or a sparse file')
                yield _entry(path, name, info.size, lambda i=info: archive.extractfile(i), limits)
        # tarfile takes anything that is not a header for the end; the true end is a block of zeros.
        if bounded.last != bytes(tarfile.BLOCKSIZE):
            raise ArchiveError(
                f"'{path}' ends in the middle: it is damaged or incomplete. Get it again."
            )


def _folder_entries(folder: Path, limits: Limits) -> Iterator[Entry]:
    visited: set[str] = set()  # links may lead in circles
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        for path in (Path(parent, name) for name in sorted(files)):
            if not path.is_file():
                raise ArchiveError(f"'{path}' is a broken link or not a regular file: remove it.")
            name = path.relative_to(folder).as_posix()
            yield _entry(folder, name, path.stat().st_size, lambda p=path: p.open('rb'), limits)


def _entry(
    source: Path, name: str, size: int, opener: Callable[[], BinaryIO], limits: Limits
) -> Entry:
    def read() -> bytes:
        if size > limits.file_bytes:
            raise _refused(source, name, f'has {size:,} bytes, over {limits.file_bytes:,}')
        with _damage(source, name), opener() as file:
            data = file.read(size + 1)
        if len(data) != size:
            raise _refused(source, name, f'has another size than the {size:,} bytes it declares')
        return data

    return Entry(name, size, read)


def _raise(error: OSError) -> None:
    raise error


def _checked_name(path: Path, raw: str) -> str:
    parts = [part for part in raw.split('/') if part not in ('', '.')]
    if '\0' in raw or '\\' in raw:
        raise _refused(path, raw, 'has a NUL or a backslash in its name')
    if raw.startswith('/') or re.match('[A-Za-z]:', raw):
        raise _refused(path, raw, 'has an absolute path')
    if '..' in parts:
        raise _refused(path, raw, "leads out of it by '..'")
    return '/'.join(parts)


def _refused(path: Path, name: str, reason: str) -> ArchiveError:
    return ArchiveError(
        f"'{path}' is refused, as its entry {name!r} {reason}. If you trust it, unpack it "
        'yourself and give the folder.'
    )


@contextlib.contextmanager
def _damage(path: Path, name: str = '') -> Iterator[None]:
    """Turn any error of the parsers in a damaged archive into one that names it."""
    try:
        yield
    except ArchiveError:
        raise
    except _DAMAGES as error:
        where = f', entry {name!r},' if name else ''
        raise ArchiveError(
            f"'{path}'{where} cannot be read as a zip or a tar; it is damaged, incomplete or "
            f'something else ({type(error).__name__}: {error}). Get it again, or give a folder.'
        ) from error


def _decompressed(path: Path) -> BinaryIO:
    with open(path, 'rb') as file:
        start = file.read(6)
    for magic, opener in ((b'\x1f\x8b', gzip.open), (b'BZh', bz2.open), (b'\xfd7zXZ\0', lzma.open)):
        if start.startswith(magic):
            return opener(path, 'rb')
    return open(path, 'rb')


class _Bounded:
    """A stream that refuses excessive reads.

    tarfile reads the long name of an entry into memory at once, whatever length it declares, and
    skips whatever size a header declares, which decompresses that much of a compressed stream.
    """

    def __init__(self, stream: BinaryIO, path: Path, limits: Limits) -> None:
        self.stream, self.path, self.limits = stream, path, limits
        self.last = b''

    def read(self, size: int) -> bytes:
        if size > self.limits.file_bytes + tarfile.BLOCKSIZE:
            raise ArchiveError(f"'{self.path}' is refused: a header asks for {size:,} bytes.")
        self.seek(self.stream.tell(), size)
        self.last = self.stream.read(size)
        return self.last

    def seek(self, position: int, ahead: int = 0) -> None:
        # Headers and padding: up to a few blocks for each file.
        limit = self.limits.total_bytes + self.limits.entries * 8 * tarfile.BLOCKSIZE
        if position + ahead > limit:
            raise ArchiveError(f"'{self.path}' is refused: it expands to over {limit:,} bytes.")
        if position != self.stream.tell():
            self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()
