"""Commit and hardware of a run."""

import hashlib
import subprocess
from pathlib import Path

import pytest
import torch

from ugatit_mm import provenance


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    """A source tree of the package that is not a clone yet."""
    (tmp_path / 'ugatit_mm').mkdir()
    (tmp_path / 'ugatit_mm' / 'file.py').write_text('1')
    monkeypatch.setattr(provenance, '__file__', str(tmp_path / 'ugatit_mm' / 'provenance.py'))
    return tmp_path


def git(tree: Path, *words: str) -> str:
    names = ['-c', 'user.name=x', '-c', 'user.email=x@y']
    done = subprocess.run(
        ['git', *names, *words], cwd=tree, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_commit_of_a_clone(tree: Path):
    assert provenance.commit() is None
    git(tree, 'init')
    assert provenance.commit() is None  # no commit yet
    git(tree, 'add', '.')
    git(tree, 'commit', '-m', 'first')
    head = git(tree, 'rev-parse', 'HEAD')
    assert provenance.commit() == head[:12]
    (tree / 'new.txt').write_text('untracked files change nothing')
    assert provenance.commit() == head[:12]
    (tree / 'ugatit_mm' / 'file.py').write_text('2')
    assert provenance.commit() == f'{head[:12]}-dirty'


def test_an_installed_package_is_not_taken_for_a_clone_around_it(tree: Path, monkeypatch):
    """site-packages inside somebody's repository: that one's commit says nothing of ours."""
    git(tree, 'init')
    git(tree, 'add', '.')
    git(tree, 'commit', '-m', 'theirs')
    inside = tree / 'site-packages' / 'ugatit_mm' / 'provenance.py'
    monkeypatch.setattr(provenance, '__file__', str(inside))
    assert provenance.commit() is None


def test_hardware(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert provenance.hardware().startswith(f'CPU, {torch.get_num_threads()} threads: ')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 3)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda i: ['X', 'X', 'Y'][i])
    assert provenance.hardware() == '2 x X, 1 x Y'


def test_provenance_can_be_stored():
    told = provenance.provenance()
    assert told['processes'] == 1 and told['torch'] == torch.__version__
    assert {type(value) for value in told.values()} <= {str, int, type(None)}


def test_sha256_of_a_file_of_several_parts(tmp_path: Path):
    content = bytes(range(256)) * 10_000
    (tmp_path / 'file').write_bytes(content)
    assert provenance.sha256(tmp_path / 'file') == hashlib.sha256(content).hexdigest()
