"""The command ``ugatit``: the entry point of all that the package and its tools do.

Only the standard library is imported here: a command's module is imported when it is called.
"""

import contextlib
import difflib
import gc
import importlib
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .version import __version__

# Name: the module, or the tool, whose ``main`` it is, and what it does, under headings.
COMMANDS = {
    'Use': {
        'translate': ('ugatit_mm.apis.translate', 'pictures, folders, videos: translate them'),
        'web': ('ugatit_mm.web', 'a page in your browser: drop a picture, see its translation'),
        'export': ('ugatit_mm.export', 'a file for other programs: ONNX or TorchScript'),
        'publish': ('tools/model_converters/publish_model.py', 'a slim file of weights to share'),
    },
    'Train': {
        'train': ('tools/train.py', "train on your own pictures, or the paper's"),
        'test': ('tools/test.py', 'translate a test set and measure the result'),
        'report': ('ugatit_mm.apis.report', 'one HTML file about a training'),
        'evaluate': ('ugatit_mm.evaluation.__main__', 'KID and FID of any two folders'),
        'demo': ('tools/demo.py', 'train on bundled pictures, ten minutes on two cores'),
    },
    'Data': {
        'check': ('tools/dataset_converters/check.py', 'what is wrong with a data set'),
        'prepare': ('tools/dataset_converters/prepare.py', "the paper's data sets, from archives"),
        'faces': ('tools/dataset_converters/make_faces.py', 'cut faces out of photographs'),
        'drawings': ('tools/dataset_converters/make_drawings.py', 'drawings of photographs'),
    },
    'Compare': {
        'paper': ('tools/run_paper.py', "train and measure the paper's tables, or all models"),
        'table': ('tools/analysis/paper_table.py', 'the table of what was measured'),
        'compare': ('tools/analysis/compare_folders.py', 'results of several models in a sheet'),
        'study': ('tools/user_study.py', 'ask people which results they prefer'),
    },
    'More': {
        'convert': ('', 'official weights to ours, and back: convert PROGRAM --help'),
        'doctor': ('ugatit_mm.doctor', 'what is wrong with this environment, and what fixes it'),
    },
}
ALL = {name: where for group in COMMANDS.values() for name, (where, _) in group.items()}
CONVERTERS = (
    *('aggan', 'cartoongan', 'cyclegan', 'drit', 'munit', 'ugatit_pytorch', 'ugatit_tensorflow'),
    *('unit', 'vgg19'),
)
"""Programs whose weights ``ugatit convert`` reads, by their files in ``tools/model_converters``."""


def main(argv: list[str] | None = None) -> int:
    """Run a command, ``sys.argv[1:]`` by default, and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0
    if argv[0] in ('-V', '--version', 'version'):
        print(f'ugatit_mm {__version__}, Python {sys.version.split()[0]}')
        return 0
    name, *words = argv
    if name not in ALL:
        return unknown('command', name, ALL, usage())
    where = ALL[name]
    if name == 'convert':
        if not words or words[0] in ('-h', '--help'):
            print(usage_of_convert())
            return 0
        program, *words = words
        if program not in CONVERTERS:
            return unknown('program', program, CONVERTERS, usage_of_convert())
        where, name = f'tools/model_converters/{program}.py', f'convert {program}'
    before = sys.argv, sys.path[:]
    sys.argv = [f'ugatit {name}', *words]  # what help texts and errors call it
    try:
        try:
            with uncollected():
                run = find(where)
        except ImportError as error:
            print(f'error: {error} (`ugatit doctor` names the fix)', file=sys.stderr)
            return 1
        return run(words)
    except KeyboardInterrupt:  # while a command is imported, or by one that has nothing to save
        print('interrupted', file=sys.stderr)
        return 130
    finally:
        sys.argv, sys.path[:] = before


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away from what is imported here.

    It is half a million objects that stay. The collector would look through them again and again,
    while they are made and when Python ends: a quarter of the CPU time of ``ugatit train --help``.
    """
    first, enabled = 'torch' not in sys.modules, gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if first:  # in a process that had torch, objects of its own would stay, too
            gc.freeze()
        if enabled:
            gc.enable()


def find(where: str) -> Callable[[list[str]], int]:
    """Import a command, a module or a tool, and return its ``main``."""
    if not where.endswith('.py'):
        return importlib.import_module(where).main
    file = root() / where
    sys.path.insert(0, os.fspath(file.parent))  # as Python does for a script
    return runpy.run_path(os.fspath(file))['main']


def root() -> Path:
    """The folder that has ``configs`` and ``tools``: the source tree, or a part of the package."""
    package = Path(__file__).resolve().parent
    carried = package / '.mim'
    return carried if carried.is_dir() else package.parent


def unknown(kind: str, name: str, known: object, text: str) -> int:
    """Print that there is no such command, and the nearest; return the exit code."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f': did you mean {near[0]}?' if near else ''
    print(f'error: no {kind} {name!r}{hint}\n\n{text}', file=sys.stderr)
    return 2


def usage() -> str:
    """What ``ugatit --help`` prints."""
    lines = []
    for heading, commands in COMMANDS.items():
        lines += ['', f'{heading}:']
        lines += [f'  ugatit {name:10} {text}' for name, (_, text) in commands.items()]
    return '\n'.join(
        [
            'Pictures from one domain to another, and back: selfies to anime, daisies to',
            'sunflowers. U-GAT-IT, and the six models it was compared with, on MMagic.',
            *lines,
            '',
            '`ugatit COMMAND --help` says more. To begin with: ugatit translate PICTURE.jpg',
        ]
    )


def usage_of_convert() -> str:
    """What ``ugatit convert`` prints."""
    return (
        'usage: ugatit convert PROGRAM SOURCE TARGET [options]\n\n'
        f'PROGRAM is one of {", ".join(CONVERTERS)}.\n'
        '`ugatit convert PROGRAM --help` says more. `ugatit translate --ckpt SOURCE` reads most\n'
        'official files as they are.'
    )


if __name__ == '__main__':
    sys.exit(main())
