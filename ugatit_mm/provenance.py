"""Where a measurement comes from: commit, versions, hardware."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path

import torch
from mmengine.dist import get_world_size

from .compat import installed
from .version import __version__


def provenance() -> dict[str, str | int | None]:
    """Describe the program and the machine of this process.

    Returns:
        dict: ``version``, ``commit`` (``None`` outside a clone; ``-dirty`` after it where tracked
        files were changed), ``torch``, ``mmagic``, ``python``, ``hardware`` and ``processes``.
    """
    return {
        'version': __version__,
        'commit': commit(),
        'torch': str(torch.__version__),  # a subclass of str, which checkpoints do not accept
        'mmagic': installed('mmagic'),
        'python': platform.python_version(),
        'hardware': hardware(),
        'processes': get_world_size(),
    }


def commit() -> str | None:
    """The commit of the source tree this package is imported from, if that tree is a clone."""
    root = Path(__file__).resolve().parents[1]
    if not (root / '.git').exists():
        return None
    git = ['git', '-C', str(root)]
    try:
        head = subprocess.run(
            [*git, 'rev-parse', '--short=12', 'HEAD'], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, 'status', '--porcelain', '--untracked-files=no'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f'{head}-dirty' if changed else head


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    update(digest, path)
    return digest.hexdigest()


def update(digest: 'hashlib._Hash', path: str | os.PathLike) -> None:
    """Update a digest with a file, in parts, as checkpoints can be large."""
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)


def hardware() -> str:
    """The processors that torch computes with, in words."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ', '.join(f'{names.count(name)} x {name}' for name in dict.fromkeys(names))
    return f'CPU, {torch.get_num_threads()} threads: {_cpu_name()}'


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
