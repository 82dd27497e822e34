"""Looking at a file of weights before anything in it is built, and at what came out of it."""

import os
import pickletools
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..messages import MAX_WORD

# What the pickle of a checkpoint may name: tensors and plain data. torch allows more to
# ``weights_only``; among it are arrays of any size out of nothing.
NAMES = {
    'collections OrderedDict',
    'torch Size',
    'torch._utils _rebuild_parameter',
    'torch._utils _rebuild_tensor_v2',
    *(f'torch {kind}' for kind in ('bool', 'float16', 'bfloat16', 'float32', 'float64')),
    *(f'torch {kind}' for kind in ('uint8', 'int8', 'int16', 'int32', 'int64')),
    *(f'torch {kind}Storage' for kind in ('Bool', 'Half', 'BFloat16', 'Float', 'Double')),
    *(f'torch {kind}Storage' for kind in ('Byte', 'Char', 'Short', 'Int', 'Long')),
}
REFUSED = {'STACK_GLOBAL', 'INST', 'OBJ', 'EXT1', 'EXT2', 'EXT4', 'DUP', 'FROZENSET'}
LEGACY_PICKLES = 5  # magic number, version, system, content, keys of the storages
LEAST = 4096  # bytes that a file counts for at least
MAX_TUPLE = 100_000  # elements, those inside counted as often as they are met
MAX_NODES = 1000  # of a description

_MARK = object()


def check_file(path: str | os.PathLike) -> None:
    """Compare the checksums of a file of ``torch.save``, and look at what its pickles name.

    Raises:
        ValueError: It is damaged, names what no checkpoint needs, or is larger when unpacked.
        OSError: It cannot be read.
        RuntimeError: torch cannot read it.
    """
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\x03\x04':  # as torch tells
            file.seek(0)
            largest = max(os.path.getsize(path), LEAST)
            for number in range(LEGACY_PICKLES):  # of torch before 1.6
                _check_pickle(file, largest if number else None)
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = {entry.filename.lower() for entry in entries}  # torch does not mind the case
            if len(names) < len(entries):
                raise ValueError('it has several entries of one name')
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError('it is compressed, which torch.save never does')
            if (bad := archive.testzip()) is not None:
                raise ValueError(f'the checksum of {bad!r} is wrong: the file is damaged')
            pickles = [entry for entry in entries if entry.filename.endswith('.pkl')]
            if [entry.filename.split('/')[-1] for entry in pickles] != ['data.pkl']:
                raise ValueError('it has no data.pkl, or more than that')
            content = archive.read(pickles[0])
    # The two readers may find different archives in one file.
    if torch._C.PyTorchFileReader(os.fspath(path)).get_record('data.pkl') != content:
        raise ValueError('it has two contents')
    _check_pickle(BytesIO(content))


def check_header(path: str | os.PathLike) -> None:
    """See that a file of safetensors has the header that it says it has.

    Raises:
        ValueError: The header is longer than the file, or not there.
    """
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
    if not 2 <= length <= os.path.getsize(path) - 8:
        raise ValueError('it has no header')


def check_written(path: str | os.PathLike) -> None:
    """See that :func:`check_file` will take what was just written, without its checksums.

    Raises:
        TypeError: Something in it is neither a tensor nor plain data.
    """
    content = torch._C.PyTorchFileReader(os.fspath(path)).get_record('data.pkl')
    try:
        _check_pickle(BytesIO(content))
    except ValueError as error:
        raise TypeError(f'{path} could not be read again: {error}') from error


def _check_pickle(file: BinaryIO, largest: int | None = None) -> None:
    """Look at the names in a pickle, and at the sizes of its tuples, whose hash walks all of them.

    Args:
        file: Read from where it stands to the end of the pickle.
        largest: No integer may be larger: legacy files ask for memory by them.

    Raises:
        ValueError: See :func:`check_file`.
    """
    stack: list[Any] = []  # sizes of what the pickle has on its stack
    memo: dict[int, int] = {}
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name in REFUSED:
            raise ValueError(f'it has the operation {name}, which torch.save does not use')
        if name == 'GLOBAL' and argument not in NAMES:
            raise ValueError(
                f'it names {argument[:100]!r}, which is no tensor or plain data; if you trust it, '
                'save its weights alone'
            )
        if largest and type(argument) is int and 'GET' not in name and abs(argument) > largest:
            raise ValueError('it has a number that is larger than the file')
        try:
            if 'PUT' in name or name == 'MEMOIZE':
                memo[len(memo) if argument is None else int(argument)] = stack[-1]
            elif 'GET' in name:
                stack.append(memo[int(argument)])
            else:
                _follow(operation, stack)
        except (IndexError, KeyError) as error:
            raise ValueError('its pickle is damaged') from error


def _follow(operation: pickletools.OpcodeInfo, stack: list[Any]) -> None:
    """Do to the stack of sizes what an operation does to that of values."""
    before = operation.stack_before
    taken: list[int] = []
    if pickletools.stackslice in before:
        while (top := stack.pop()) is not _MARK:
            taken.append(top)
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        taken.append(stack.pop())
    for kept in operation.stack_after:
        size = 1
        if kept is pickletools.markobject:
            size = _MARK
        elif 'TUPLE' in operation.name:
            size += sum(taken)
            if size > MAX_TUPLE:
                raise ValueError(f'it has a tuple of more than {MAX_TUPLE} elements')
        stack.append(size)


def check_tensors(content: Any, size: int) -> None:
    """See that tensors take no more memory than the file has, also when they are copied.

    Args:
        content: Nested data.
        size: Of the file, bytes.

    Raises:
        ValueError: They take more, or are of a kind that no weight is.
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
    """What a container holds; nothing of anything else."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, (list, tuple, set)) else ()


def check_plain(content: Any, what: str) -> None:
    """See that a description from a file is small enough to be compared, copied and shown.

    Raises:
        ValueError: It is no dict, or has too many or too long words.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f'{what} must be a dict, got {type(content).__name__}')
    waiting, nodes = [content], 0
    while waiting:
        value = waiting.pop()
        nodes += 1  # what is met twice counts twice, as it is shown twice
        if nodes > MAX_NODES:
            raise ValueError(f'{what} has more than {MAX_NODES} entries')
        if isinstance(value, str) and len(value) > MAX_WORD:
            raise ValueError(f'{what} has a word of {len(value)} characters')
        if isinstance(value, int) and abs(value) > 10**12:
            raise ValueError(f'{what} has a number of more than 12 digits')
        waiting += _parts(value)
