"""Pictures with smoothed edges: the official bytes, and next to their picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cyclegan_helpers import recorded
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate

from ugatit_mm.datasets import PairIndex, SmoothEdges, UGATITDataset, apply_channels, apply_img_size
from ugatit_mm.datasets.edges import WIDE, grey_of, smooth_edges
from ugatit_mm.models.base import TranslationPreprocessor

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/unpaired_256_edges.py'
BOTH = ['img_B', 'img_B_smooth']

pytestmark = pytest.mark.usefixtures('mmagic_scope')


@pytest.fixture
def cfg(data_root):
    cfg = Config.fromfile(CONFIG)
    cfg.img_size = 32
    cfg.train_dataloader.dataset.data_root = str(data_root)
    apply_img_size(cfg)
    return cfg


def square(channels: int = 3) -> np.ndarray:
    """A bright square on black, (40, 48, C), channels of different values."""
    picture = np.zeros((40, 48, channels), np.uint8)
    picture[12:28, 16:32] = 250 - 30 * np.arange(channels)
    return picture


def test_official_bytes():
    numbers = recorded('edge_smoothing.npz')
    size = (int(numbers['size']),) * 2
    resized = cv2.resize(numbers['source_bgr'], size)
    assert np.array_equal(resized, numbers['resized_bgr'])
    grey = cv2.resize(numbers['grey_source'], size)
    assert np.array_equal(cv2.dilate(cv2.Canny(grey, 100, 200), WIDE), numbers['dilated'])
    assert np.array_equal(smooth_edges(resized, grey), numbers['smoothed_bgr'])
    # Our grey is made of the resized colours, theirs is decoded as such: it may differ by little.
    ours = smooth_edges(resized[..., ::-1], grey_of(resized[..., ::-1]))[..., ::-1]
    assert (ours != numbers['smoothed_bgr']).any(2).mean() < 0.05


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 6])
def test_a_square_is_blurred_at_its_edge_only(channels):
    """By hand: a 5 x 5 binomial mean, its fraction cut, within 3 pixels of the edge."""
    picture = square(channels)
    found = SmoothEdges().transform({'img_B': picture})['img_B_smooth']
    assert found.shape == picture.shape and found.dtype == np.uint8
    changed = (found != picture).any(2)
    inner, outer = np.zeros((40, 48), bool), np.zeros((40, 48), bool)
    outer[9:31, 13:35] = True  # Canny is on one side of the step or on the other
    inner[15:25, 19:29] = True
    assert changed.any() and not changed[~outer].any() and not changed[inner].any()
    weights = np.array([1, 4, 6, 4, 1]) / 16
    for column, share in ((15, weights[3:].sum()), (16, weights[2:].sum())):
        expected = np.floor(picture[20, 24] * share)
        assert np.array_equal(found[20, column], expected)
    assert np.array_equal(picture, square(channels))


def test_a_picture_without_edges_is_copied():
    picture = np.full((16, 16, 3), 9, np.uint8)
    found = SmoothEdges('img_A', 'other').transform({'img_A': picture})['other']
    assert np.array_equal(found, picture) and not np.shares_memory(found, picture)


def test_pipeline(cfg, tmp_path):
    """At img_size, in the picture's colours, the same whether the picture comes from a cache."""
    fields = dict(cfg.train_dataloader.dataset)
    fields.pop('type')
    samples = [
        UGATITDataset(**fields, cache=folder)[PairIndex(1, 2, 3)]
        for folder in (
            None,
            Path(fields['data_root']) / 'cache',
            Path(fields['data_root']) / 'cache',
        )
    ]
    for sample in samples:
        inputs = sample['inputs']
        assert list(inputs) == ['img_A', *BOTH]
        assert {tuple(image.shape) for image in inputs.values()} == {(3, 32, 32)}
        picture = inputs['img_B'].numpy().transpose(1, 2, 0)
        expected = smooth_edges(picture, grey_of(picture)).transpose(2, 0, 1)
        assert np.array_equal(inputs['img_B_smooth'], expected)
        assert (inputs['img_B_smooth'] != inputs['img_B']).any()
    batch = {
        'inputs': default_collate([samples[0]['inputs']]),
        'data_samples': [samples[0]['data_samples']],
    }
    seen = TranslationPreprocessor()(batch, True)['inputs']
    for key in BOTH:
        torch.testing.assert_close(seen[key][0] * 127.5 + 127.5, samples[0]['inputs'][key].float())


@pytest.mark.parametrize('channels', [1, 4])
def test_channels(cfg, channels):
    cfg.channels = channels
    apply_channels(cfg)
    fields = dict(cfg.train_dataloader.dataset)
    fields.pop('type')
    inputs = UGATITDataset(**fields)[PairIndex(0, 0, 0)]['inputs']
    assert {tuple(image.shape) for image in inputs.values()} == {(channels, 32, 32)}


@pytest.mark.parametrize('seed', range(4))
def test_both_are_flipped_and_cropped_alike(cfg, data_root, seed):
    load, _, smooth, pack = cfg.train_pipeline
    cfg.train_pipeline = [
        load,
        {**load, 'key': 'img_B'},
        smooth,
        dict(type='Flip', keys=BOTH, flip_ratio=0.5, direction='horizontal'),
        dict(type='Crop', keys=['img_A'], crop_size=(16, 16)),
        dict(type='FixedCrop', keys=BOTH, crop_size=(16, 16)),
        pack,
    ]
    cfg.img_size, cfg.load_size = 24, 40
    cfg.train_dataloader.dataset.pipeline = cfg.train_pipeline
    apply_img_size(cfg)
    fields = dict(cfg.train_dataloader.dataset)
    fields.pop('type')
    sample = UGATITDataset(**fields)[PairIndex(0, 1, seed)]
    data, inputs = sample['data_samples'], sample['inputs']
    assert {tuple(image.shape) for image in inputs.values()} == {(3, 24, 24)}
    whole = Compose([dict(type='LoadRGBImage', key='img_B', scale=(40, 40))])(
        {'img_B_path': data.img_B_path}
    )['img_B']
    places = []
    for picture in (whole, smooth_edges(whole, grey_of(whole))):
        for flip in (False, True):
            shown = np.ascontiguousarray(picture[:, ::-1] if flip else picture)
            windows = np.lib.stride_tricks.sliding_window_view(shown, (24, 24, 3))[:, :, 0]
            image = inputs[BOTH[len(places)]].numpy().transpose(1, 2, 0)
            hits = np.argwhere((windows == image).all(axis=(2, 3, 4)))
            if len(hits):
                places.append((flip, *hits[0]))
                break
    assert len(places) == 2 and places[0] == places[1]


def test_a_load_size_that_nothing_crops_is_an_error(cfg):
    cfg.load_size = 40
    with pytest.raises(ValueError, match='load_size is 40, but no pipeline of this config crops'):
        apply_img_size(cfg)
