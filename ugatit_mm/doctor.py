"""``python -m ugatit_mm.doctor``: what is wrong in the environment, and the command that fixes it.

It runs where ``import ugatit_mm`` fails: only the standard library is imported here, and heavy
packages in a separate process, whose crash is a line of the report. Exit code 1 when a line is
wrong.
"""

import argparse
import configparser
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
except ImportError:  # one of the packages to report on; pip carries its own copy
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.specifiers import SpecifierSet

from .compat import installed

PACKAGE = 'ugatit_mm'
PIP = f'{sys.executable} -m pip'
SETUP_CFG = Path(__file__).resolve().parents[1] / 'setup.cfg'

_TORCH = """
import json, torch, torchvision
torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps(dict(
    torch=torch.__version__, torchvision=torchvision.__version__, cuda=torch.version.cuda,
    gpus=[f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB' for gpu in gpus])))
"""
_IMPORT = """
import json, time
start = time.perf_counter()
import ugatit_mm, {module}
print(json.dumps(round(time.perf_counter() - start, 1)))
"""


@dataclass(frozen=True)
class Line:
    """One line of the report; ``fix``, the command to run, is empty where nothing is wrong."""

    name: str
    found: str
    wanted: str
    fix: str = ''


def examine() -> list[Line]:
    """Run every check, the quick ones first."""
    python, requirements = declared()
    lines = [check_python(python)]
    lines += [check_package(requirement) for requirement in requirements]
    lines += check_mmcv()
    lines += check_opencv()
    lines += check_torch()
    lines += check_imports()
    return lines


def main(argv: Sequence[str] = ()) -> int:
    """Print the report; 0 when all is well, 1 when something is wrong."""
    parser = argparse.ArgumentParser(
        description='Compare the installed packages with what ugatit_mm needs, try the imports, '
        'and say what fixes each thing that is wrong.'
    )
    parser.parse_args(argv)
    print(f'{PACKAGE}: checking {sys.prefix}', flush=True)
    lines = examine()
    print(table(lines))
    wrong = [line for line in lines if line.fix]
    if not wrong:
        print('\nAll is well.')
        return 0
    print(f'\n{len(wrong)} wrong:')
    for line in wrong:
        print(f'  {line.name}: found {line.found}, wanted {line.wanted}\n    {line.fix}')
    return 1


def table(lines: Iterable[Line]) -> str:
    """The report as aligned text, wrong lines marked."""
    rows = [('', 'what', 'found', 'wanted')]
    rows += [('WRONG' if x.fix else 'ok', x.name, x.found, x.wanted) for x in lines]
    widths = [min(max(len(row[i]) for row in rows), 40) for i in range(3)]
    return '\n'.join(
        '  '.join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]).rstrip()
        for row in rows
    )


# -- what is declared ----------------------------------------------------------------------------


def declared() -> tuple[str, list[Requirement]]:
    """The Python range and the requirements of ugatit_mm, without its extras.

    Read from ``setup.cfg`` in a source tree, whose installed metadata may be older, and from the
    metadata elsewhere.

    Raises:
        SystemExit: neither is there.
    """
    setup = configparser.ConfigParser()
    setup.read(SETUP_CFG, encoding='utf-8')
    if setup.get('metadata', 'name', fallback=None) == PACKAGE:
        python = setup['options']['python_requires']
        texts = setup['options']['install_requires'].strip().splitlines()
    else:
        try:
            metadata = importlib.metadata.metadata(PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(
                f'{PACKAGE} is neither installed nor run from its source tree ({SETUP_CFG}): its '
                f'requirements are unknown. Install it with: {PIP} install {PACKAGE}'
            ) from None
        python = metadata['Requires-Python'] or ''
        texts = metadata.get_all('Requires-Dist') or []
    requirements = [Requirement(text) for text in texts]
    return python, [r for r in requirements if r.marker is None or r.marker.evaluate({'extra': ''})]


# -- the checks ----------------------------------------------------------------------------------


def check_python(wanted: str) -> Line:
    """The running Python against the declared range."""
    version = platform.python_version()
    fix = ''
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        fix = f'Make an environment with a Python {wanted}: python3.12 -m venv .venv'
    return Line('Python', version, wanted, fix)


def check_package(requirement: Requirement) -> Line:
    """One requirement against what is installed; full mmcv may replace mmcv-lite."""
    name, version = requirement.name, installed(requirement.name)
    if version is None and name == 'mmcv-lite' and (version := installed('mmcv')):
        name = 'mmcv'
    fix = f"{PIP} install '{name}{requirement.specifier}'"
    if version and requirement.specifier.contains(version, prereleases=True):
        fix = ''
    return Line(name, version or 'not installed', str(requirement.specifier), fix)


def check_mmcv() -> list[Line]:
    """Both flavours of mmcv write to the same folder: of two versions, one is half overwritten."""
    full, lite = installed('mmcv'), installed('mmcv-lite')
    if full and lite and full != lite:
        fix = f'{PIP} uninstall -y mmcv mmcv-lite && {PIP} install mmcv-lite==2.1.0'
        return [Line('mmcv flavour', f'mmcv {full} and mmcv-lite {lite}', 'one of them', fix)]
    flavour = 'full, with its operators' if full else 'lite, without mmcv.ops'
    return [Line('mmcv flavour', flavour, 'either')] if full or lite else []


def check_opencv() -> list[Line]:
    """OpenCV's wheels share the folder ``cv2``: of two versions, one is half overwritten."""
    names = [f'opencv-{x}' for x in ('python', 'contrib-python', 'python-headless')]
    names.append('opencv-contrib-python-headless')
    found = {name: version for name in names if (version := installed(name))}
    if len(set(found.values())) <= 1:
        return []
    oldest = min(found.values(), key=lambda version: [int(x) for x in re.findall(r'\d+', version)])
    return [
        Line(
            'OpenCV wheels',
            ', '.join(f'{name} {version}' for name, version in found.items()),
            'the same version of each',
            f'{PIP} install --force-reinstall --no-deps '
            + ' '.join(f'{name}=={oldest}' for name in found),
        )
    ]


def check_torch() -> list[Line]:
    """Whether torch and torchvision are built for one another, and what GPU torch sees."""
    wanted = 'a pair that runs torchvision.ops.nms'
    found, error = run_python(_TORCH)
    if error:
        pair = f'torch {installed("torch")}, torchvision {installed("torchvision")}'
        ranges = {r.name: r.specifier for r in declared()[1]}
        packages = ' '.join(f"'{name}{ranges[name]}'" for name in ('torch', 'torchvision'))
        fix = f'{PIP} uninstall -y torch torchvision && {PIP} install {packages}'
        return [Line('torch pair', f'{pair}: {error}', wanted, fix)]
    pair = Line('torch pair', f'{found["torch"]}, {found["torchvision"]}', wanted)
    return [pair, check_gpu(found['gpus'], found['cuda'])]


def check_gpu(gpus: list[str], cuda: str | None) -> Line:
    """The GPUs that torch sees. None is fine, unless the driver sees one and nothing hides it."""
    if gpus or 'CUDA_VISIBLE_DEVICES' in os.environ:
        hidden = f'none, CUDA_VISIBLE_DEVICES={os.environ.get("CUDA_VISIBLE_DEVICES", "")!r}'
        return Line('GPU', '; '.join(gpus) or hidden, 'optional')
    seen = 'none, training will be slow'
    smi = shutil.which('nvidia-smi')
    if smi and subprocess.run([smi, '-L'], capture_output=True, check=False).stdout.strip():
        if cuda is None:
            fix = f'torch is a CPU-only build: {PIP} install --force-reinstall --no-deps torch'
        else:
            fix = (
                f'Update the NVIDIA driver to one that supports CUDA {cuda}; nvidia-smi names both'
            )
        return Line('GPU', 'the driver sees one, torch does not', f'CUDA {cuda or "build"}', fix)
    return Line('GPU', seen, 'optional')


def check_imports() -> list[Line]:
    """Import MMagic as ugatit_mm does: its inferencer, and if that fails, its models only."""
    lines = []
    for module in ('mmagic.apis', 'mmagic.models'):  # the first imports the second
        seconds, error = run_python(_IMPORT.format(module=module))
        if not error:
            return [*lines, Line(f'import {module}', f'in {seconds} s', 'no error')]
        if library := re.search(r'(lib\S+): cannot open shared object file', error):
            fix = (
                f'The system lacks {library[1]}. Debian and Ubuntu, for OpenCV: '
                'apt-get install libgl1 libglib2.0-0'
            )
        else:
            missing = re.search(r"No module named '(\w+)", error)
            package = missing[1] if missing else "--force-reinstall --no-deps 'mmagic==1.2.0'"
            fix = f'Fix the lines above first; if there are none: {PIP} install {package}'
        lines.append(Line(f'import {module}', error, 'no error', fix))
    return lines


def run_python(code: str, timeout: float = 300) -> tuple[object, str]:
    """Run code that prints JSON last in a fresh interpreter.

    Returns:
        What it printed and an empty string, or None and a line on what went wrong.
    """
    try:
        done = subprocess.run(
            [sys.executable, '-c', code],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f'no answer in {timeout:.0f} s'
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ['no message']
        errors = [line for line in lines if re.match(r'[\w.]+(Error|Exception)\b', line)]
        last = (errors or lines)[-1]
        return None, last if done.returncode > 0 else f'killed by signal {-done.returncode}'
    return json.loads(done.stdout.strip().splitlines()[-1]), ''


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
