"""Every command of README and guides runs, in the order of its page; every link leads somewhere."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from aggan_helpers import tiny_aggan
from cartoongan_helpers import tiny_cartoongan
from cyclegan_helpers import tiny_cyclegan
from drit_helpers import tiny_drit
from helpers import (
    DATA,
    ROOT,
    TINY,
    as_arguments,
    load_tool,
    recorded_checkpoint,
    twins,
    write_images,
)
from munit_helpers import MUNIT, tiny
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image
from skimage.data import chelsea
from styled_model import registered, write_styled

from ugatit_mm import cli, web
from ugatit_mm.converters import cartoongan as of_cartoongan
from ugatit_mm.converters import drit as of_drit
from ugatit_mm.converters import munit
from ugatit_mm.converters.aggan import to_variables
from ugatit_mm.converters.cyclegan import to_official
from ugatit_mm.version import __version__

PAGES = (
    *('quickstart', 'own_data', 'weights', 'inference', 'evaluation', 'training', 'datasets'),
    *('install', 'export'),
)
# These need pictures only.
APART = ('models', 'recipes')
# Commands that were run once, at the commit next to them.
RECORDS = ('performance', 'results', 'small_budgets')
# How commands begin that are not run here, and the test that runs them.
ELSEWHERE = {
    'pip install ': 'tests/test_packaging.py',
    'make ': 'test_targets_of_make_exist',
    'docker ': 'test_the_dockerfile_copies_what_is_there',
    'ugatit doctor': 'tests/test_doctor.py',
    'ugatit demo': 'tests/test_tools/test_demo.py',
    'tools/dist_train.sh ': 'tests/test_tools/test_train_and_test.py',
    'ugatit convert vgg19 ': 'tests/test_models/test_losses/test_vgg.py',
    'ugatit faces ': 'tests/test_datasets/test_faces.py',
    'ugatit study ': 'tests/test_tools/test_user_study.py',
    'ugatit table work_dirs/paper/': 'tests/test_tools/test_run_paper.py',
    'ugatit compare --run ': 'tests/test_tools/test_run_paper.py',
}


def text_of(page: str) -> str:
    return (ROOT / ('README.md' if page == 'README' else f'docs/{page}.md')).read_text()


def blocks(page: str, language: str) -> list[str]:
    fence = rf'^```{language}\n(.*?)^```'
    return re.findall(fence, text_of(page), re.MULTILINE | re.DOTALL)


def run(command: str) -> int:
    """In this process, with what makes a training and its test set tiny."""
    words = shlex.split(command, comments=True)
    if words[:2] == ['ugatit', 'train'] or words[1] == 'tools/train.py':
        words += ['--cfg-options'] * ('--cfg-options' not in words)  # else it is the last
        words += as_arguments(TINY | ({'crop_size': 32} if 'ugatit_short' in words else {}))
    if words[:2] == ['ugatit', 'paper']:
        words += ['--no-probe'] + ['--dry-run'] * ('--dry-run' not in words)
    if words[:2] == ['ugatit', 'test'] and '--kid' in words:
        words += ['--subset-size', '2']
    if '--static' in words:
        words += ['--img-size', '64']
    if words[0] == 'ugatit':
        return cli.main(words[1:])
    assert words[0] == 'python' and words[1].startswith('tools/'), command
    return load_tool(words[1].removeprefix('tools/').removesuffix('.py')).main(words[2:])


@pytest.fixture(scope='module')
def reader(tmp_path_factory, official):
    """A folder with what a reader of the guides has, kept from page to page."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp('reader')
    os.chdir(folder)
    write_images(folder / 'flowers', (80, 72))
    rng = np.random.default_rng(0)
    for name in ('daisies', 'sunflowers'):
        (folder / name).mkdir()
        for index in range(20):  # a tenth is two: KID needs them
            pixels = rng.integers(0, 256, (72, 80, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{index}.png')
    shutil.copytree('flowers', 'data/selfie2anime')
    shutil.make_archive('horse2zebra', 'zip', 'flowers')
    for name in ('daisy.jpg', 'photo.jpg', 'photos/a.jpg', 'more/b.png', 'new_photos/c.jpg'):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.open(folder / 'flowers/testA/0.png').save(path)
    film = cv2.VideoWriter('film.avi', cv2.VideoWriter_fourcc(*'MJPG'), 12.0, (32, 32))
    film.write(np.zeros((32, 32, 3), np.uint8))
    film.release()
    with np.load(DATA / 'official_tensorflow.npz') as numbers:
        np.savez('variables.npz', **twins(numbers, 'full.var/'))
    np.savez('aggan_variables.npz', **to_variables(tiny_aggan().state_dict()))
    networks = recorded_checkpoint(official, 'light.weights.')
    torch.save(networks, 'official.pt')
    torch.save(networks['genA2B'], 'generator.pt')
    cyclegan = folder / 'checkpoints' / 'horse2zebra'
    cyclegan.mkdir(parents=True)
    for network, weights in to_official(tiny_cyclegan().state_dict()).items():
        torch.save(weights, cyclegan / f'latest_net_{network}.pth')
    munit.write_networks(
        folder / 'checkpoints' / 'edges2shoes', munit.to_official(tiny(MUNIT).state_dict(), 'MUNIT')
    )
    torch.save(
        of_cartoongan.to_official(tiny_cartoongan().state_dict())['G'], 'generator_latest.pkl'
    )
    drit = of_drit.to_official(tiny_drit().state_dict())
    torch.save(drit, folder / 'checkpoints' / 'cat2dog_00099.pth')
    with pytest.MonkeyPatch.context() as patch:
        names = {'A': 'daisy', 'B': 'sunflower'}
        write_styled(Path('munit.pth'), registered(patch), domains=names)  # in its place
        yield SimpleNamespace(read=[])
    os.chdir(here)


# First, as the reader below has their own model.
@pytest.mark.slow
@pytest.mark.parametrize('page', [*APART, 'README'])
def test_commands_of_pages_apart_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(web, 'main', lambda words: 0)
    write_images(tmp_path / 'flowers', (80, 72))
    for name, split in (('daisies', 'trainA'), ('sunflowers', 'trainB')):
        shutil.copytree(tmp_path / 'flowers' / split, name)
    Image.open('daisies/0.png').save('photo.jpg')
    follow(page)
    for script in blocks(page, 'python'):
        names: dict = {}
        exec(script, names)
        assert names['drawing'].image.shape == (72, 80, 3)
        assert Image.open('drawing.png').size == (80, 72)


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES)
def test_commands_run(page, reader, monkeypatch):
    monkeypatch.setattr(web, 'main', lambda words: 0)
    for each in PAGES[: PAGES.index(page) + 1]:  # a page goes on from those before
        if each not in reader.read:
            follow(each)
            reader.read.append(each)


def follow(page: str) -> None:
    for block in blocks(page, 'bash'):
        for command in block.strip().splitlines():
            if not command.startswith(tuple(ELSEWHERE)):
                assert run(command) == 0, command
                if work_dir := re.search(r'\btrain\b.* --work-dir (\S+)', command):  # 4 iterations
                    shutil.copy(f'{work_dir[1]}/iter_4.pth', f'{work_dir[1]}/iter_100000.pth')


def test_no_page_has_commands_that_nothing_runs():
    pages = {path.stem for path in (ROOT / 'docs').glob('*.md')}
    told = {page for page in pages if '```bash' in text_of(page)}
    assert told == {*PAGES, *APART, *RECORDS}
    for where in ELSEWHERE.values():
        assert where in globals() or (ROOT / where).is_file(), where


def test_targets_of_make_exist():
    targets = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.M))
    pages = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')]
    named = {
        target
        for page in pages
        for target in re.findall(r'(?:`|^)make ([a-z-]+)', page.read_text(), re.M)
    }
    assert {'demo', 'test', 'docs'} <= named <= targets


@pytest.mark.slow
def test_the_script_of_the_export_page_needs_nothing_of_ours(reader):
    (script,) = blocks('export', 'python')
    assert len(script.strip().splitlines()) <= 15 and 'ugatit_mm' not in script
    assert Path('drawing.onnx').exists() or run(blocks('export', 'bash')[0].splitlines()[1]) == 0
    exif = Image.Exif()
    exif[0x0112] = 6  # as a camera is held
    Image.fromarray(chelsea()[:, :301]).save('cat.jpg', exif=exif)
    words = [sys.executable, '-I', '-c', script, 'drawing.onnx', 'cat.jpg', 'by_onnx.png']
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert out == 'photo to drawing: by_onnx.png\n'
    assert run('ugatit translate cat.jpg --to drawing --device cpu --out by_command.png') == 0
    pictures = [Image.open(name) for name in ('by_onnx.png', 'by_command.png')]
    assert [picture.size for picture in pictures] == [(300, 301)] * 2
    off = np.abs(np.subtract(*pictures, dtype=int))
    assert off.max() <= 1 and off.mean() < 0.01


def test_links_lead_somewhere():
    pages = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
    for page in pages:
        for link, _, place in re.findall(r'\]\(([^)#\s]*)(#([^)\s]+))?\)', page.read_text()):
            if not link.startswith('http'):
                to = page.parent / link if link else page
                assert to.exists(), f'{page.name}: {link}'
                assert not place or place in places(to), f'{page.name}: {link}#{place}'


def places(page: Path) -> set[str]:
    """What links to headings of a page end in, as GitHub makes it."""
    headings = re.findall(r'^#+ (.+)$', page.read_text(), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_tests_that_the_guides_name_exist():
    files = sorted((ROOT / 'tests').rglob('*.py'))
    known = {path.name for path in files}
    for path in files:
        known |= set(re.findall(r'^def (test_\w+)', path.read_text(), re.M))
    for page in sorted((ROOT / 'docs').glob('*.md')):
        named = set(
            re.findall(r'\btest_\w+(?:\.py)?', ' '.join(re.findall(r'`[^`]+`', page.read_text())))
        )
        folders = {path.parent.name for path in files}
        unknown = named - known - folders - {'test_evaluator', 'test_dataloader', 'test_cfg'}
        assert not unknown, page.name


def test_versions_of_the_readme_are_the_pins():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    wanted = [
        Requirement(line)
        for line in config['options']['install_requires'].split('\n')
        if line and not line.startswith('#')
    ]
    specifiers = {each.name: each.specifier for each in wanted}
    specifiers['python'] = SpecifierSet(config['options']['python_requires'])
    text = text_of('README')
    for name, minor in (('Python', 3), ('PyTorch', 2)):
        low, high = map(
            int, re.search(rf'\[{name} {minor}\.(\d+) to {minor}\.(\d+)\]', text).groups()
        )
        allowed = specifiers['torch' if name == 'PyTorch' else 'python']
        inside = [x for x in range(100) if allowed.contains(f'{minor}.{x}')]
        assert (inside[0], inside[-1]) == (low, high), name
    assert f'[MMagic {str(specifiers["mmagic"])[2:]}]' in text
    assert re.findall(r'python-3\.(\d+)_to_3\.(\d+)', text) == re.findall(
        r'Python 3\.(\d+) to 3\.(\d+) \(', text
    )


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert cited['version'] == __version__ and cited['license'] == 'Apache-2.0'
    (paper,) = cited['references']
    names = [author['family-names'] for author in paper['authors']]
    entry = text_of('README')
    assert names == ['Kim', 'Kim', 'Kang', 'Lee'] and paper['year'] == 2020
    assert re.sub(r'[{}\s]', '', paper['title']) in re.sub(r'[{}\s]', '', entry)


def test_the_dockerfile_copies_what_is_there():
    """It was never built; its Python is Ubuntu's."""
    lines = (ROOT / 'Dockerfile').read_text().replace('\\\n', ' ').splitlines()
    copied = [word for line in lines if line.startswith('COPY') for word in line.split()[1:-1]]
    assert {'setup.cfg', 'README.md', 'ugatit_mm', 'configs', 'tools'} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (base,) = re.findall(r'^ARG BASE=(\S+)', '\n'.join(lines), re.M)
    bases = [base, *re.findall(r'BASE=(\S+)', text_of('install'))]
    assert len(bases) == 2 and all(each.endswith(('ubuntu:24.04', 'ubuntu24.04')) for each in bases)
    python = re.search(r'python_requires = (.*)', (ROOT / 'setup.cfg').read_text())[1]
    assert '3.12' in SpecifierSet(python)  # Ubuntu 24.04's
    arguments = set(re.findall(r'--build-arg (\w+)=', text_of('install')))
    assert arguments == set(re.findall(r'^ARG (\w+)=', '\n'.join(lines), re.M))


@pytest.mark.slow
def test_the_cells_of_the_notebook_run(tmp_path, monkeypatch):
    """As a script, without the one that installs; what begins with ! is a command."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    cells = json.loads((ROOT / 'docs' / 'colab.ipynb').read_text())['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert [cell['metadata'].get('tags') for cell in code] == [['install']] + [None] * (
        len(code) - 1
    )
    for cell in code[1:]:
        text = ''.join(cell['source'])
        if text.startswith('!ugatit '):
            assert cli.main(shlex.split(text.replace('\\\n', ' '))[1:]) == 0
        else:
            exec(text, names)
    assert names['drawing'].image.shape == names['photo'].shape
    width, height = names['sheet'].size
    assert min(width, height) >= 4 * 128
