"""`make docs`: the site builds without a warning; a link or a name that leads nowhere fails."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(find_spec(name) for name in ('mkdocs', 'material', 'mkdocstrings')),
        reason="the extra docs is not installed: pip install -e '.[docs]'",
    ),
]


def build(folder: Path, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(out)],
        cwd=folder,
        env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_has_every_page_and_every_public_name(tmp_path):
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (ROOT / 'docs').glob('*.md')}
    pages |= {'contributing', 'changelog', 'security', 'sample_pair'}
    assert pages <= {path.parent.name for path in tmp_path.rglob('index.html')}
    home = (tmp_path / 'index.html').read_text()
    assert 'src="teaser.jpg"' in home and 'href="install/"' in home
    apis = sorted((tmp_path / 'api').glob('*/index.html'))
    assert len(apis) == 7
    for page in apis:
        module = page.parent.name
        tree = ast.parse((ROOT / 'ugatit_mm' / module / '__init__.py').read_text())
        (names,) = (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and node.targets[0].id == '__all__'
        )
        shown = set(re.findall(rf'id="ugatit_mm\.{module}\.(\w+)"', page.read_text()))
        assert set(names) <= shown, module


@pytest.mark.parametrize(
    ('text', 'complaints'),
    [
        ('[a](nowhere.md) [b](../README.md#nowhere)', ("'nowhere.md'", "'#nowhere'")),
        ('::: ugatit_mm.nowhere', ('ugatit_mm.nowhere',)),
    ],
)
def test_what_leads_nowhere_fails(text, complaints, tmp_path):
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs')
    with open(tmp_path / 'docs' / 'quickstart.md', 'a') as page:
        page.write(f'\n{text}\n')
    for path in ROOT.iterdir():
        if path.name != 'docs':
            (tmp_path / path.name).symlink_to(path)
    done = build(tmp_path, tmp_path / 'out')
    assert done.returncode == 1
    for complaint in complaints:
        assert complaint in done.stderr
