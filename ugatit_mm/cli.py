"""The command ``ugatit``: one door to what the package and its tools do."""

import difflib
import importlib
import runpy
import sys

from .config import configs_dir

# Name: the module whose ``main`` it is, or None for tools/NAME.py; and what it does.
COMMANDS = {
    'translate': ('ugatit_mm.apis.translate', 'pictures, folders, videos: translate them'),
    'web': ('ugatit_mm.web', 'a page in your browser: drop a picture, see its translation'),
    'train': (None, "train on your own pictures, or the paper's"),
    'test': (None, 'translate a test set and measure the result'),
    'evaluate': ('ugatit_mm.evaluation.__main__', 'KID and FID of any two folders'),
    'report': ('ugatit_mm.apis.report', 'one HTML file about a training'),
    'export': ('ugatit_mm.export', 'a file for other programs: ONNX or TorchScript'),
    'demo': (None, 'train on pictures that come along, ten minutes on two cores'),
    'doctor': ('ugatit_mm.doctor', 'what is wrong with this environment, and what mends it'),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command, ``sys.argv[1:]`` by default, and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0
    name, *words = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f': is it {near[0]}?' if near else ''
        print(f'error: no command {name!r}{hint}\n\n{usage()}', file=sys.stderr)
        return 2
    module, _ = COMMANDS[name]
    before = sys.argv
    sys.argv = [f'ugatit {name}', *words]  # what help texts and errors call it
    try:
        if module:
            return importlib.import_module(module).main(words)
        # Configs and tools lie side by side, in the source tree as in the installed package.
        tool = runpy.run_path(str(configs_dir().parent / 'tools' / f'{name}.py'))
        return tool['main'](words)
    except KeyboardInterrupt:  # while a command is imported, or by one that has nothing to save
        print('interrupted', file=sys.stderr)
        return 130
    finally:
        sys.argv = before


def usage() -> str:
    """What ``ugatit --help`` prints."""
    lines = [f'  ugatit {name:10} {text}' for name, (_, text) in COMMANDS.items()]
    return '\n'.join(
        [
            'Pictures from one domain to another, and back: selfies to anime, daisies to',
            'sunflowers. U-GAT-IT, and what it was compared with, on MMagic.',
            '',
            *lines,
            '',
            '`ugatit COMMAND --help` tells more. To begin with: ugatit translate PICTURE.jpg',
        ]
    )


if __name__ == '__main__':
    sys.exit(main())
