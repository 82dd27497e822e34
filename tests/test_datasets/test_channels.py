"""Pictures of one to eight channels: read, shown, written, and set in a config."""

import io
import zlib

import numpy as np
import pytest
import tifffile
import torch
from helpers import write_images
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm import pixels
from ugatit_mm.apis.sources import read
from ugatit_mm.config import load_config
from ugatit_mm.datasets import ImageReadError, LoadRGBImage, UGATITDataset, apply_channels
from ugatit_mm.datasets.cache import PictureCache
from ugatit_mm.datasets.loading import decode_rgb, decode_with_alpha
from ugatit_mm.models.base import TranslationPreprocessor

CHANNELS = range(1, 9)


def picture_of(channels: int, size: tuple[int, int] = (6, 10)) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 256, (*size, channels), dtype=np.uint8)


def encoded(picture: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    if options:
        tifffile.imwrite(file, picture, photometric='minisblack', **options)
    else:
        pixels.write_picture(picture, file)
    return file.getvalue()


def decode_picture(data: bytes, channels: int, name: str = 'x', **options) -> np.ndarray:
    return decode_with_alpha(data, name, channels=channels, **options)[0]


@pytest.mark.parametrize('channels', CHANNELS)
def test_what_is_written_is_read(channels, tmp_path):
    picture = picture_of(channels)
    file = tmp_path / f'a{pixels.suffix_written(channels)}'
    pixels.write_picture(picture, file)
    assert file.read_bytes() == encoded(picture)
    assert np.array_equal(read(file, channels=channels), picture)
    if channels <= 4:
        with Image.open(file) as image:
            assert image.format == 'PNG' and image.mode == ('L', 'LA', 'RGB', 'RGBA')[channels - 1]
            assert np.array_equal(np.array(image).reshape(picture.shape), picture)
    else:
        assert np.array_equal(tifffile.imread(file), picture)


@pytest.mark.parametrize('channels', CHANNELS)
def test_shown(channels):
    picture = picture_of(channels)
    shown = pixels.displayed(picture)
    assert shown.shape == (6, 10, 3)
    parts = (0, 0, 0) if channels < 3 else (0, 1, 2)
    assert np.array_equal(shown, picture[..., parts])
    words = {1: '', 2: 'channel 1 of 2', 3: ''}.get(channels, f'channels 1 to 3 of {channels}')
    assert pixels.words_of_displayed(channels) == words


@pytest.mark.parametrize('channels', CHANNELS)
def test_each_channel_is_resized_by_itself(channels):
    picture = picture_of(channels)
    found = pixels.resize(picture, 9, 4, 'bicubic')
    for channel in range(channels):
        band = Image.fromarray(picture[..., channel]).resize((4, 9), Image.Resampling.BICUBIC)
        assert np.array_equal(found[..., channel], np.array(band))


@pytest.mark.parametrize('channels', CHANNELS)
def test_the_loader_flips_no_channels_and_normalises_all(channels, tmp_path):
    picture = picture_of(channels, (8, 12))
    path = tmp_path / f'a{pixels.suffix_written(channels)}'
    pixels.write_picture(picture, path)
    loader = LoadRGBImage('img_A', scale=(6, 4), channels=channels)
    results = loader.transform({'img_A_path': str(path)})
    small = pixels.resize(picture, 4, 6)
    assert np.array_equal(results['img_A'], small)
    assert results['ori_img_A_shape'] == (8, 12, channels)
    assert f'channels={channels}' in repr(loader)
    with_cache = LoadRGBImage('img_A', scale=(6, 4), channels=channels)
    with_cache.cache = PictureCache(tmp_path / 'cache')
    for _ in range(2):  # written, and found
        again = with_cache.transform({'img_A_path': str(path)})
        assert np.array_equal(again['img_A'], small)
        assert again['ori_img_A_shape'] == (8, 12, channels)
    image = torch.from_numpy(small).permute(2, 0, 1)[None]
    for training in (True, False):
        found = TranslationPreprocessor()({'inputs': {'img_A': image.clone()}}, training)['inputs']
        wanted = pixels.swap_colours((image.float() - 127.5) / 127.5)  # it came without an order
        torch.testing.assert_close(found['img_A'], wanted, rtol=0, atol=0)
    order = [2, 1, 0, *range(3, channels)] if channels in (3, 4) else [*range(channels)]
    assert torch.equal(pixels.swap_colours(image), image[:, order])


def test_one_channel_is_the_luminance():
    grey = picture_of(1)
    assert np.array_equal(decode_picture(encoded(grey), 1), grey)
    colours = picture_of(3)
    wanted = np.array(Image.fromarray(colours).convert('L'))[..., None]
    assert np.array_equal(decode_picture(encoded(colours), 1), wanted)
    for array in (grey, grey[..., 0], grey.repeat(3, 2)):
        assert np.array_equal(read(array, channels=1), grey)
    assert np.array_equal(decode_rgb(encoded(grey)), grey.repeat(3, 2))


def test_four_channels_keep_the_colours_behind_alpha():
    rgba = picture_of(4)
    rgba[0, 0] = 10, 20, 30, 0
    assert decode_picture(encoded(rgba), 4)[0, 0].tolist() == [10, 20, 30, 0]
    opaque = decode_picture(encoded(rgba[..., :3]), 4)
    assert np.array_equal(opaque[..., :3], rgba[..., :3]) and (opaque[..., 3] == 255).all()
    la = decode_picture(encoded(picture_of(1)), 2)
    assert np.array_equal(la[..., :1], picture_of(1)) and (la[..., 1] == 255).all()


@pytest.mark.parametrize('options', [{'planarconfig': 'separate'}, {'compression': 'zlib'}])
def test_other_kinds_of_bands(options):
    picture = picture_of(5, (20, 30))
    layout = picture.transpose(2, 0, 1) if 'planarconfig' in options else picture
    options = {'planarconfig': 'contig'} | options
    assert np.array_equal(decode_picture(encoded(layout, **options), 5), picture)
    deep = encoded(layout.astype(np.uint16) * 257, **options)
    assert np.array_equal(decode_picture(deep, 5), picture)
    twelve = encoded(layout.astype(np.uint16) * 16, **options)
    assert np.array_equal(decode_picture(twelve, 5, deep_range=(0, 4080)), picture)


def test_bands_that_cannot_be_read():
    five = encoded(picture_of(5))
    with pytest.raises(ImageReadError, match=r"^'x' is a TIFF of 5 bands, not of 6 bands, which "):
        decode_picture(five, 6, 'x')
    with pytest.raises(ImageReadError, match='is not a TIFF of 5 bands, which channels=5 asks'):
        decode_picture(encoded(picture_of(3)), 5)
    wide = encoded(picture_of(5).astype(np.float32), planarconfig='contig')
    with pytest.raises(ImageReadError, match='values of type float32; only unsigned 8 and 16'):
        decode_picture(wide, 5)
    with pytest.raises(ImageReadError, match='is damaged or truncated'):
        decode_picture(five[:60], 5)
    turned = encoded(picture_of(5), planarconfig='contig', extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(
        ImageReadError, match=r'is stored rotated \(orientation 6\): save it upright'
    ):
        decode_picture(turned, 5)
    with pytest.raises(ValueError, match='channels must be 1 to 8, got 9'):
        LoadRGBImage('img_A', channels=9)
    with pytest.raises(
        ValueError,
        match=r'must be 4 channels, uint8 or float32 in \[0, 1\], \(H, W, 4\), got uint8',
    ):
        read(picture_of(3), channels=4)


def test_a_large_tiff_of_bands_is_refused(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 59)
    with pytest.raises(ImageReadError, match="10x6 pixels exceed Pillow's limit of 59"):
        decode_picture(encoded(picture_of(5)), 5)


@pytest.mark.parametrize('name', ['ugatit_custom', 'cyclegan_custom'])
def test_the_shortcut_reaches_loader_and_networks(name):
    cfg = load_config(name, {'channels': 1, 'model.discriminator.in_channels': 2})
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert [step.channels for step in loader.dataset.pipeline[:2]] == [1, 1]
    assert (cfg.model.generator.in_channels, cfg.model.generator.out_channels) == (1, 1)
    assert cfg.model.discriminator.in_channels == 2  # a single place wins
    plain = load_config(name)
    assert 'channels' not in plain.train_pipeline[0] and plain.model.generator.in_channels == 3


def test_the_shortcut_is_refused_where_it_has_no_place():
    with pytest.raises(ValueError, match='channels must be 1 to 8, got 0'):
        apply_channels(Config({'channels': 0}))
    with pytest.raises(ValueError, match='no pipeline of this config has a LoadRGBImage'):
        apply_channels(Config({'channels': 1, 'test_pipeline': [{'type': 'LoadImageFromFile'}]}))


def test_the_data_set_gives_the_channels(tmp_path):
    init_default_scope('mmagic')
    write_images(tmp_path)
    pipeline = [
        {'type': 'LoadRGBImage', 'key': key, 'channels': 1, 'scale': (8, 4)}
        for key in ('img_A', 'img_B')
    ]
    pack = {'type': 'PackInputs', 'keys': ['img_A', 'img_B']}
    inputs = UGATITDataset(tmp_path, [*pipeline, pack], test_mode=True)[0]['inputs']
    assert {tuple(image.shape) for image in inputs.values()} == {(1, 4, 8)}


def test_strips_that_lie_are_refused():
    """Before anything is decoded: one that is cut off, one that would fill the memory."""
    whole = encoded(picture_of(5, (40, 30)), planarconfig='contig', compression='zlib')
    with pytest.raises(ImageReadError, match=r'is damaged .* a strip of \d+ bytes ends after'):
        decode_picture(whole[:-1], 5)
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        offset, count = file.pages.first.dataoffsets[0], file.pages.first.databytecounts[0]
    bomb = zlib.compress(bytes(6001)).ljust(count, b'\0')
    lying = whole[:offset] + bomb + whole[offset + count :]
    with pytest.raises(ImageReadError, match='a strip decodes to more than its 6000 bytes'):
        decode_picture(lying, 5)
