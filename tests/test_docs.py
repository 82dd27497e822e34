"""Every command of the guides runs, in the order of its page; every link leads somewhere."""

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
from PIL import Image
from skimage.data import chelsea
from styled_model import registered, write_styled

from ugatit_mm import cli, web
from ugatit_mm.converters import cartoongan as of_cartoongan
from ugatit_mm.converters import drit as of_drit
from ugatit_mm.converters import munit
from ugatit_mm.converters.aggan import to_variables
from ugatit_mm.converters.cyclegan import to_official

WORK = 'work_dirs/flowers'
PAGES = ('quickstart', 'own_data', 'weights', 'inference', 'evaluation', 'export')
# Not run here: tests/test_packaging.py installs, tests/test_tools/test_demo.py runs the demo,
# tests/test_models/test_losses/test_vgg.py makes a slim VGG19 of a file that is there.
ELSEWHERE = (
    "pip install -e '.[web]'",
    "pip install -e '.[export]'",
    'ugatit doctor',
    'ugatit demo',
    'python tools/model_converters/vgg19.py vgg19-dcbb9e9d.pth vgg19-dcbb9e9d.safetensors',
)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / 'docs' / f'{page}.md').read_text()
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


def run(command: str) -> int:
    """In this process, with what makes a training and its test set tiny."""
    words = shlex.split(command)
    if words[:2] == ['ugatit', 'train'] and '--cfg-options' not in words:
        words.append('--cfg-options')
    if '--cfg-options' in words:  # the guides have it last
        words += as_arguments(TINY | ({'crop_size': 32} if 'ugatit_short' in words else {}))
    if words[:2] == ['ugatit', 'test']:
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


@pytest.mark.parametrize('page', [*PAGES[:-1], pytest.param(PAGES[-1], marks=pytest.mark.slow)])
def test_commands_run(page, reader, monkeypatch):
    monkeypatch.setattr(web, 'main', lambda words: 0)
    for each in PAGES[: PAGES.index(page) + 1]:  # a page goes on from those before
        if each not in reader.read:
            follow(each)
            reader.read.append(each)


def follow(page: str) -> None:
    for block in blocks(page, 'bash'):
        for command in block.strip().splitlines():
            if command not in ELSEWHERE:
                assert run(command) == 0, command
                if '--work-dir work_dirs/flowers ' in command:  # of 4 iterations
                    shutil.copy(f'{WORK}/iter_4.pth', f'{WORK}/iter_100000.pth')


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
