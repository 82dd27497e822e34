"""The pipelines of the base config, from files to what the networks see."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.runner import Runner
from PIL import Image

from ugatit_mm.datasets import PairIndex, UGATITDataset, apply_img_size

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/unpaired_256.py'

pytestmark = pytest.mark.usefixtures('mmagic_scope')


@pytest.fixture
def cfg(data_root):
    """The base config on the small data set, at 16 px (46 before the crop)."""
    cfg = Config.fromfile(CONFIG)
    cfg.img_size = 16
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].dataset.data_root = str(data_root)
    apply_img_size(cfg)
    return cfg


def read(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def resize(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def augmentation(path: str, output: torch.Tensor, load_size: int) -> tuple[bool, int, int]:
    """The (flip, y, x) that made a training image of a file, found by looking for its pixels."""
    crop = output.numpy().transpose(1, 2, 0)
    for flip in (False, True):
        image = read(path)[:, ::-1] if flip else read(path)
        windows = np.lib.stride_tricks.sliding_window_view(
            resize(np.ascontiguousarray(image), load_size), crop.shape
        )[:, :, 0]
        hits = np.argwhere((windows == crop).all(axis=(2, 3, 4)))
        if len(hits):
            assert len(hits) == 1
            return flip, int(hits[0][0]), int(hits[0][1])
    raise AssertionError('not a crop of the resized image, flipped or not')


def sizes_of(pipeline: list) -> tuple:
    """Every size that a step of the pipeline resizes or crops to, each once, in order."""
    sizes = (step.get('scale') or step.get('crop_size') for step in pipeline)
    return tuple(dict.fromkeys(size for size in sizes if size))


def test_sizes_of_the_config_as_it_stands():
    cfg = Config.fromfile(CONFIG)
    assert sizes_of(cfg.train_pipeline) == ((286, 286), (256, 256))
    assert sizes_of(cfg.test_pipeline) == ((256, 256),)
    before = cfg.to_dict()
    apply_img_size(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('side', [20, 256])
def test_test_pipeline_is_pillows_bilinear_resize_in_rgb(cfg, data_root, side):
    cfg.img_size = side
    apply_img_size(cfg)
    # What MMagic's TranslationInferencer feeds: one path under three keys.
    path = str(data_root / 'testA' / '0.png')
    packed = Compose(cfg.test_pipeline)(
        dict.fromkeys(('pair_path', 'img_A_path', 'img_B_path'), path)
    )
    expected = resize(read(path), side).transpose(2, 0, 1)
    for key in ('img_A', 'img_B'):
        assert packed['inputs'][key].dtype == torch.uint8
        np.testing.assert_array_equal(packed['inputs'][key], expected)
        np.testing.assert_array_equal(packed['data_samples'].get(key), expected)


def test_sample_carries_its_metadata(cfg, data_root):
    sample = UGATITDataset(data_root, cfg.train_pipeline)[PairIndex(3, 1, 0)]
    assert sample['data_samples'].metainfo == {
        'img_A_path': str(data_root / 'trainA' / '3.png'),
        'img_B_path': str(data_root / 'trainB' / '1.png'),
        'ori_img_A_shape': (30, 40, 3),
        'ori_img_B_shape': (30, 40, 3),
        'img_A_channel_order': 'RGB',
        'img_B_channel_order': 'RGB',
        'img_A_color_type': 'color',
        'img_B_color_type': 'color',
    }


def test_train_pipeline_flips_resizes_and_crops_each_domain_on_its_own(cfg, data_root):
    dataset = UGATITDataset(data_root, cfg.train_pipeline)
    count = 300
    found = []
    for seed in range(count):
        sample = dataset[PairIndex(seed % 5, seed % 3, seed)]
        found.append(
            [
                augmentation(sample['data_samples'].get(f'img_{d}_path'), image, 46)
                for d, image in zip('AB', (sample['inputs']['img_A'], sample['inputs']['img_B']))
            ]
        )
    draws = np.array(found, dtype=int)  # (count, domain, [flip, y, x])
    # Bounds of four standard deviations or more.
    np.testing.assert_allclose(draws[..., 0].mean(axis=0), 0.5, atol=0.12)
    assert abs((draws[:, 0, 0] == draws[:, 1, 0]).mean() - 0.5) < 0.12
    offsets = draws[..., 1:].reshape(count, 4)
    assert offsets.min() == 0
    assert offsets.max() == 30  # 46 - 16, both ends included
    np.testing.assert_allclose(offsets.mean(axis=0), 15, atol=2.1)
    correlation = np.corrcoef(draws.reshape(count, 6).T) - np.eye(6)
    assert np.abs(correlation).max() < 0.24


def test_sources_are_not_changed_by_flipping_in_place(cfg, data_root):
    before = read(data_root / 'trainA' / '0.png').copy()
    dataset = UGATITDataset(data_root, cfg.train_pipeline)
    for seed in range(4):
        dataset[PairIndex(0, 0, seed)]
    np.testing.assert_array_equal(read(data_root / 'trainA' / '0.png'), before)


def batches(cfg: Config, workers: int, seed: int, count: int, start: int = 0) -> list:
    loader_cfg = cfg.train_dataloader.copy()
    loader_cfg.update(batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    loader = Runner.build_dataloader(loader_cfg, seed=seed)
    loader.sampler.set_position(start)
    return [[batch['inputs'][key] for key in ('img_A', 'img_B')] for batch in islice(loader, count)]


def equal(one: list, other: list) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, other) for a, b in zip(x, y))


def test_batches_depend_only_on_seed_and_position(cfg):
    whole = batches(cfg, 0, seed=1, count=6)
    np.random.seed(5)
    torch.manual_seed(5)
    assert equal(whole, batches(cfg, 0, seed=1, count=6))
    assert equal(whole, batches(cfg, 1, seed=1, count=6))
    assert equal(whole, batches(cfg, 2, seed=1, count=6))
    assert not equal(whole, batches(cfg, 0, seed=2, count=6))
    # As after a resume: four batches of two are done.
    assert equal(whole[4:], batches(cfg, 2, seed=1, count=2, start=8))


def test_training_receives_each_image_once_and_as_mmengines_own_collation_gives_it(cfg):
    loader_cfg = cfg.train_dataloader.copy()
    loader_cfg.update(batch_size=3, num_workers=0, persistent_workers=False)
    batch = next(iter(Runner.build_dataloader(loader_cfg, seed=0)))
    assert batch['inputs']['img_A'].shape == (3, 3, 16, 16)
    assert batch['inputs']['img_A'].dtype == torch.uint8
    assert all(sample.keys() == [] for sample in batch['data_samples'])
    loader_cfg.collate_fn = {'type': 'pseudo_collate'}
    listed = next(iter(Runner.build_dataloader(loader_cfg, seed=0)))
    preprocessor = MODELS.build(
        {'type': 'DataPreprocessor', 'output_channel_order': 'RGB', 'data_keys': None}
    )
    one, other = (preprocessor(data, training=True)['inputs'] for data in (batch, listed))
    for key in ('img_A', 'img_B'):
        assert torch.equal(one[key], other[key])


def test_test_loader_shows_every_image(cfg):
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=0)
    samples = [batch['data_samples'][0] for batch in loader]
    for domain, count in (('A', 2), ('B', 4)):
        stems = {Path(s.get(f'img_{domain}_path')).stem for s in samples}
        assert stems == {str(i) for i in range(count)}


@pytest.mark.parametrize(('order', 'red'), [('RGB', 0), ('BGR', 2)])
def test_preprocessor_knows_the_channel_order(cfg, tmp_path, order, red):
    path = str(tmp_path / 'red.png')
    Image.new('RGB', (8, 8), (255, 0, 0)).save(path)
    packed = Compose(cfg.test_pipeline)({'img_A_path': path, 'img_B_path': path})
    preprocessor = MODELS.build(
        {
            'type': 'DataPreprocessor',
            'mean': 127.5,
            'std': 127.5,
            'output_channel_order': order,
            'data_keys': ['img_A', 'img_B'],
        }
    )
    data = preprocessor(default_collate([packed]), training=False)
    image = data['inputs']['img_A']
    assert image.shape == (1, 3, 16, 16)
    expected = [-1.0, -1.0, -1.0]
    expected[red] = 1.0
    assert image[0, :, 5, 5].tolist() == expected


def every_size(cfg: Config) -> dict:
    return {
        'train_pipeline': sizes_of(cfg.train_pipeline),
        'train_dataset': sizes_of(cfg.train_dataloader.dataset.pipeline),
        'test_pipeline': sizes_of(cfg.test_pipeline),
        'val_dataset': sizes_of(cfg.val_dataloader.dataset.pipeline),
        'test_dataset': sizes_of(cfg.test_dataloader.dataset.pipeline),
    }


def sizes(load: int, size: int) -> dict:
    train, test = ((load, load), (size, size)), ((size, size),)
    return {
        'train_pipeline': train,
        'train_dataset': train,
        'test_pipeline': test,
        'val_dataset': test,
        'test_dataset': test,
    }


@pytest.mark.parametrize(
    ('options', 'load', 'size'),
    [({'img_size': 128}, 158, 128), ({'img_size': 64, 'load_size': 79}, 79, 64)],
)
def test_size_from_the_command_line(options, load, size):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(options)
    apply_img_size(cfg)
    assert every_size(cfg) == sizes(load, size)


def test_size_from_a_child_config_reaches_the_model(tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        'img_size = 128\n'
        "model = dict(generator=dict(type='G', img_size=256), heads=[dict(img_size=256)])\n"
    )
    cfg = Config.fromfile(child)
    apply_img_size(cfg)
    assert every_size(cfg) == sizes(158, 128)
    assert cfg.model == {'generator': {'type': 'G', 'img_size': 128}, 'heads': [{'img_size': 128}]}


@pytest.mark.parametrize(
    ('options', 'load'),
    [
        ({}, (94, 188)),  # the shorter side and 30, the other in proportion
        ({'load_size': 80}, (80, 160)),
        ({'load_size': (64, 130)}, (64, 130)),
        ({'load_size': [70, 128]}, (70, 128)),
    ],
)
def test_a_rectangle_from_the_command_line(options, load):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({'img_size': (64, 128), 'model.generator': {'img_size': 256}} | options)
    apply_img_size(cfg)
    height, width = load
    steps = cfg.train_dataloader.dataset.pipeline
    assert [tuple(step.scale) for step in steps[:2]] == 2 * [(width, height)]
    assert tuple(steps[4].crop_size) == (64, 128)
    assert [tuple(step.scale) for step in cfg.test_pipeline[:2]] == 2 * [(128, 64)]
    assert tuple(cfg.model.generator.img_size) == (64, 128)


@pytest.mark.parametrize(
    ('options', 'load'), [({}, (96, 128)), ({'load_size': 120}, (120, 160))], ids=str
)
def test_training_may_see_parts_of_pictures(options, load):
    """At the scale of the tests, unless load_size says another; the model is for whole pictures."""
    cfg = Config.fromfile(CONFIG)
    size = {'img_size': (96, 128), 'crop_size': 64, 'model.generator': {'img_size': 256}}
    cfg.merge_from_dict(size | options)
    apply_img_size(cfg)
    steps = cfg.train_dataloader.dataset.pipeline
    assert [tuple(step.scale) for step in steps[:2]] == 2 * [load[::-1]]
    assert tuple(steps[4].crop_size) == (64, 64)
    assert [tuple(step.scale) for step in cfg.test_pipeline[:2]] == 2 * [(128, 96)]
    assert tuple(cfg.model.generator.img_size) == (96, 128)


@pytest.mark.parametrize(('options', 'scale'), [({}, (128, 64)), ({'load_size': 80}, (160, 80))])
def test_sizes_that_keep_the_proportions(options, scale):
    """Without load_size the crop takes off what a picture has more than the size."""
    cfg = Config.fromfile(CONFIG.with_name('unpaired_256_kept.py'))
    loads = cfg.train_dataloader.dataset.pipeline[:2]
    assert [(step.scale, step.keep_ratio) for step in loads] == [((256, 256), True)] * 2
    cfg.merge_from_dict({'img_size': (64, 128)} | options)
    apply_img_size(cfg)
    steps = cfg.train_dataloader.dataset.pipeline
    assert [tuple(step.scale) for step in steps[:2]] == 2 * [scale]
    assert tuple(steps[4].crop_size) == (64, 128)
    assert [tuple(step.scale) for step in cfg.test_pipeline[:2]] == 2 * [(128, 64)]


def test_pictures_in_their_own_proportions(data_root):
    """Resized to the shorter side, flipped at most, and cut along the longer side only."""
    cfg = Config.fromfile(CONFIG.with_name('unpaired_256_kept.py'))
    cfg.img_size = 18
    cfg.train_dataloader.dataset.data_root = str(data_root)
    apply_img_size(cfg)
    dataset = UGATITDataset(str(data_root), cfg.train_dataloader.dataset.pipeline)
    seen = set()
    for seed in range(40):
        sample = dataset[PairIndex(0, 0, seed)]
        image = sample['inputs']['img_A'].numpy().transpose(1, 2, 0)
        path = sample['data_samples'].metainfo['img_A_path']
        whole = Image.open(path)
        assert whole.size == (40, 30)
        whole = np.asarray(whole.resize((24, 18), Image.Resampling.BILINEAR))
        hits = [
            (flip, x)
            for flip, picture in ((False, whole), (True, whole[:, ::-1]))
            for x in range(7)
            if np.array_equal(picture[:, x : x + 18], image)
        ]
        assert len(hits) == 1
        seen.update(hits)
    assert {flip for flip, _ in seen} == {False, True} and len({x for _, x in seen}) > 4


def test_both_sides_alike_are_a_square():
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({'img_size': (64, 64), 'model.generator': {'img_size': 256}})
    apply_img_size(cfg)
    assert every_size(cfg) == sizes(94, 64) and cfg.model.generator.img_size == 64


def test_no_size_leaves_a_config_unchanged():
    cfg = Config({'test_pipeline': [{'type': 'Resize', 'scale': (7, 9)}]})
    apply_img_size(cfg)
    cfg.img_size = None
    apply_img_size(cfg)
    assert cfg.test_pipeline[0].scale == (7, 9)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'img_size': '128'}, TypeError, 'img_size must be an integer'),
        ({'img_size': 12.5}, TypeError, 'img_size must be an integer'),
        ({'img_size': 128, 'load_size': '1'}, TypeError, 'load_size must be an integer'),
        ({'img_size': (128, 64, 3)}, TypeError, r'an integer, or \(height, width\), got \(128, '),
        ({'img_size': (64, 0)}, ValueError, 'img_size must be positive'),
        ({'img_size': (64, 96), 'load_size': (70, 90)}, ValueError, r'70x90\) must .* \(64x96\)'),
        ({'img_size': 0}, ValueError, 'img_size must be positive'),
        ({'img_size': 128, 'load_size': 127}, ValueError, 'at least img_size'),
        ({'img_size': 128, 'crop_size': 129}, ValueError, r'\(128\) must be at least crop_size'),
        ({'img_size': 128, 'crop_size': 0}, ValueError, 'crop_size must be positive, got 0'),
        ({'img_size': 128, 'crop_size': 'x'}, TypeError, 'crop_size must be an integer'),
    ],
)
def test_bad_sizes(options, error, message):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(options)
    with pytest.raises(error, match=message):
        apply_img_size(cfg)


def test_size_without_a_step_to_set_is_an_error():
    cfg = Config({'img_size': 64, 'test_pipeline': [{'type': 'PackInputs'}]})
    with pytest.raises(ValueError, match=r'no pipeline .* Resize or Crop'):
        apply_img_size(cfg)
