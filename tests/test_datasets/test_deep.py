"""The range of deep pictures on its way from the config to training, test and translation."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import load_tool, tiny_config
from mmagic.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from ugatit_mm import cli
from ugatit_mm.apis import UGATITInferencer, run_test, run_training
from ugatit_mm.apis.sources import read
from ugatit_mm.config import load_config
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.datasets import loading
from ugatit_mm.datasets.cache import PictureCache
from ugatit_mm.datasets.deep import apply_deep_range, deep_ranges


def loaders(cfg: Config) -> list[tuple[str, object]]:
    """The range of each step that loads a picture, in training, validation and test."""
    return [
        (step.key, step.get('deep_range'))
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for step in cfg[name].dataset.pipeline
        if step.type == 'LoadRGBImage'
    ]


def test_a_config_carries_it_into_every_loader(tmp_path):
    cfg = load_config('ugatit_custom', {'deep_range': (0, 4095)})
    assert loaders(cfg) == [('img_A', (0, 4095)), ('img_B', (0, 4095))] * 3
    assert deep_ranges(cfg) == {'A': (0, 4095), 'B': (0, 4095)}
    cfg.dump(tmp_path / 'dumped.py')
    assert loaders(load_config(tmp_path / 'dumped.py')) == loaders(cfg)
    (tmp_path / 'child.py').write_text(
        f'_base_ = {str(tmp_path / "dumped.py")!r}\ndeep_range = 1, 9\n'
    )
    assert deep_ranges(load_config(tmp_path / 'child.py')) == {'A': (1, 9), 'B': (1, 9)}


def test_each_domain_may_have_its_own():
    cfg = load_config('ugatit_custom', {'deep_range.A': [0, 4095], 'deep_range.B': [-1024, 3071]})
    assert loaders(cfg) == [('img_A', (0, 4095)), ('img_B', (-1024, 3071))] * 3
    cfg = load_config('ugatit_custom', {'deep_range.B': [-1024, 3071]})
    assert loaders(cfg) == [('img_A', None), ('img_B', (-1024, 3071))] * 3
    assert deep_ranges(cfg) == {'B': (-1024, 3071)}
    assert deep_ranges(load_config('ugatit_custom')) == {}


def test_what_is_no_range_is_refused():
    for value in (4095, [0], 'full', [4095, 0]):
        with pytest.raises(ValueError, match='deep_range must be two numbers'):
            load_config('ugatit_custom', {'deep_range': value})
    with pytest.raises(ValueError, match=r"deep_range has \['C'\], the domains are \['A', 'B'\]"):
        load_config('ugatit_custom', {'deep_range.C': [0, 1]})
    with pytest.raises(ValueError, match='no pipeline of this config has a LoadRGBImage'):
        apply_deep_range(Config({'deep_range': (0, 1), 'test_pipeline': [{'type': 'Resize'}]}))


def deep_set(root: Path) -> np.ndarray:
    """A data set of 12-bit pictures in 16-bit files; returns one of testA."""
    rng = np.random.default_rng(0)
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (root / folder).mkdir(parents=True)
        for i in range(2):
            values = rng.integers(0, 4096, (40, 36), dtype=np.uint16)
            Image.fromarray(values).save(root / folder / f'{i}.png')
    return np.asarray(Image.open(root / 'testA' / '0.png'))


@pytest.mark.slow
def test_from_training_to_translation(tmp_path):
    """The checkpoint says the range: translations are those of the pictures in 8 bits."""
    values = deep_set(tmp_path / 'data')
    options = {'deep_range': [0, 4095], 'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
    run_training(tiny_config(tmp_path / 'data', tmp_path / 'work', **options))
    weights = tmp_path / 'work' / 'iter_2.pth'
    assert read_checkpoint(weights)['meta']['deep_range'] == {'A': [0, 4095], 'B': [0, 4095]}
    run_test(load_config(tmp_path / 'work' / 'ugatit_custom.py'), weights, tmp_path / 'test')

    grey = np.rint(values * (255 / 4095)).astype(np.uint8)
    plain = np.repeat(grey[..., None], 3, axis=2)
    inferencer = UGATITInferencer(weights, device='cpu')
    expected = inferencer(plain, 'B', restore=False)[0].image
    (written,) = (tmp_path / 'test').glob('A*B/0.png')
    np.testing.assert_array_equal(np.asarray(Image.open(written)), expected)

    slim = tmp_path / 'slim.safetensors'
    publish = load_tool('model_converters/publish_model').main
    assert publish([str(weights), str(slim), '--generator-only']) == 0
    source, out = str(tmp_path / 'data' / 'testA' / '0.png'), tmp_path / 'out'
    for file, option in ((slim, ()), (weights, ()), (weights, ('--deep-range', '0', '1023'))):
        words = [source, '--ckpt', str(file), '--to', 'B', '--out', str(out), '--network-size']
        assert cli.main(['translate', *words, '--device', 'cpu', *option]) == 0
        (result,) = out.rglob('0.png')
        equal = np.array_equal(np.asarray(Image.open(result)), expected)
        assert equal is not bool(option)
        result.unlink()


def test_the_cache_keeps_ranges_apart(tmp_path):
    values = np.array([[0, 1024, 2048, 4095]], np.uint16)
    Image.fromarray(values).save(tmp_path / 'a.png')
    cache = PictureCache(tmp_path / 'cache')
    for _ in range(2):
        for top, expected in ((4095, [0, 64, 128, 255]), (2048, [0, 128, 255, 255])):
            fields = {'key': 'x', 'scale': (4, 1), 'deep_range': (0, top)}
            step = TRANSFORMS.build({'type': 'LoadRGBImage', **fields})
            step.cache = cache
            found = step({'x_path': str(tmp_path / 'a.png')})['x']
            np.testing.assert_array_equal(found[0, :, 0], expected)
    assert len(list(cache.folder.iterdir())) == 2


def test_the_first_nearly_black_picture_is_told_of(tmp_path, monkeypatch, capsys):
    """Without a range: by translation on stderr, by training in the log, once in a process."""
    monkeypatch.setattr(loading, '_reported', [])
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65
    full, grey, colour = (str(tmp_path / name) for name in ('full.png', 'ct.png', 'rgb.png'))
    Image.fromarray(values * 16).save(full)
    Image.fromarray(values).save(grey)
    cv2.imwrite(colour, np.stack([values] * 3, 2))
    read(full)
    read(grey, (0, 4095))
    assert capsys.readouterr().err == ''
    read(grey)
    assert capsys.readouterr().err == (
        f'{grey!r} has values 0 to 4095 of 0 to 65535, so it is nearly one brightness: if black '
        'and white are meant to be other values, give them as deep_range (--deep-range LOW HIGH); '
        'further pictures are not reported\n'
    )
    read(colour)
    read(Image.open(grey))
    assert capsys.readouterr().err == ''
    for other in (colour, Image.open(grey)):
        monkeypatch.setattr(loading, '_reported', [])
        read(other)
        assert 'has values 0 to 4095 of 0 to 65535' in capsys.readouterr().err

    monkeypatch.setattr(loading, '_reported', [])
    logger = MMLogger.get_instance('test', log_file=str(tmp_path / 'run.log'))
    for fields in ({'deep_range': (0, 4095)}, {}):
        step = TRANSFORMS.build({'type': 'LoadRGBImage', 'key': 'x', **fields})
        for path in (full, colour, grey):
            step({'x_path': path})
    for handler in logger.handlers:
        handler.close()
    (line,) = (tmp_path / 'run.log').read_text().splitlines()
    assert f'WARNING - {colour!r} has values 0 to 4095 of 0 to 65535' in line
