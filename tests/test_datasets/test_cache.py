"""Pictures kept resized: the same pixels, nothing stale, any number of processes."""

import hashlib
import os
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from mmagic.registry import DATASETS
from mmengine.dataset import default_collate
from PIL import Image
from torch.utils.data import DataLoader

from ugatit_mm.datasets import ImageReadError, LoadRGBImage, PairIndex
from ugatit_mm.datasets import loading as loading_module
from ugatit_mm.datasets.cache import PictureCache

pytestmark = pytest.mark.usefixtures('mmagic_scope')

KEYS = ['img_A', 'img_B']


def dataset_of(root: Path, cache: Path | None, scale: tuple[int, int] | None = (20, 18), **load):
    pipeline = [
        *({'type': 'LoadRGBImage', 'key': key, 'scale': scale, **load} for key in KEYS),
        *({'type': 'Flip', 'keys': [key]} for key in KEYS),
        {'type': 'Crop', 'keys': KEYS, 'crop_size': (16, 16)},
        {'type': 'PackInputs', 'keys': KEYS, 'meta_keys': [f'ori_{key}_shape' for key in KEYS]},
    ]
    fields = {'data_root': str(root), 'pipeline': pipeline, 'cache': cache and str(cache)}
    return DATASETS.build({'type': 'UGATITDataset', **fields})


def load(path: Path, cache: PictureCache | None, **fields) -> np.ndarray:
    step = LoadRGBImage('x', **{'scale': (8, 6), **fields})
    step.cache = cache
    return step({'x_path': path})['x']


@pytest.fixture
def picture(tmp_path) -> Path:
    return draw(tmp_path / 'picture.png', 0)


def draw(path: Path, seed: int) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, compress_level=0)  # the same length whatever it shows
    return path


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that are decoded from now on."""
    names = []
    decode = loading_module._decode

    def spy(data, name, *args):
        names.append(Path(name).name)
        return decode(data, name, *args)

    monkeypatch.setattr(loading_module, '_decode', spy)
    return names


def test_samples_are_those_without_cache(data_root, tmp_path, decoded):
    folder = tmp_path / 'a' / 'cache'
    plain, cached = dataset_of(data_root, None), dataset_of(data_root, folder)
    pairs = [PairIndex(seed % 5, seed % 3, seed) for seed in range(15)]
    for _ in range(2):  # flipping in place does not change the kept picture
        for pair in pairs:
            one, other = plain[pair], cached[pair]
            for key in KEYS:
                assert torch.equal(one['inputs'][key], other['inputs'][key])
                assert other['data_samples'].get(f'ori_{key}_shape') == (30, 40, 3)
    files = list(folder.iterdir())
    assert [file.stat().st_size for file in files] == [8 + 3 * 20 * 18] * 8  # 5 of A, 3 of B
    decoded.clear()
    for pair in pairs:
        dataset_of(data_root, folder)[pair]
    assert decoded == []


def test_a_changed_picture_is_decoded_again(picture, tmp_path, decoded):
    cache = PictureCache(tmp_path / 'cache')
    first = load(picture, cache)
    before = picture.stat()
    draw(picture, 1)
    assert picture.stat().st_size == before.st_size
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    changed = load(picture, cache)
    assert decoded == ['picture.png'] * 2
    assert not np.array_equal(changed, first)
    np.testing.assert_array_equal(changed, load(picture, None))


def test_size_background_and_filter_have_their_own_pictures(tmp_path):
    path = tmp_path / 'clear.png'
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    cache = PictureCache(tmp_path / 'cache')
    fields = ({'scale': (6, 8)}, {'background': 0}, {'background': (0, 9, 0)})
    kinds = ({}, *fields, {'interpolation': 'bicubic'})
    for _ in range(2):
        for kind in kinds:
            np.testing.assert_array_equal(load(path, cache, **kind), load(path, None, **kind))
    assert len(list(cache.folder.iterdir())) == 5


def test_a_bicubic_run_reads_no_pixels_of_an_older_bilinear_cache(picture, tmp_path):
    """Also of an older folder, whose file names do not depend on the filter."""
    stat = picture.stat()
    origin = (os.path.abspath(picture), stat.st_size, stat.st_mtime_ns)
    old = repr((origin, (8, 6), (255, 255, 255), PIL.__version__))
    cache = PictureCache(tmp_path / 'cache')
    cache.folder.mkdir()
    wrong = np.array([9, 11], '<u4').tobytes() + bytes(3 * 8 * 6)
    (cache.folder / hashlib.sha256(old.encode()).hexdigest()).write_bytes(wrong)
    bilinear, bicubic = (load(picture, cache, interpolation=k) for k in ('bilinear', 'bicubic'))
    assert bilinear.any() and bicubic.any() and not np.array_equal(bilinear, bicubic)
    np.testing.assert_array_equal(bicubic, load(picture, None, interpolation='bicubic'))


@pytest.mark.parametrize('left', [0, 5, 100])
def test_a_file_cut_by_a_crash_is_written_again(picture, tmp_path, left, decoded):
    cache = PictureCache(tmp_path / 'cache')
    expected = load(picture, cache)
    (file,) = cache.folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    np.testing.assert_array_equal(load(picture, cache), expected)
    assert decoded == ['picture.png'] * 2
    assert list(cache.folder.iterdir()) == [file] and file.read_bytes() == whole


def test_workers_share_a_folder(data_root, tmp_path):
    folder = tmp_path / 'cache'
    pairs = [PairIndex(seed % 5, seed % 3, seed) for seed in range(30)]
    plain, cached = dataset_of(data_root, None), dataset_of(data_root, folder)
    loader = DataLoader(cached, 2, sampler=pairs, num_workers=2, collate_fn=default_collate)
    images = torch.cat([batch['inputs']['img_A'] for batch in loader])
    assert torch.equal(images, torch.stack([plain[pair]['inputs']['img_A'] for pair in pairs]))
    assert len(list(folder.iterdir())) == 8


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(ImageReadError, match=r'gone\.png.* does not exist'):
        load(tmp_path / 'gone.png', PictureCache(tmp_path / 'cache'))


def test_a_folder_that_cannot_be_written_is_named(picture, tmp_path):
    (tmp_path / 'file').touch()
    cache = PictureCache(tmp_path / 'file')
    with pytest.raises(OSError, match=r"cache folder '.*file' cannot be written .* 152 bytes"):
        load(picture, cache)


def test_a_full_disk_leaves_no_file(picture, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    cache = PictureCache(tmp_path / 'cache')
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space left on device.*Make room'):
        load(picture, cache)
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize(
    'fields', [{'scale': None}, {'backend_args': {'backend': 'local'}}], ids=['scale', 'backend']
)
def test_cache_needs_resized_local_pictures(data_root, tmp_path, fields):
    with pytest.raises(ValueError, match=r'cache keeps what .* has resized.*LoadRGBImage\('):
        dataset_of(data_root, tmp_path, **fields)


def test_pictures_in_their_own_proportions(picture, tmp_path, decoded):
    """Of 11 x 9 pixels; what covers 8 x 8 is another file than 8 x 8."""
    cache = PictureCache(tmp_path / 'cache')
    square = load(picture, cache, scale=(8, 8))
    for _ in range(2):
        kept = load(picture, cache, scale=(8, 8), keep_ratio=True)
        assert (square.shape, kept.shape) == ((8, 8, 3), (8, 9, 3))
    assert len(decoded) == 2 and len(list((tmp_path / 'cache').iterdir())) == 2
    whole = Image.open(picture).resize((9, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(kept, np.asarray(whole))
