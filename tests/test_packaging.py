"""What an installed wheel carries: tree -> sdist -> wheel -> another folder, without a network."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from helpers import ROOT, TINY, as_arguments
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

pytestmark = pytest.mark.slow
SOURCES = ('setup.py', 'setup.cfg', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md')
FOLDERS = ('ugatit_mm', 'configs', 'tools')
CARRIED = ('configs', 'tools', 'model-index.yml')


def call(*args, cwd, **env):
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing in the checkout."""
    tree = tmp_path_factory.mktemp('tree')
    for name in (*SOURCES, 'model-index.yml'):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name)
    # What a compiled source leaves must not be packaged.
    (tree / 'tools' / '__pycache__').mkdir(exist_ok=True)
    (tree / 'tools' / '__pycache__' / 'train.pyc').write_bytes(b'')
    return tree


@pytest.fixture(scope='module')
def wheel(tree, tmp_path_factory):
    """The wheel of the sdist: the sdist then holds all that the wheel needs."""
    out = tmp_path_factory.mktemp('dist')
    build = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
    call('-c', build, out, cwd=tree)
    (sdist,) = out.glob('*.tar.gz')
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if '__pycache__' in name]
    flags = ('--no-deps', '--no-index', '--no-build-isolation', '--disable-pip-version-check')
    call('-m', 'pip', 'wheel', *flags, '--wheel-dir', out, sdist, cwd=out)
    (wheel,) = out.glob('*.whl')
    return wheel


@pytest.fixture(scope='module')
def site(wheel, tmp_path_factory):
    """The folder that the wheel is installed to."""
    site = tmp_path_factory.mktemp('site')
    flags = ('--no-deps', '--no-index', '--disable-pip-version-check')
    call('-m', 'pip', 'install', *flags, '--target', site, wheel, cwd=site)
    return site


def test_configs_and_tools_travel(site):
    mim = site / 'ugatit_mm' / '.mim'
    for name in CARRIED:
        if (ROOT / name).is_dir():
            kept = {x for x in files(ROOT / name) if not x.startswith(('benchmarks/', 'fuzz.py'))}
            assert files(mim / name) == kept and len(kept) > 5
        else:
            assert (mim / name).exists() == (ROOT / name).exists()
    for name in files(mim / 'configs'):
        assert (mim / 'configs' / name).read_bytes() == (ROOT / 'configs' / name).read_bytes()


def test_the_package_travels_and_the_tests_do_not(site):
    inside = files(site / 'ugatit_mm')
    assert {name for name in inside if not name.startswith('.mim/')} >= {
        name
        for name in files(ROOT / 'ugatit_mm')
        if name.endswith('.py')
        or name.startswith(('user_study/page/', 'web/page/', 'weights/', 'datasets/flowers/'))
    }
    assert not (site / 'tests').exists()
    assert not (site / 'tools').exists()


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith('.dist-info/METADATA')]
        metadata = message_from_bytes(archive.read(name))
    version = {}
    exec((ROOT / 'ugatit_mm' / 'version.py').read_text(), version)
    assert metadata['Version'] == version['__version__']
    assert SpecifierSet(metadata['Requires-Python']) == SpecifierSet('>=3.10,<3.15')
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith('.dist-info/entry_points.txt')]
        assert 'ugatit = ugatit_mm.cli:main' in archive.read(name).decode()
    required = set(map(Requirement, metadata.get_all('Requires-Dist')))
    assert {Requirement('mmagic ==1.2.0'), Requirement('torch >=2.11,!=2.13.*,<2.16')} <= required


def test_nothing_compiled_travels(tree, wheel, tmp_path):
    call('setup.py', '--quiet', 'build', '--build-base', tmp_path, cwd=tree)  # without an sdist
    (mim,) = tmp_path.glob('lib*/ugatit_mm/.mim')
    assert (mim / 'tools' / 'train.py').is_file()
    assert not list(mim.rglob('__pycache__'))
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if '__pycache__' in name]


def test_the_build_leaves_the_tree_as_it_is(tree, wheel):
    assert not (tree / 'ugatit_mm' / '.mim').exists()
    assert not (ROOT / 'ugatit_mm' / '.mim').exists()


def test_it_works_from_another_folder(site, tmp_path):
    code = """
from pathlib import Path
import ugatit_mm
from mmengine.config import Config
package = Path(ugatit_mm.__file__).parent
configs = sorted(p for p in (package / '.mim/configs').rglob('*.py') if '_base_' not in p.parts)
for path in configs:
    assert Config.fromfile(path).model['type'], path
print(package, len(configs), ugatit_mm.__version__)

# A picture with the weights that travel along, by the command and through MMagic.
from ugatit_mm import cli
from PIL import Image
Image.new('RGB', (40, 30), 'white').save('a.png')
assert cli.main(['translate', 'a.png', '--to', 'drawing']) == 0
assert Image.open('translations/photo2drawing/a.png').size == (40, 30)
# Every command is there.
for name in [*cli.ALL, *(f'convert {program}' for program in cli.CONVERTERS)]:
    try:
        assert cli.main([*name.split(), '--help']) == 0 and name == 'convert', name
    except SystemExit as left:
        assert left.code == 0, name
from mmagic.apis import MMagicInferencer
try:
    MMagicInferencer('ugatit', config_name='ugatit_light_anime2selfie', device='cpu')
except ValueError as error:  # raised after the config has been read
    assert 'UGATIT needs trained weights' in str(error)
print(package, len(configs), ugatit_mm.__version__)
"""
    package, count, _ = call('-c', code, cwd=tmp_path, PYTHONPATH=str(site)).split()[-3:]
    assert Path(package) == site / 'ugatit_mm'
    assert int(count) == len(
        [n for n in files(ROOT / 'configs') if '_base_' not in n and n.endswith('.py')]
    )
    assert int(count) > 0


def test_it_trains_from_another_folder(site, data_root, tmp_path):
    tool = site / 'ugatit_mm' / '.mim' / 'tools' / 'train.py'
    options = as_arguments({**TINY, 'data_root': data_root, 'train_cfg.max_iters': 1})
    call(
        *(tool, 'ugatit_custom', '--work-dir', 'run', '--cfg-options', *options),
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )
    assert (tmp_path / 'run' / 'iter_1.pth').is_file()
    config = (tmp_path / 'run' / 'ugatit_custom.py').read_text()
    assert str(data_root) in config and str(ROOT) not in config
