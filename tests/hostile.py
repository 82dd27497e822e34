"""Files of weights that nobody should trust, and a place to open them in.

A pickle is a program of a small stack machine; here it is written by hand, opcode by opcode, as no
careful program would write it. Names of attacks are the keys of ``CODE``, ``MEMORY``, ``BROKEN``
and ``CONTENT``; their values write a file.
"""

import io
import json
import marshal
import os
import pickle
import resource
import select
import signal
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

MIB = 1 << 20
Write = Callable[[Path], None]

# -- opening them --------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """Outcome of a call in its own process.

    Attributes:
        value: What it returned, if that is a number or a list; else its type's name.
        error: Names of its exception's class and of all that this inherits, '' if it returned.
        message: Of the exception.
        printed: What went to stdout and stderr.
        memory: MiB that the process took at most, above those at its start.
        ended: 'well', 'hung' (over the time), or the signal that killed it.
        greedy: It asked for more memory than it was allowed.
    """

    value: Any
    error: tuple[str, ...]
    message: str
    printed: str
    memory: float
    ended: str
    greedy: bool


def contained(
    function: Callable, *args: Any, seconds: float = 60, allowed: int = 512, **options: Any
) -> Outcome:
    """Call a function in a fork of this process, which may crash, hang and eat memory.

    Args:
        function: Called there; what it changes in memory stays there.
        args: For it.
        seconds: After which it has hung.
        allowed: MiB of addresses that it may take in addition to this process's.
        options: For it.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            limit = 1024 * _status('VmSize') + allowed * MIB
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with os.fdopen(writing, 'wb') as pipe:
                pipe.write(_called(function, args, options))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    answer, end = b'', time.monotonic() + seconds
    with os.fdopen(reading, 'rb', buffering=0) as pipe:
        while select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
            if not (part := pipe.read(1 << 16)):
                break
            answer += part
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome(None, (), '', '', 0, 'hung', False)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) or not answer:
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else 'crashed'
        return Outcome(None, (), '', '', 0, name, False)
    return Outcome(*pickle.loads(answer))


def _called(function: Callable, args: tuple, options: dict) -> bytes:
    value, error, message, greedy = None, (), '', False
    before, of_files, printed = _status('VmRSS'), _status('RssFile'), io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            value = function(*args, **options)
    except BaseException as caught:
        error = tuple(kind.__name__ for kind in type(caught).__mro__)
        message = str(caught)
        while caught is not None:
            greedy |= isinstance(caught, MemoryError) or 'allocate memory' in str(caught)
            caught = caught.__cause__ or caught.__context__
    greedy |= 'allocate memory' in printed.getvalue() or 'MemoryError' in printed.getvalue()
    # Except libraries' pages, which a fork maps again when it reads them.
    memory = (_status('VmHWM') - before - (_status('RssFile') - of_files)) / 1024
    rest = (error, message, printed.getvalue(), memory, 'well', greedy)
    if not isinstance(value, (int, list)):
        value = type(value).__name__
    return pickle.dumps((value, *rest))


def _status(name: str) -> int:
    """A number of this process from the kernel, in KiB."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f'{name}:'))


# -- pickles by hand -----------------------------------------------------------------------------


def name(module: str, of: str) -> bytes:
    return f'c{module}\n{of}\n'.encode()


def text(words: str) -> bytes:
    data = words.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b'\x8a' + bytes([len(data)]) + data


def several(*parts: bytes) -> bytes:
    return b'(' + b''.join(parts) + b't'


def call(module: str, of: str, *parts: bytes) -> bytes:
    return name(module, of) + several(*parts) + b'R'


def table(**entries: bytes) -> bytes:
    return b'}' + b''.join(text(key) + value + b's' for key, value in entries.items())


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b'\x80' + bytes([protocol]) + body + b'.'


def storage(count: int, key: str = '0') -> bytes:
    """A storage of so many float32, of the archive's entry ``data/KEY``."""
    kind = name('torch', 'FloatStorage')
    return several(text('storage'), kind, text(key), text('cpu'), number(count)) + b'Q'


def _legacy_storage(count: int) -> bytes:
    kind = name('torch', 'FloatStorage')
    parts = (text('storage'), kind, text('0'), text('cpu'), number(count), b'N')
    return several(*parts) + b'Q'


def tensor(store: bytes, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    shapes = [several(*map(number, numbers)) for numbers in (shape, strides)]
    hooks = call('collections', 'OrderedDict')
    return call('torch._utils', '_rebuild_tensor_v2', store, number(0), *shapes, b'\x89', hooks)


def archive(
    path: Path,
    data: bytes,
    entries: dict[str, bytes] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> None:
    """``torch.save``'s format."""
    records = {'data.pkl': data, 'byteorder': b'little', 'version': b'3\n'} | (entries or {})
    with zipfile.ZipFile(path, 'w', method, compresslevel=1) as file:
        for key, value in records.items():
            file.writestr(f'archive/{key}', value)


def legacy(path: Path, data: bytes) -> None:
    """The format before torch 1.6: pickles one after the other."""
    magic, protocol = 0x1950A86A20F9469CFC6C, 1001
    system = {'protocol_version': protocol, 'little_endian': True, 'type_sizes': {}}
    head = b''.join(pickle.dumps(part, 2) for part in (magic, protocol, system))
    path.write_bytes(head + data + pickle.dumps([], 2))


def legacy_and_archive(path: Path, data: bytes) -> None:
    """torch looks at a file's beginning, Python's zipfile at its end."""
    legacy(path, data)
    end = path.with_name(f'{path.name}.end')
    archive(end, pickled(table(state_dict=b'}')))
    path.write_bytes(path.read_bytes() + end.read_bytes())
    end.unlink()


def two_directories(path: Path, data: bytes) -> None:
    """Python takes the directory right before the end's record, torch the one it points to."""
    parts = []
    for content in (data, pickled(table(state_dict=b'}'))):
        archive(path, content)
        whole = path.read_bytes()
        end = whole.rindex(b'PK\x05\x06')
        start = struct.unpack('<I', whole[end + 16 : end + 20])[0]
        parts.append((whole[:end], whole[end:], start))
    (bad, end, start), (good, _, other_start) = parts
    # Python adds to all offsets what the directory lies after the place that the record names.
    path.write_bytes(bad + _shifted(good, start - other_start) + end)


def _shifted(archive_start: bytes, by: int) -> bytes:
    """The entries and directory of an archive, all offsets moved."""
    start = archive_start.index(b'PK\x01\x02')
    directory, place = bytearray(archive_start[start:]), 0
    while place < len(directory):
        offset = struct.unpack_from('<I', directory, place + 42)[0]
        struct.pack_into('<I', directory, place + 42, offset + by)
        name_length, extra, comment = struct.unpack_from('<HHH', directory, place + 28)
        place += 46 + name_length + extra + comment
    return archive_start[:start] + bytes(directory)


def two_names(path: Path, data: bytes) -> None:
    """torch's reader ignores the case of letters."""
    with zipfile.ZipFile(path, 'w') as file:
        for key in ('DATA.PKL', 'data.pkl'):
            good = pickled(table(state_dict=b'}'))
            file.writestr(f'archive/{key}', data if key == 'DATA.PKL' else good)
        file.writestr('archive/version', '3\n')


def tar(path: Path, data: bytes) -> None:
    """The format before torch 0.1.11."""
    with tarfile.open(path, 'w') as file:
        for key in ('storages', 'tensors', 'pickle'):
            content = data if key == 'pickle' else pickle.dumps(0, 2) + pickle.dumps([], 2)
            entry = tarfile.TarInfo(key)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))


# -- code ----------------------------------------------------------------------------------------


def canary(path: Path) -> Path:
    """What appears where the code of the file ``path`` was run."""
    return path.with_name(f'{path.name}.ran')


def _word(path: Path) -> str:
    return f'open({str(canary(path))!r}, "w").close()'


def _shell(path: Path) -> str:
    return f': > "{canary(path)}"'


def _eval(path: Path) -> bytes:
    return call('builtins', 'eval', text(_word(path)))


def _getattr(path: Path) -> bytes:
    imported = call('builtins', '__import__', text('os'))
    system = call('builtins', 'getattr', imported, text('system'))
    return system + several(text(_shell(path))) + b'R'


HISTORY = name('mmengine.logging.history_buffer', 'HistoryBuffer')


def _history(path: Path, builtins: str = 'builtins') -> bytes:
    """``HistoryBuffer.mean.__globals__['__builtins__']['eval']``, as a checkpoint has the first."""
    value = HISTORY
    for attribute in ('mean', '__globals__'):
        value = call(builtins, 'getattr', value, text(attribute))
    for key in ('__builtins__', 'eval'):
        get = call(builtins, 'getattr', value, text('__getitem__'))
        value = get + several(text(key)) + b'R'
    return value + several(text(_word(path))) + b'R'


def _as_bytes(data: bytes) -> bytes:
    return call('_codecs', 'encode', text(data.decode('latin1')), text('latin1'))


def _marshal(path: Path) -> bytes:
    code = call('marshal', 'loads', _as_bytes(marshal.dumps(compile(_word(path), 'x', 'exec'))))
    scope = call('builtins', 'globals')
    return call('types', 'FunctionType', code, scope) + b')R'


def _partial(path: Path) -> bytes:
    """``__setstate__`` of a partial gives it another function, which is then called."""
    value = call('functools', 'partial', name('builtins', 'print'))
    arguments = several(text(_word(path)))
    state = several(name('builtins', 'eval'), arguments, b'}', b'}')
    return value + state + b'b' + b')R'


def _config(path: Path) -> bytes:
    """MMEngine's own entry point to code; a dotted name needs protocol 4."""
    words = f'import os\nx = {_word(path)}\n'
    parts = text('mmengine.config') + text('Config.fromstring') + b'\x93'
    return parts + several(text(words), text('.py')) + b'R'


def _inner(path: Path) -> bytes:
    """A pickle in the pickle."""
    return _as_bytes(pickled(_eval(path)))


def _inner_archive(path: Path) -> bytes:
    """``torch.load`` in ``torch.load``."""
    inner = path.with_name(f'{path.name}.inner')
    legacy(inner, pickled(_eval(path)))
    data = inner.read_bytes()
    inner.unlink()
    return call('torch.storage', '_load_from_bytes', _as_bytes(data))


def _in(format: Callable, body: Callable[[Path], bytes], protocol: int = 2) -> Write:
    return lambda path: format(path, pickled(body(path), protocol))


BODIES: dict[str, Callable[[Path], bytes]] = {
    'os.system': lambda path: call('os', 'system', text(_shell(path))),
    'posix.system': lambda path: call('posix', 'system', text(_shell(path))),
    'eval': _eval,
    'exec': lambda path: call('builtins', 'exec', text(_word(path))),
    'eval by its old name': lambda path: call('__builtin__', 'eval', text(_word(path))),
    'getattr': _getattr,
    'getattr of what is allowed': _history,
    'getattr as MMEngine writes it': lambda path: _history(path, '__builtin__'),
    'subprocess': lambda path: call('subprocess', 'getoutput', text(_shell(path))),
    'timeit': lambda path: call('timeit', 'timeit', text(_word(path)), text(''), *_TIMES),
    'runstring': lambda path: call(
        'numpy.testing._private.utils', 'runstring', text(_word(path)), b'}'
    ),
    'marshal': _marshal,
    'a partial with another state': _partial,
    'pickle.loads': lambda path: call('pickle', 'loads', _inner(path)),
    'torch.load': _inner_archive,
    'INST': lambda path: b'(' + text(_word(path)) + b'ibuiltins\neval\n',
    'OBJ': lambda path: b'(' + name('builtins', 'eval') + text(_word(path)) + b'o',
    'in state_dict': lambda path: table(state_dict=table(weight=_eval(path))),
    'in meta': lambda path: table(state_dict=b'}', meta=table(cfg=_eval(path))),
    'in optimizer': lambda path: table(state_dict=b'}', optimizer=table(state=_eval(path))),
    'in message_hub': lambda path: table(state_dict=b'}', message_hub=table(x=_eval(path))),
    'as a key': lambda path: b'}' + several(_eval(path)) + b'Ns',
    'in a storage': lambda path: several(text('storage'), _eval(path), text('0')) + b'Q',
}
_TIMES = (name('time', 'perf_counter'), number(1))

CODE: dict[str, Write] = {key: _in(archive, body) for key, body in BODIES.items()} | {
    'STACK_GLOBAL': _in(
        archive,
        lambda path: text('builtins') + text('eval') + b'\x93' + several(text(_word(path))) + b'R',
        4,
    ),
    'a config': _in(archive, _config, 4),
    'without an archive': _in(lambda path, data: path.write_bytes(data), _eval),
    'legacy': _in(legacy, _eval),
    'legacy, in state_dict': _in(legacy, BODIES['in state_dict']),
    'legacy, an archive after it': _in(legacy_and_archive, _eval),
    'two directories': _in(two_directories, _eval),
    'legacy tar': _in(tar, _eval),
    'deflated': _in(
        lambda path, data: archive(path, data, method=zipfile.ZIP_DEFLATED), BODIES['in meta']
    ),
}
"""Who unpickles these without care runs their code: a file appears, see :func:`canary`."""

# -- memory and time -----------------------------------------------------------------------------


def _in_meta(value: bytes) -> bytes:
    return pickled(table(state_dict=b'}', meta=table(x=value)))


def _laughs(levels: int = 40, tuples: bool = False) -> bytes:
    """Ten references to ten references to ...: small here, 10 ** levels when it is written out."""
    body = b')' if tuples else b']'
    for level in range(levels):
        put, get = (code + struct.pack('<I', level) for code in (b'r', b'j'))
        start, end = (b'(', b't') if tuples else (b'](', b'e')
        body = start + body + put + 9 * get + end
    return body


def _doubled(times: int = 36) -> bytes:
    value = _as_bytes(b'x' * 16)
    for _ in range(times):
        value = call('_codecs', 'encode', value, text('hex'))
    return value


def _again(times: int = 2000) -> bytes:
    """One text of 1 MiB that becomes as many bytes, each time again."""
    kept = text('x' * MIB) + b'q\x00'
    encoded = call('_codecs', 'encode', b'h\x00', text('latin1'))
    return b']' + several(kept, *[encoded] * times) + b'a'


def _array(shape: int, kind: str = 'f8', of: bytes = name('numpy', 'ndarray')) -> bytes:
    """As NumPy writes it; its bytes are not there."""
    state = several(number(3), text('<'), b'N', b'N', b'N', number(-1), number(-1), number(0))
    dtype = call('numpy', 'dtype', text(kind), b'\x89', b'\x88') + state + b'b'
    made = call(
        'numpy.core.multiarray', '_reconstruct', of, several(number(shape)), _as_bytes(b'b')
    )
    none = call('__builtin__', 'bytes')
    return made + several(number(1), several(number(shape)), dtype, b'\x89', none) + b'b'


def _nested(levels: int) -> bytes:
    return b')' + levels * b'\x85'


def _zeros(path: Path, size: int = 150 * MIB) -> None:
    """An entry that is a thousand times larger when it is read."""
    weight = tensor(storage(size // 4), (size // 4,), (1,))
    data = pickled(table(state_dict=table(weight=weight)))
    archive(path, data, {'data/0': bytes(size)}, zipfile.ZIP_DEFLATED)


def _long_text(path: Path, size: int = 150 * MIB) -> None:
    data = pickled(table(state_dict=b'}', meta=table(x=text('x' * size))))
    archive(path, data, method=zipfile.ZIP_DEFLATED)


def _one_for_all(path: Path, count: int = 2000) -> None:
    """A storage of 1 MiB that 2,000 weights share."""
    numbers = MIB // 4
    weights = {f'w{i}': tensor(storage(numbers), (numbers,), (1,)) for i in range(count)}
    data = pickled(table(state_dict=table(**weights)))
    archive(path, data, {'data/0': bytes(MIB)})


def _weight(
    store: bytes, shape: tuple[int, ...], strides: tuple[int, ...], held: int = 16
) -> Write:
    data = pickled(table(state_dict=table(weight=tensor(store, shape, strides))))
    return lambda path: archive(path, data, {'data/0': bytes(held)})


def _dtype(path: Path, kind: str, flags: int) -> None:
    """An array of addresses that NumPy takes for objects: it follows them, wherever they lead."""
    field = several(call('numpy', 'dtype', text('O')), number(0))
    shape = (number(8), number(1), number(flags))
    state = several(number(3), text('|'), b'N', several(text('a')), table(a=field), *shape)
    dtype = call('numpy', 'dtype', text(kind), b'\x89', b'\x88') + state + b'b'
    array = call(
        'numpy.core.multiarray',
        '_reconstruct',
        name('numpy', 'ndarray'),
        several(number(0)),
        _as_bytes(b'b'),
    )
    data = _as_bytes(b'AAAAAAAA')
    array += several(number(1), several(number(1)), dtype, b'\x89', data) + b'b'
    archive(path, _in_meta(array))


def _sparse_file(path: Path) -> None:
    with open(path, 'wb') as file:
        file.truncate(20_000 * MIB)


MEMORY: dict[str, Write] = {
    'bytearray of 10 TB': lambda path: archive(
        path, _in_meta(call('builtins', 'bytearray', number(10**13)))
    ),
    'bytearray of 2 GB': lambda path: archive(
        path, _in_meta(call('builtins', 'bytearray', number(2 * 10**9)))
    ),
    'torch.Tensor': lambda path: archive(path, _in_meta(call('torch', 'Tensor', number(10**10)))),
    'FloatTensor': lambda path: archive(
        path, _in_meta(call('torch', 'FloatTensor', number(10**10)))
    ),
    'UntypedStorage': lambda path: archive(
        path, _in_meta(call('torch.storage', 'UntypedStorage', number(10**10)))
    ),
    **{
        f'bytearray, {kind.__name__}': lambda path, kind=kind: kind(
            path, _in_meta(call('builtins', 'bytearray', number(2 * 10**9)))
        )
        for kind in (legacy, legacy_and_archive, two_directories, two_names)
    },
    'legacy, a storage beyond the file': lambda path: legacy(
        path, pickled(table(state_dict=table(w=tensor(_legacy_storage(10**10), (1,), (1,)))))
    ),
    'ndarray': lambda path: archive(
        path, _in_meta(call('numpy', 'ndarray', several(number(10**10)), text('f8')))
    ),
    'a history of a huge argument': lambda path: archive(
        path, _in_meta(HISTORY + several(number(10**10)) + b'R')
    ),
    'a history made with a huge argument': lambda path: archive(
        path, _in_meta(HISTORY + several(number(10**10)) + b'\x81')
    ),
    'bytes of 10 GB': lambda path: archive(
        path, _in_meta(call('__builtin__', 'bytes', number(10**10)))
    ),
    'an array of something else': lambda path: archive(
        path, _in_meta(_array(10**10, of=name('torch', 'FloatStorage')))
    ),
    'an array of objects': lambda path: archive(path, _in_meta(_array(10**10, 'O'))),
    'one text as many bytes': lambda path: archive(path, _in_meta(_again())),
    'doubled text': lambda path: archive(path, _in_meta(_doubled())),
    'laughs as a key': lambda path: archive(path, pickled(b'}' + _laughs(tuples=True) + b'Ns')),
    'laughs in a set': lambda path: archive(
        path, _in_meta(call('builtins', 'set', b']' + _laughs(tuples=True) + b'a'))
    ),
    'a storage beyond its entry': _weight(storage(10**11), (10**11,), (1,)),
    'a storage a little beyond its entry': _weight(storage(10**5), (10**5,), (1,)),
    'a tensor beyond its storage': _weight(storage(4), (10**5,), (1,)),
    'strides that spread one number': _weight(storage(4), (10**6, 10**6), (0, 0)),
    'one storage for all': _one_for_all,
    'a deflated storage': _zeros,
    'a deflated text': _long_text,
    'an array of addresses': lambda path: _dtype(path, 'V8', 1),
    'an array of hidden addresses': lambda path: _dtype(path, 'f8', 0),
    'a file of 20 GB with nothing in it': _sparse_file,
}
"""Each asks for much more memory or time than a file of its size should, or for others' memory."""

NOTHING: dict[str, Write] = {
    'an array of 80 GB': lambda path: archive(path, _in_meta(_array(10**10))),
    'a number of 10 GB': lambda path: archive(
        path,
        _in_meta(
            call(
                'numpy.core.multiarray',
                'scalar',
                call('numpy', 'dtype', text('S9999999999'), b'\x89', b'\x88'),
                _as_bytes(b'x'),
            )
        ),
    ),
    'a history with its own state': lambda path: archive(
        path,
        _in_meta(HISTORY + b')\x81' + table(_history=_array(10**10), __class__=HISTORY) + b'b'),
    ),
    'a statistic with a state': lambda path: archive(
        path,
        _in_meta(call('__builtin__', 'getattr', HISTORY, text('mean')) + table(x=b'N') + b'b'),
    ),
    'a history as a key': lambda path: archive(path, pickled(b'}' + HISTORY + b')\x81' + b'Ns')),
}
"""Like what MMEngine and NumPy write, and read: nothing is made of it, whatever it asks for."""

# -- broken files --------------------------------------------------------------------------------


def _safetensors(header: bytes | dict, data: bytes = b'', length: int | None = None) -> Write:
    head = json.dumps(header).encode() if isinstance(header, dict) else header
    length = len(head) if length is None else length
    return lambda path: path.write_bytes(struct.pack('<Q', length) + head + data)


def _entry(start: int, end: int, shape: tuple[int, ...] = (4,), dtype: str = 'F32') -> dict:
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [start, end]}


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(path))


def _two_pickles(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as file:
        for data in (table(state_dict=b'}'), _eval(path)):
            file.writestr('archive/data.pkl', pickled(data))
        file.writestr('archive/version', '3\n')


def _only(**records: bytes) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, 'w') as file:
            for key, value in records.items():
                file.writestr(key, value)

    return write


BROKEN: dict[str, Write] = {
    'empty': lambda path: path.write_bytes(b''),
    'one byte': lambda path: path.write_bytes(b'\x80'),
    'words': lambda path: path.write_text('<!DOCTYPE html><title>404</title>'),
    'a folder': lambda path: path.mkdir(),
    'a pipe': os.mkfifo,
    'a link to nothing': lambda path: path.symlink_to('nowhere'),
    'a link to itself': lambda path: path.symlink_to(path.name),
    'a device': lambda path: path.symlink_to('/dev/zero'),
    'an archive of nothing': _only(),
    'an archive of something else': _only(**{'word/document.xml': b'<xml/>'}),
    'TorchScript': _script,
    'two pickles': _two_pickles,
    'a pickle that ends early': lambda path: archive(path, b'\x80\x02}'),
    'a pickle that pops from nothing': lambda path: archive(path, b'\x80\x020000.'),
    'a pickle of unknown words': lambda path: archive(path, b'\x80\x02\xff\xfe.'),
    'a pickle that remembers nothing': lambda path: archive(path, b'\x80\x02h\x07.'),
    'a text that is not UTF-8': lambda path: archive(path, b'\x80\x02X\x02\x00\x00\x00\xff\xff.'),
    'a text longer than the file': lambda path: archive(path, b'\x80\x02X\xff\xff\xff\x7fabc.'),
    'a list for a call': lambda path: archive(path, pickled(b'])R')),
    'a number as arguments': lambda path: archive(
        path, pickled(name('collections', 'OrderedDict') + b'K\x01R')
    ),
    'a state of the wrong kind': lambda path: archive(
        path, pickled(call('collections', 'OrderedDict') + b'K\x01b')
    ),
    'a key that cannot be one': lambda path: archive(path, pickled(b'}]Ns')),
    'a tensor without its entry': lambda path: archive(
        path, pickled(table(state_dict=table(w=tensor(storage(4, '../../x'), (4,), (1,)))))
    ),
    'a tensor of a negative size': _weight(storage(4), (-4,), (1,)),
    'a tensor of negative strides': _weight(storage(4), (2, 2), (-1, -1)),
    'sizes that overflow': _weight(storage(4), (2**40, 2**40), (1, 1)),
    'nested deep': lambda path: archive(path, pickled(_nested(10**5))),
    'marks without end': lambda path: archive(path, pickled(b'(' * 10**5)),
    'a list': lambda path: torch.save([torch.zeros(2)], path),
    'a tensor': lambda path: torch.save(torch.zeros(2), path),
}
"""Not checkpoints: every reader has to say so."""

SAFETENSORS: dict[str, Write] = {
    'empty': lambda path: path.write_bytes(b''),
    'seven bytes': lambda path: path.write_bytes(bytes(7)),
    'a header longer than the file': _safetensors(b'{}', length=1000),
    'a header of 2 ** 63 bytes': _safetensors(b'{}', length=2**63),
    'a header of 100 MB': _safetensors(b'{' + b' ' * 1000, length=10**8 + 1),
    'a header that is not JSON': _safetensors(b'{"a":'),
    'a header that is a list': _safetensors(b'[1]'),
    'a header nested deep': _safetensors(b'{"a":' + b'[' * 10**5),
    'overlapping': _safetensors({'a': _entry(0, 16), 'b': _entry(8, 24)}, bytes(24)),
    'a hole': _safetensors({'a': _entry(0, 16), 'b': _entry(32, 48)}, bytes(48)),
    'negative offsets': _safetensors({'a': _entry(-16, 0)}, bytes(16)),
    'backwards': _safetensors({'a': _entry(16, 0)}, bytes(16)),
    'beyond the file': _safetensors({'a': _entry(0, 10**12, (10**12 // 4,))}, bytes(16)),
    'sizes that overflow': _safetensors({'a': _entry(0, 16, (2**40, 2**40))}, bytes(16)),
    'of an unknown kind': _safetensors({'a': _entry(0, 16, dtype='OBJECT')}, bytes(16)),
    'a description that is not JSON': _safetensors({'__metadata__': {'ugatit': '{'}}),
    'a description that is a list': _safetensors({'__metadata__': {'ugatit': '[1]'}}),
    'a description nested deep': _safetensors({'__metadata__': {'ugatit': '[' * 10**5}}),
    'a description of a long number': _safetensors({'__metadata__': {'ugatit': '9' * 10**5}}),
    'a description that is not text': _safetensors({'__metadata__': {'ugatit': 3}}),
    'a pickle': CODE['eval'],
    'a folder': lambda path: path.mkdir(),
    'a pipe': os.mkfifo,
}
"""Not safetensors files."""

# -- what can be read and is not a model -----------------------------------------------------------

State = dict[str, Any]
Change = Callable[[State, dict[str, Any]], Any]


def _states(value: Any) -> Change:
    """Every weight replaced by ``value``, or by its result for the weight."""
    return lambda state, networks: {
        'state_dict': {k: value(v) if callable(value) else value for k, v in state.items()},
        'meta': {'networks': networks},
    }


def _described(part: str, **fields: Any) -> Change:
    return lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks | {part: networks.get(part, {}) | fields}},
    }


def _meta(**fields: Any) -> Change:
    return lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks} | fields,
    }


def _one(value: Callable[[torch.Tensor], Any]) -> Change:
    """A single weight replaced."""

    def change(state: State, networks: dict) -> dict:
        key = 'generators.A.encoder.0.conv.weight'
        return {'state_dict': state | {key: value(state[key])}, 'meta': {'networks': networks}}

    return change


def laughing(levels: int = 40) -> list:
    value: list = []
    for _ in range(levels):
        value = [value] * 10
    return value


CONTENT: dict[str, Change] = {
    'nothing': lambda state, networks: {},
    'state_dict is a list': lambda state, networks: {'state_dict': list(state.values())},
    'state_dict is a number': lambda state, networks: {'state_dict': 3},
    'state_dict is a weight': lambda state, networks: {'state_dict': torch.zeros(3)},
    'state_dict is None': lambda state, networks: {'state_dict': None},
    'keys are numbers': lambda state, networks: {'state_dict': dict(enumerate(state.values()))},
    'keys are bytes': lambda state, networks: {
        'state_dict': {k.encode(): v for k, v in state.items()}
    },
    'weights are words': _states('generators'),
    'weights are numbers': _states(1.5),
    'weights are lists': _states([1.0]),
    'weights are integers': _states(lambda w: w.long()),
    'weights are booleans': _states(lambda w: w > 0),
    'weights are complex': _states(lambda w: w.to(torch.complex64)),
    'weights are sparse': _states(lambda w: w.to_sparse()),
    'weights are on no device': _states(lambda w: w.to('meta')),
    'weights are quantised': _states(
        lambda w: torch.quantize_per_tensor(w.contiguous(), 0.1, 0, torch.qint8)
    ),
    'weights are NaN': _states(lambda w: w * float('nan')),
    'a weight is NaN': _one(lambda w: w.clone().fill_(float('nan'))),
    'a weight is infinite': _one(lambda w: w.clone().fill_(float('inf'))),
    'a weight is of another shape': _one(lambda w: w[:, :1]),
    'a weight is a scalar': _one(lambda w: w.sum()),
    'a weight is empty': _one(lambda w: w[:0]),
    'a weight is sparse': _one(lambda w: w.to_sparse()),
    'a weight is on no device': _one(lambda w: w.to('meta')),
    'a weight is missing': lambda state, networks: {'state_dict': dict(list(state.items())[1:])},
    'a weight too many': lambda state, networks: {
        'state_dict': state | {'generators.A.more': torch.zeros(1)}
    },
    'a weight whose name has control characters': lambda state, networks: {
        'state_dict': state | {'generators.A.two\nlines, \x1b[31mred\u202e': torch.zeros(1)}
    },
    'a weight whose name has 10 MB': lambda state, networks: {
        'state_dict': state | {f'generators.{"x" * 10**7}': torch.zeros(1)}
    },
    'a weight of NaN whose name has control characters': lambda state, networks: {
        'state_dict': state | {'generators.\x1b[2J\r': torch.full((1,), float('nan'))}
    },
    'networks is a list': _meta(networks=[1]),
    'networks is a word': _meta(networks='generator'),
    'networks laughs': _meta(networks=laughing()),
    'the generator is a list': _meta(networks={'generator': [1, 2]}),
    'a billion channels': _described('generator', base_channels=10**9),
    'a thousand channels': _described('generator', base_channels=1024),
    'a negative number of blocks': _described('generator', num_blocks=-1),
    'blocks beyond an integer': _described('generator', num_blocks=10**400),
    'a picture of a billion pixels': _described('generator', img_size=10**9, light=False),
    'channels that laugh': _described('generator', base_channels=laughing()),
    'layers that laugh': _described('discriminator', num_layers=laughing()),
    'a kind that laughs': _described('generator', type=laughing()),
    'a field that laughs': _described('generator', norm=laughing()),
    'a word of 10 MB as a field': _described('generator', norm='x' * 10**7),
    'a field whose name has 10 MB': _described('generator', **{'x' * 10**7: 1}),
    'a path as a field': _described(
        'generator', init_cfg={'type': 'Pretrained', 'checkpoint': '/'}
    ),
    'another model': _meta(networks={'type': 'CycleGAN'}),
    'a model that is any class': _meta(networks={'type': 'torch.nn.Linear', 'in_features': 10**9}),
    'a model that laughs': _meta(networks={'type': laughing()}),
    'a model whose name has control characters': _meta(networks={'type': '\x1b[2J\n'}),
    'a field that no model has': lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks | {'compile': {'backend': 'x'}}},
    },
    'targets that laugh': lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks | {'targets': laughing()}},
    },
    'another class': _described('generator', type='EncoderDecoder'),
    'a recipe that is a list': _meta(networks={'recipe': ['x']}),
    'domains that are numbers': lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks | {'domains': {'A': 1, 'B': 2}}},
    },
    'domains that lead out': lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks | {'domains': {'A': '../../x', 'B': '/etc'}}},
    },
    'domains that laugh': lambda state, networks: {
        'state_dict': state,
        'meta': {'networks': networks | {'domains': {'A': laughing(), 'B': 'b'}}},
    },
}
"""Contents that ``torch.save`` writes and that make no model, from its weights and networks."""


def spread_model(state: State, networks: dict[str, Any], path: Path) -> None:
    """Weights of a model with 1,024 channels (70 GB), each one number that is spread."""
    from ugatit_mm.models import UGATITGenerator

    wide = networks['generator'] | {'base_channels': 1024, 'num_blocks': 64}
    with torch.device('meta'):
        shapes = UGATITGenerator(recipe=networks['recipe'], **wide).state_dict()
    one = torch.zeros(1)
    spread = {
        f'generators.{d}.{key}': one.expand(value.shape)
        for d in 'AB'
        for key, value in shapes.items()
    }
    described = {'recipe': networks['recipe'], 'generator': wide}
    torch.save({'state_dict': spread, 'meta': {'networks': described}}, path)


# -- arrays of the TensorFlow converter ----------------------------------------------------------


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return eval, (_word(self.path),)


def _npz(**members: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for key, value in members.items():
                file.writestr(f'{key}.npy', value)

    return write


def _npy(header: str, data: bytes = b'', length: int | None = None) -> bytes:
    head = header.encode('latin1') + b'\n'
    size = len(head) if length is None else length
    return b'\x93NUMPY\x02\x00' + struct.pack('<I', size) + head + data


def _objects(path: Path) -> None:
    np.savez(path, **{'generator_A/x/kernel': np.array([_Runs(path)], dtype=object)})


_PLAIN = "{{'descr': {0!r}, 'fortran_order': False, 'shape': {1}, }}"
ARRAYS: dict[str, Write] = {
    'objects': _objects,
    'objects, said to be numbers': _npz(x=_npy(_PLAIN.format('O', (1,)), b'cbuiltins\neval\n')),
    'a shape beyond the file': _npz(x=_npy(_PLAIN.format('<f4', (10**11,)), bytes(16))),
    'a negative shape': _npz(x=_npy(_PLAIN.format('<f4', (-1,)), bytes(16))),
    'a header that is code': _npz(x=_npy("__import__('os').system('true')")),
    'a header nested deep': _npz(x=_npy('(' * 10**5)),
    'a header longer than the file': _npz(x=_npy(_PLAIN.format('<f4', (1,)), length=10**9)),
    'deflated zeros': _npz(x=_npy(_PLAIN.format('<f4', (40 * MIB,)), bytes(160 * MIB))),
    'no arrays': _only(**{'x.txt': b'x'}),
    'an array that is not an array': _npz(x=b'hello'),
    'words': lambda path: path.write_text('words'),
    'empty': lambda path: path.write_bytes(b''),
    'a pickle': lambda path: path.write_bytes(pickled(_eval(path))),
    'a pipe': os.mkfifo,
}
"""For ``read_variables``."""
