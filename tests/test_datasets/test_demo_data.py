"""The demo data set: complete, repeatable, disjoint, and two visibly different domains."""

import re
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugatit_mm.datasets import UGATITDataset, decode_rgb, demo_data
from ugatit_mm.datasets.demo_data import PHOTOS, make_demo_data
from ugatit_mm.datasets.drawings import ink_drawing

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/make_demo_data.py'


@pytest.fixture(scope='module')
def demo(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp('demo') / 'set'
    assert make_demo_data(out_dir, size=64, num_train=24, num_test=10) is True
    return out_dir


def images(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob('*.png'))])


def colourfulness(image: np.ndarray) -> float:
    """Hasler and Suesstrunk (2003): about 0 for grey, 33 moderately, 80 and more very colourful."""
    r, g, b = image.astype(float).transpose(2, 0, 1)
    rg, yb = r - g, (r + g) / 2 - b
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


def test_layout(demo):
    counts = {path.name: len(list(path.glob('*.png'))) for path in demo.iterdir() if path.is_dir()}
    assert counts == {'trainA': 24, 'trainB': 24, 'testA': 10, 'testB': 10, 'ideal': 10}
    assert images(demo / 'trainA').shape == (24, 64, 64, 3)
    assert len(UGATITDataset(demo, [])) == 24
    assert len(UGATITDataset(demo, [], test_mode=True)) == 10


def test_domains_differ_in_what_a_network_should_learn(demo):
    for split in ('train', 'test'):
        photos, drawings = images(demo / f'{split}A'), images(demo / f'{split}B')
        assert np.mean([colourfulness(x) for x in photos]) > 35
        assert max(colourfulness(x) for x in drawings) < 12
        steps = [np.abs(np.diff(x.mean(axis=-1), axis=2)).mean() for x in (photos, drawings)]
        assert steps[1] > 1.2 * steps[0]


def test_images_are_varied(demo):
    for folder in ('trainA', 'trainB'):
        flat = images(demo / folder).reshape(24, -1).astype(float)
        distances = np.abs(flat[:, None] - flat[None]).mean(axis=-1)
        assert distances[~np.eye(24, dtype=bool)].min() > 3


def test_the_ideal_is_the_drawing_of_the_test_photograph(demo):
    for photo, ideal in zip(images(demo / 'testA'), images(demo / 'ideal'), strict=True):
        np.testing.assert_array_equal(ink_drawing(photo), ideal)


def test_photographs_are_disjoint(tmp_path):
    """All drawn and not: B's are found among the drawings of what is left."""
    make_demo_data(tmp_path / 'set', size=32, num_train=130, num_test=100)
    photos = {}
    with zipfile.ZipFile(PHOTOS) as archive:
        for name in archive.namelist():
            photo = Image.fromarray(decode_rgb(archive.read(name)))
            photos[name] = np.array(photo.resize((32, 32), Image.Resampling.LANCZOS))
    names = {photo.tobytes(): name for name, photo in photos.items()}
    drawn = {ink_drawing(photo).tobytes(): name for name, photo in photos.items()}
    used = [
        (names if folder.endswith('A') else drawn)[image.tobytes()]
        for folder in ('trainA', 'trainB', 'testA', 'testB')
        for image in images(tmp_path / 'set' / folder)
    ]
    assert len(used) == len(set(used)) == len(photos) == 460


def test_everybody_is_credited():
    lines = PHOTOS.with_name('CREDITS.txt').read_text().splitlines()
    credits = dict(line.split('\t') for line in lines if '\t' in line)
    with zipfile.ZipFile(PHOTOS) as archive:
        assert credits.keys() == set(archive.namelist())
    said = re.compile('CC[- ]BY .*by .+')
    assert all(said.match(x) and 'https://www.flickr.com/' in x for x in credits.values())
    assert sum(path.stat().st_size for path in PHOTOS.parent.iterdir()) < 2e6


def test_the_seed_says_which(demo, tmp_path):
    make_demo_data(tmp_path / 'same', size=64, num_train=24, num_test=10)
    make_demo_data(tmp_path / 'other', size=64, num_train=24, num_test=10, seed=1)
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        own = images(demo / folder)
        np.testing.assert_array_equal(images(tmp_path / 'same' / folder), own)
        assert (images(tmp_path / 'other' / folder) != own).mean() > 0.3


def test_complete_set_is_kept(demo, monkeypatch):
    monkeypatch.setattr(demo_data, 'photos_and_drawings', None)  # drawing again would fail
    before = {path: path.stat().st_mtime_ns for path in demo.rglob('*')}
    assert make_demo_data(demo, size=64, num_train=24, num_test=10) is False
    assert {path: path.stat().st_mtime_ns for path in demo.rglob('*')} == before


def test_something_else_is_not_overwritten(demo, tmp_path):
    with pytest.raises(FileExistsError, match='delete it or choose another folder'):
        make_demo_data(demo, size=64, num_train=25, num_test=10)
    (tmp_path / 'mine.txt').write_text('keep')
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        make_demo_data(tmp_path, num_train=1, num_test=1)
    assert (tmp_path / 'mine.txt').read_text() == 'keep'


def test_damaged_set_is_noticed(tmp_path):
    make_demo_data(tmp_path / 'set', size=16, num_train=2, num_test=1)
    (tmp_path / 'set' / 'trainA' / '0001.png').unlink()
    with pytest.raises(FileExistsError, match='complete and unchanged'):
        make_demo_data(tmp_path / 'set', size=16, num_train=2, num_test=1)


def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        yield 'trainA/0000.png', 'a.jpg', np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_data, 'photos_and_drawings', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path / 'deep' / 'set')
    assert list((tmp_path / 'deep').iterdir()) == []


def test_empty_folder_is_filled(tmp_path):
    assert make_demo_data(tmp_path, size=16, num_train=1, num_test=1) is True
    assert (tmp_path / 'testB' / '0000.png').is_file()


@pytest.mark.parametrize(
    'options',
    [
        {'size': 15},
        {'size': 129},
        {'num_train': 0},
        {'num_test': 0},
        {'num_train': 131},
        {'seed': -1},
    ],
)
def test_bad_numbers(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make_demo_data(tmp_path / 'set', **options)


def test_tool(tmp_path, monkeypatch, capsys):
    out_dir = tmp_path / 'set'
    arguments = ['--size', '16', '--num-train', '2', '--num-test', '1', '--seed', '3']
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(out_dir), *arguments])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert capsys.readouterr().out.startswith('Wrote')
    make_demo_data(tmp_path / 'expected', size=16, num_train=2, num_test=1, seed=3)
    expected = (tmp_path / 'expected' / 'manifest.json').read_text()
    assert (out_dir / 'manifest.json').read_text() == expected
    runpy.run_path(str(TOOL), run_name='__main__')
    assert capsys.readouterr().out.startswith('Already complete')
    (out_dir / 'trainA' / '0000.png').unlink()
    with pytest.raises(SystemExit, match=r'Error: .*delete it'):
        runpy.run_path(str(TOOL), run_name='__main__')
