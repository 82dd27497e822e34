"""Inspection of a file of weights before its objects are built, and of the result."""

import hashlib
import io
import os
import pickletools
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from ..messages import MAX_WORD
from ..provenance import update

# What the pickle of a checkpoint may name: tensors and plain data. torch's ``weights_only`` allows
# more, including arrays of any size without data.
NAMES = {
    'collections OrderedDict',
    'torch Size',
    'torch._utils _rebuild_parameter',
    'torch._utils _rebuild_tensor',  # of torch before 0.4
    'torch._utils _rebuild_tensor_v2',
    *(f'torch {kind}' for kind in ('bool', 'float16', 'bfloat16', 'float32', 'float64')),
    *(f'torch {kind}' for kind in ('uint8', 'int8', 'int16', 'int32', 'int64')),
    *(f'torch {kind}Storage' for kind in ('Bool', 'Half', 'BFloat16', 'Float', 'Double')),
    *(f'torch {kind}Storage' for kind in ('Byte', 'Char', 'Short', 'Int', 'Long')),
}
# What MMEngine's own checkpoints and official files also name: log histories, NumPy numbers, a
# program's options. An :class:`Omitted` replaces them, whatever the pickle asks.
HISTORY, ARRAY = 'mmengine.logging.history_buffer HistoryBuffer', 'numpy ndarray'
OPTIONS = 'argparse Namespace'
STATISTICS = ('current', 'max', 'mean', 'min')
OMITTED = {HISTORY, ARRAY, OPTIONS, 'numpy dtype', '__builtin__ bytes', '__builtin__ getattr'} | {
    f'numpy.{core}.multiarray {name}'
    for core in ('core', '_core')  # of NumPy 1 and 2
    for name in ('_reconstruct', 'scalar')
}
# Callables without arguments.
EMPTY = {('NEWOBJ', HISTORY), ('NEWOBJ', OPTIONS), ('REDUCE', '__builtin__ bytes')}
ENCODE = '_codecs encode'  # how a pickle writes bytes; torch has its own way
KINDS = 'biufcmMSU?'  # first letters of NumPy's dtypes that hold no addresses
REFUSED = {'STACK_GLOBAL', 'INST', 'OBJ', 'EXT1', 'EXT2', 'EXT4', 'DUP', 'FROZENSET'}
ARCHIVE = b'PK\x03\x04'
LEGACY_PICKLES = 5  # magic number, version, system, content, keys of the storages
LEAST = 4096  # bytes; a smaller file counts as this
MAX_TUPLE = 100_000  # elements, nested ones counted at each occurrence
MAX_NODES = 1000  # entries of a description
GAP = 1 << 16  # largest gap between two records of a torch.save file; usually a few bytes
MAX_CALL = 16  # arguments, and characters of one, that distinguish calls

_MARK = object()
_LOCK = threading.Lock()


class Omitted:
    """Placeholder for content that is not read: a log history, options, NumPy arrays or numbers."""

    __slots__ = ()

    def __new__(cls, *args: Any) -> 'Omitted':
        """Ignore all arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Ignore the state."""

    def __repr__(self) -> str:
        """Text for a log or page that shows a file's content."""
        return '<not read>'


class _Value(NamedTuple):
    """A value on a pickle's stack.

    Attributes:
        size: Number of elements, nested ones counted at each occurrence.
        what: The value of a name or a short text, the length of a longer text, and these of the
            elements of a short tuple.
    """

    size: int = 1
    what: Any = None


_PLAIN = _Value()  # does not distinguish calls


def load(path: str | os.PathLike, digest: 'hashlib._Hash | None' = None) -> Any:
    """Read a file of ``torch.save`` once, after inspecting the names in its pickles.

    Checksums are verified while torch reads.

    Args:
        path: The file.
        digest: Updated with all bytes of the file.

    Raises:
        ValueError: It is damaged, names what a checkpoint does not need, or is larger when
            unpacked.
        OSError: It cannot be read.
        RuntimeError: torch cannot read it.
    """
    with open(path, 'rb') as file:
        legacy = file.read(len(ARCHIVE)) != ARCHIVE  # torch's own criterion
        file.seek(0)
        if legacy:  # from torch before 1.6
            largest, names = max(os.path.getsize(path), LEAST), set()
            for number in range(LEGACY_PICKLES):
                names |= _check_pickle(file, largest if number else None)
            file.seek(0)
            content = _load(file, names)
            if digest is not None:
                update(digest, path)
            return content
    with _Archive(path, digest) as archive:
        names = archive.check()
        try:
            content = _load(archive, names)
        except Exception as error:
            if archive.fault is not None:  # torch ignored it
                raise archive.fault from error
            raise
        archive.finish()
        return content


def _load(file: BinaryIO, names: set[str]) -> Any:
    with _stand_ins(names):
        return torch.load(file, map_location='cpu', weights_only=True, mmap=False)


@contextmanager
def _stand_ins(names: set[str]) -> Iterator[None]:
    """Let torch build an :class:`Omitted` for content that is not read.

    torch has one global list of what it may build. Entries that others have added, such as
    :mod:`ugatit_mm.compat`, are removed meanwhile, since no name may be in it twice.
    """
    if names <= NAMES:
        yield
        return
    paths = (name.replace('__builtin__', 'builtins').replace(' ', '.') for name in OMITTED)
    with _LOCK:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([(Omitted, path) for path in paths])
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


class _Archive(io.FileIO):
    """An archive of ``torch.save``; each record's checksum is verified as torch reads it.

    Attributes:
        fault: Error of a record that was read. It is raised only after torch has finished: its
            reader tries another way of reading after an error.
    """

    def __init__(self, path: str | os.PathLike, digest: 'hashlib._Hash | None') -> None:
        super().__init__(path)
        self._digest = digest
        self._digested = 0  # bytes
        self.fault: ValueError | None = None
        self._size = os.fstat(self.fileno()).st_size
        self._records: dict[int, zipfile.ZipInfo] = {}  # by the position of their bytes
        self._places: set[int] = set()  # positions that were read

    def check(self) -> set[str]:
        """Check the list of records and the pickle, and seek back to the start.

        Returns:
            set: Names in the pickle.

        Raises:
            ValueError, OSError, RuntimeError: See :func:`load`.
        """
        with zipfile.ZipFile(self) as archive:
            entries = archive.infolist()
            names = {entry.filename.lower() for entry in entries}  # torch ignores case
            if len(names) < len(entries):
                raise ValueError('it has several entries of one name')
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError('it is compressed, which torch.save never does')
            pickles = [entry for entry in entries if entry.filename.endswith('.pkl')]
            if [entry.filename.split('/')[-1] for entry in pickles] != ['data.pkl']:
                raise ValueError('it has no data.pkl, or more than that')
            try:
                content = archive.read(pickles[0])
            except zipfile.BadZipFile as error:
                raise _damaged(pickles[0]) from error
        self.seek(0)
        reader: Any = torch._C.PyTorchFileReader(self)
        records = {entry.filename.partition('/')[2]: entry for entry in entries}
        # zipfile and torch may find different archives in one file.
        if (
            archive.start_dir not in self._places
            or sorted(reader.get_all_records()) != sorted(records)
            or reader.get_record('data.pkl') != content
        ):
            raise ValueError('it has two contents')
        self._records = {
            reader.get_record_offset(name): entry
            for name, entry in records.items()
            if entry.file_size
        }
        self._places.clear()
        self.seek(0)
        return _check_pickle(io.BytesIO(content))

    def readinto(self, buffer: Any) -> int:
        """Read the requested bytes, and verify them if they are a record."""
        place, view = self.tell(), memoryview(buffer)
        done = 0
        while more := super().readinto(view[done:]):  # a system call reads at most 2 GiB
            done += more
        if place + done == self._size:  # torch searches the list of records
            return done
        self._places.add(place)
        entry = self._records.get(place)
        if entry and not (done == entry.file_size and zlib.crc32(view) == entry.CRC):
            self.fault = self.fault or _damaged(entry)
        # torch reads the records in order, except those at the end.
        if entry and self._digest and 0 <= place - self._digested < GAP:
            self._digest_to(place, self._digest)
            self._digest.update(view)
            self._digested += done
        return done

    def finish(self) -> None:
        """Verify the records that torch did not read.

        Raises:
            ValueError: A record is damaged.
        """
        for place in sorted(self._records.keys() - self._places):
            self.seek(place)
            self.readinto(bytearray(self._records[place].file_size))
        if self.fault is not None:
            raise self.fault
        if self._digest:
            self._digest_to(self._size, self._digest)

    def _digest_to(self, place: int, digest: 'hashlib._Hash') -> None:
        self.seek(self._digested)
        while part := self.read(min(place - self._digested, 1 << 20)):
            digest.update(part)
            self._digested += len(part)


def _damaged(entry: zipfile.ZipInfo) -> ValueError:
    return ValueError(f'the checksum of {entry.filename!r} is wrong: the file is damaged')


def check_header(path: str | os.PathLike) -> None:
    """Check that a safetensors file has the header that it declares.

    Raises:
        ValueError: The header is longer than the file, or missing.
    """
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
    if not 2 <= length <= os.path.getsize(path) - 8:
        raise ValueError('it has no header')


def check_written(path: str | os.PathLike) -> None:
    """Check that :func:`load` can read all of a new file; checksums are not verified.

    Raises:
        TypeError: Something in it is neither a tensor nor plain data.
    """
    content = torch._C.PyTorchFileReader(os.fspath(path)).get_record('data.pkl')
    try:
        _check_pickle(io.BytesIO(content), omitting=False)
    except ValueError as error:
        raise TypeError(f'{path} could not be read again: {error}') from error


def _check_pickle(file: BinaryIO, largest: int | None = None, omitting: bool = True) -> set[str]:
    """Check the names in a pickle and the sizes of its tuples, whose hash visits all elements.

    Args:
        file: Read from its position to the end of the pickle.
        largest: Largest integer allowed: legacy files request memory by integers.
        omitting: Allow names of content that is not read.

    Returns:
        set: The names.

    Raises:
        ValueError: See :func:`load`.
    """
    allowed = NAMES | OMITTED | {ENCODE} if omitting else NAMES
    names: set[str] = set()
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    encoded = 0  # characters of texts that are converted to bytes
    operations: Iterator[tuple[Any, Any, Any]] = pickletools.genops(file)
    for operation, argument, place in operations:
        name = operation.name
        if name in REFUSED:
            raise ValueError(f'it has the operation {name}, which torch.save does not use')
        if name == 'GLOBAL':
            if argument not in allowed:
                raise ValueError(
                    f'it names {argument[:100]!r}, which is neither a tensor nor plain data; if '
                    'you trust it, save only its weights'
                )
            names.add(argument)
        if largest and type(argument) is int and 'GET' not in name and abs(argument) > largest:
            raise ValueError('it has a number that is larger than the file')
        try:
            if 'PUT' in name or name == 'MEMOIZE':
                memo[len(memo) if argument is None else int(argument)] = stack[-1]
            elif 'GET' in name:
                stack.append(memo[int(argument)])
            else:
                if name in ('REDUCE', 'NEWOBJ'):
                    encoded += _check_call(name, stack[-2].what, stack[-1].what)
                    if encoded > place:  # a text that is converted repeatedly
                        raise ValueError('it has more bytes than it holds')
                _follow(operation, argument, stack)
        except (AttributeError, IndexError, KeyError) as error:
            raise ValueError('its pickle is damaged') from error
    return names


def _check_call(operation: str, function: Any, arguments: Any) -> int:
    """Check that callables other than a tensor's are called as in MMEngine's checkpoints.

    Returns:
        int: Characters of a text that is converted to bytes.

    Raises:
        ValueError: It is called in another way.
    """
    if arguments == () and (operation, function) in EMPTY:
        return 0
    match function, arguments:
        case '_codecs encode', (str() | int() as text, 'latin1') if operation == 'REDUCE':
            return text if isinstance(text, int) else len(text)
        case 'numpy dtype', (str(kind), _, _) if kind[:1] in KINDS:
            return 0
        case '__builtin__ getattr', (owner, name) if owner == HISTORY and name in STATISTICS:
            return 0
        case str(), (owner, _, _) if owner == ARRAY and function.endswith(' _reconstruct'):
            return 0
        case str(), (_, _) if function.endswith(' scalar'):
            return 0
    if function in OMITTED or function == ENCODE:
        raise ValueError(f'it calls {function!r} as torch.save never does')
    return 0


def _follow(operation: pickletools.OpcodeInfo, argument: Any, stack: list[Any]) -> None:
    """Apply an operation to the stack of descriptions, as it changes the stack of values."""
    before = operation.stack_before
    taken: list[_Value] = []
    if pickletools.stackslice in before:
        while (top := stack.pop()) is not _MARK:
            taken.append(top)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    for kept in operation.stack_after:
        value: Any = _PLAIN
        if kept is pickletools.markobject:
            value = _MARK
        elif 'TUPLE' in operation.name:
            value = _tuple(taken[::-1])
        elif isinstance(argument, str):
            short = len(argument) <= MAX_CALL or operation.name == 'GLOBAL'
            value = _Value(1, argument if short else len(argument))
        stack.append(value)


def _tuple(elements: list[_Value]) -> _Value:
    size = 1 + sum(element.size for element in elements)
    if size > MAX_TUPLE:
        raise ValueError(f'it has a tuple of more than {MAX_TUPLE} elements')
    if len(elements) > MAX_CALL:
        return _Value(size)
    # Without the content of nested tuples, which does not distinguish calls.
    return _Value(size, tuple(None if type(e.what) is tuple else e.what for e in elements))


def check_tensors(content: Any, size: int) -> None:
    """Check that tensors take no more memory than the file's size, even when copied.

    Args:
        content: Nested containers.
        size: Size of the file in bytes.

    Raises:
        ValueError: They take more, or are sparse or quantised.
    """
    storages: dict[int, int] = {}
    total = 0
    for value in walk(content):
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.is_quantized:
                raise ValueError('it holds a sparse or quantised tensor')
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            total += value.nbytes
    for needed in (total, sum(storages.values())):
        if needed > size:
            raise ValueError(f'its tensors take {needed} bytes, the file has {size}')


def walk(content: Any) -> Iterable[Any]:
    """Yield everything in nested containers, once each."""
    seen, waiting = set(), [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        waiting += _parts(value)


def _parts(value: Any) -> Iterable[Any]:
    """Return the content of a container; empty for any other value."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, (list, tuple, set)) else ()


def check_plain(content: Any, what: str) -> None:
    """Check that a description from a file is small enough to be compared, copied and shown.

    Raises:
        ValueError: It is not a dict, or has too many or too long entries.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f'{what} must be a dict, got {type(content).__name__}')
    waiting, nodes = [content], 0
    while waiting:
        value = waiting.pop()
        nodes += 1  # shared values count each time, as they are shown each time
        if nodes > MAX_NODES:
            raise ValueError(f'{what} has more than {MAX_NODES} entries')
        if isinstance(value, str) and len(value) > MAX_WORD:
            raise ValueError(f'{what} has a word of {len(value)} characters')
        if isinstance(value, int) and abs(value) > 10**12:
            raise ValueError(f'{what} has a number of more than 12 digits')
        waiting += _parts(value)
