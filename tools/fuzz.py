"""Feed mutated files to the readers of weights and pictures: `python tools/fuzz.py checkpoints`.

Each input goes to a process with a memory limit. An input that cannot be read must raise the
documented error, which names the file, within the time limit. On any other outcome (another
exception, a crash, a hang) the input is saved in a folder; --again FILE tries it again.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from PIL import Image
from safetensors.torch import save

from ugatit_mm.apis.loading import load_model
from ugatit_mm.converters import CheckpointError, describe, to_official
from ugatit_mm.datasets.loading import ImageReadError, decode_rgb
from ugatit_mm.models import UGATIT

Seeds = list[tuple[str, bytes]]  # suffix and content

WORDS = {
    'checkpoints': [
        *(b'R', b'b', b'(', b't', b'}', b']', b')', b'.', b'Q', b'0', b's', b'u', b'a', b'e', b'N'),
        *(b'\x81', b'\x85', b'\x86', b'\x87', b'\x8a\x08', b'\x8f', b'\x93', b'\x80\x02'),
        *(b'h\0', b'q\0', b'K\0', b'j\0\0\0\0', b'r\0\0\0\0', b'X\xff\xff\xff\x7f'),
        *(b'cbuiltins\neval\n', b'cbuiltins\ngetattr\n', b'cbuiltins\nbytearray\n'),
        *(b'c__builtin__\ngetattr\n', b'c__builtin__\nbytes\n', b'X\x03\0\0\0hex'),
        *(b'ctorch\nTensor\n', b'ctorch\nSize\n', b'ctorch\nFloatStorage\n'),
        *(b'ctorch._utils\n_rebuild_tensor_v2\n', b'ctorch._utils\n_rebuild_sparse_tensor\n'),
        *(b'cnumpy\ndtype\n', b'cnumpy\nndarray\n', b'cnumpy.core.multiarray\n_reconstruct\n'),
        *(b'c_codecs\nencode\n', b'ccollections\nOrderedDict\n', b'iposix\nsystem\n'),
        *(b'state_dict', b'networks', b'base_channels', b'storage', b'PK\x03\x04', b'PK\x05\x06'),
        *(b'"data_offsets":[0,0]', b'"shape":[1099511627776]', b'"dtype":"F64"', b'__metadata__'),
    ],
    'pictures': [
        *(b'IHDR', b'PLTE', b'IDAT', b'IEND', b'tRNS', b'iCCP', b'zTXt', b'eXIf', b'acTL', b'fdAT'),
        *(
            b'\xff\xd8',
            b'\xff\xda',
            b'\xff\xc0',
            b'\xff\xc2',
            b'\xff\xc4',
            b'\xff\xdb',
            b'\xff\xe1',
        ),
        *(b'GIF89a', b'!\xf9\x04', b'!\xff\x0b', b',\0\0\0\0', b'RIFF', b'WEBP', b'VP8 ', b'VP8L'),
        *(b'II*\0', b'MM\0*', b'BM', b'P6\n', b'P4\n', b'Exif\0\0'),
    ],
}
NUMBERS = [
    struct.pack(kind, value) for kind in ('<I', '>I') for value in (0, 1, 2**31 - 1, 2**32 - 1)
]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('what', choices=WORDS, help='what the files hold')
    parser.add_argument('--minutes', type=float, default=10, help='length of the run (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the mutations (%(default)s)')
    parser.add_argument('--out', default='fuzz', help='folder for failed inputs (%(default)s)')
    parser.add_argument(
        '--seconds', type=float, default=20, help='time limit of an input (%(default)s)'
    )
    parser.add_argument(
        '--memory', type=int, default=1024, help='memory limit of an input in MiB (%(default)s)'
    )
    parser.add_argument('--again', metavar='FILE', help='try only this file')
    return parser.parse_args(argv)


# -- seeds ---------------------------------------------------------------------------------------


def seeds_of_checkpoints() -> Seeds:
    torch.manual_seed(0)
    generator = dict(type='UGATITGenerator', base_channels=2, num_blocks=1, img_size=32, light=True)
    state = UGATIT(generator).state_dict()  # discriminators take most of the time to build
    content = {'state_dict': state, 'meta': {'networks': describe(state), 'iter': 3}}
    # What else a training saves: moments, log history.
    optimizer = {'state': {0: {'exp_avg': torch.zeros(4)}}, 'param_groups': [{'lr': 1e-4}]}
    hub = {'log_scalars': {'loss': [torch.ones(3), torch.ones(3)]}, 'runtime_info': {'iter': 3}}
    training = content | {'optimizer': {'generators': optimizer}, 'message_hub': hub}
    hub = {'log_scalars': {'loss': HistoryBuffer([0.5], [1])}, 'best_score': np.float64(3)}
    mmengines = content | {'message_hub': hub}
    seeds = []
    for value in (content, training, mmengines, dict(state)):
        for new in (True, False) if value is not mmengines else (True,):
            file = io.BytesIO()
            torch.save(value, file, _use_new_zipfile_serialization=new)
            seeds.append(('.pth', file.getvalue()))
    # As official programs write them, and people share them.
    networks = to_official(UGATIT(generator, recipe='pytorch').state_dict())
    shared = {name: {f'module.{k}': v for k, v in one.items()} for name, one in networks.items()}
    file = io.BytesIO()
    torch.save(shared | {'epoch': 3, 'G_optim': optimizer}, file)
    seeds.append(('.pt', file.getvalue()))
    meta = {'ugatit': json.dumps(content['meta'])}
    flat = {f'{name}.{key}': v for name, one in networks.items() for key, v in one.items()}
    for tensors, header in ((state, meta), (flat, None)):
        tensors = {key: v.contiguous() for key, v in tensors.items()}
        seeds.append(('.safetensors', save(tensors, header)))
    return seeds


def seeds_of_pictures() -> Seeds:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (23, 17, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, Image.Image, dict]] = [
        ('PNG', colour, {}),
        ('PNG', colour.convert('RGBA'), {}),
        ('PNG', colour.convert('P'), {'transparency': 3}),
        ('PNG', Image.fromarray(rng.integers(0, 2**16, (9, 9)).astype(np.uint16)), {}),
        ('PNG', colour, {'save_all': True, 'append_images': [colour.rotate(9)]}),
        ('JPEG', colour, {'exif': exif}),
        ('JPEG', colour, {'progressive': True}),
        ('JPEG', colour.convert('CMYK'), {}),
        ('GIF', colour, {'save_all': True, 'append_images': [colour.rotate(9)]}),
        ('BMP', colour, {}),
        ('BMP', colour.convert('P'), {}),
        ('PPM', colour, {}),
        ('PPM', colour.convert('1'), {}),
        *(('TIFF', colour, {'compression': f'tiff_{c}'}) for c in ('lzw', 'deflate', 'jpeg')),
        ('TIFF', Image.fromarray(rng.random((9, 9)).astype(np.float32)), {}),
        ('WEBP', colour, {}),
        ('WEBP', colour.convert('RGBA'), {'lossless': True}),
    ]
    seeds = []
    for kind, image, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        seeds.append((f'.{kind.lower()}', file.getvalue()))
    return seeds


# -- mutations -----------------------------------------------------------------------------------


def mutate(data: bytes, other: bytes, words: list[bytes], draw: random.Random) -> bytes:
    """Change a file in up to eight places."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        size = len(changed)
        if not size:
            break
        # Headers matter more than pixels and weights.
        place = draw.randrange(min(size, draw.choice((64, 512, 4096, size))))
        length = draw.randrange(1, 64)
        kind = draw.randrange(8)
        if kind == 0:
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[place] = draw.randrange(256)
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:  # a copy of a part, elsewhere
            start = draw.randrange(size)
            changed[place:place] = changed[start : start + length]
        elif kind == 4:  # a part of another file
            start = draw.randrange(len(other))
            changed[place : place + length] = other[start : start + length]
        elif kind == 5:
            word = draw.choice((draw.choice(words), draw.choice(NUMBERS)))
            changed[place : place + draw.choice((0, len(word)))] = word
        elif kind == 6:
            changed[place : place + 4] = draw.choice(NUMBERS)
        elif draw.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def mutated(what: str, seeds: Seeds, draw: random.Random) -> tuple[str, bytes]:
    """Make an input: its suffix and content."""
    suffix, data = draw.choice(seeds)
    _, other = draw.choice(seeds)
    words = WORDS[what]
    if data[:2] == b'PK' and draw.random() < 0.7:  # inside, so that the checksums are right
        return suffix, _rewritten(data, other, words, draw)
    if suffix == '.safetensors' and draw.random() < 0.7:
        head = 8 + struct.unpack('<Q', data[:8])[0]
        changed = mutate(data[8:head], other, words, draw)
        return suffix, struct.pack('<Q', len(changed)) + changed + data[head:]
    return suffix, mutate(data, other, words, draw)


def _rewritten(data: bytes, other: bytes, words: list[bytes], draw: random.Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, 'w') as target:
        names = source.namelist()
        chosen = draw.choice(
            (next(name for name in names if name.endswith('.pkl')),) * 9 + (*names,)
        )
        for name in names:
            content = source.read(name)
            if name == chosen:
                content = mutate(content or b'\0', other, words, draw)
            target.writestr(name, content)
    return file.getvalue()


# -- trying them ---------------------------------------------------------------------------------


def try_checkpoint(path: Path) -> str:
    """``'read'`` or ``'refused'``; any other exception is a finding."""
    try:
        load_model(path, device='cpu')
    except (CheckpointError, FileNotFoundError) as error:
        _check_message(path, error)
        return 'refused'
    return 'read'


def try_picture(path: Path) -> str:
    try:
        decoded = decode_rgb(path.read_bytes(), str(path))
    except ImageReadError as error:
        _check_message(path, error)
        return 'refused'
    if decoded.dtype != np.uint8 or decoded.ndim != 3 or decoded.shape[2] != 3:
        raise RuntimeError(f'{decoded.dtype} {decoded.shape} is not a picture')
    return 'read'


def _check_message(path: Path, error: Exception) -> None:
    message = str(error)
    if path.name not in message or '\n' in message or len(message) > 2000:
        raise RuntimeError(f'a message that does not name the file in one line: {message[:500]}')


TRY: dict[str, Callable[[Path], str]] = {'checkpoints': try_checkpoint, 'pictures': try_picture}
SEEDS: dict[str, Callable[[], Seeds]] = {
    'checkpoints': seeds_of_checkpoints,
    'pictures': seeds_of_pictures,
}


def serve(what: str, memory: int, connection: Connection) -> None:
    """Try the files whose paths are received, until ``None`` is."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    with open('/proc/self/statm') as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory * 2**20, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # decoders written in C print there
        os.dup2(nothing, number)
    while (path := connection.recv()) is not None:
        try:
            connection.send(TRY[what](path))
        except BaseException as error:
            connection.send(f'{type(error).__name__}: {str(error)[:300]}')


class Reader:
    """The process that tries files, restarted after a crash or a hang."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.process: multiprocessing.Process | None = None

    def __call__(self, path: Path) -> str:
        """``'read'``, ``'refused'``, or what is wrong."""
        if self.process is None:
            context = multiprocessing.get_context('fork')
            self.connection, theirs = context.Pipe()
            words = (self.args.what, self.args.memory, theirs)
            self.process = context.Process(target=serve, args=words, daemon=True)
            self.process.start()
            theirs.close()
        self.connection.send(path)
        if not self.connection.poll(self.args.seconds):
            self.end()
            return f'hung: no answer in {self.args.seconds:g} s'
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            self.end()
            return f'crashed: exit code {code}'

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    reader = Reader(args)
    try:
        if args.again:
            answer = reader(Path(args.again))
            print(answer)
            return int(answer not in ('read', 'refused'))
        return fuzz(args, reader)
    finally:
        reader.end()


def fuzz(args: argparse.Namespace, reader: Reader) -> int:
    """Try inputs for the time that the arguments set; return 1 if there was a finding."""
    seeds = SEEDS[args.what]()
    draw = random.Random(args.seed)
    answers: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, (suffix, data) in enumerate(seeds):
            path = Path(folder, f'seed{number}{suffix}')
            path.write_bytes(data)
            if (answer := reader(path)) != 'read':
                print(f'error: seed {number}, which is a valid file: {answer}', file=sys.stderr)
                return 1
        start = time.monotonic()
        while time.monotonic() - start < 60 * args.minutes:
            suffix, data = mutated(args.what, seeds, draw)
            path = Path(folder, f'input{suffix}')
            path.write_bytes(data)
            before = time.monotonic()
            answer = reader(path)
            slowest = max(slowest, time.monotonic() - before)
            if answer in ('read', 'refused'):
                answers[answer] += 1
                continue
            answers['wrong'] += 1
            kind = answer[:60]
            kinds[kind] += 1
            if kinds[kind] <= 3:  # a few of each kind
                out = Path(args.out)
                out.mkdir(parents=True, exist_ok=True)
                name = f'{args.what}_{args.seed}_{sum(answers.values())}{suffix}'
                (out / name).write_bytes(data)
                print(f'{out / name}: {answer}', flush=True)
    total = sum(answers.values())
    print(
        f'{total} {args.what} in {time.monotonic() - start:.0f} s, seed {args.seed}: '
        f'{answers["read"]} read, {answers["refused"]} refused, {answers["wrong"]} wrong; '
        f'the slowest took {slowest:.2f} s'
    )
    for kind, count in kinds.most_common():
        print(f'  {count} {kind}')
    return int(answers['wrong'] > 0)


if __name__ == '__main__':
    sys.exit(main())
