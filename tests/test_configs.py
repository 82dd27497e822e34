"""Every config loads, builds at tiny width, and says what the paper says."""

import pytest
import torch
from helpers import ROOT, batch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ugatit_mm.config import configs_dir, find_config, load_config
from ugatit_mm.engine import UGATITOptimWrapperConstructor

CONFIGS = sorted(
    path.relative_to(ROOT / 'configs')
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
TINY = {
    'img_size': 32,
    'load_size': 36,
    'model.generator.base_channels': 4,
    'model.generator.num_blocks': 1,
    'model.generator.norm_groups': 4,
    'model.discriminator.base_channels': 4,
    'model.discriminator.num_layers': (5, 4),
}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmagic')


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_builds_and_trains_at_tiny_width(path):
    cfg = load_config(ROOT / 'configs' / path, TINY)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = dict(cfg.optim_wrapper)
    assert wrapper.pop('constructor') == 'UGATITOptimWrapperConstructor'
    log = model.train_step(batch(), UGATITOptimWrapperConstructor(wrapper)(model))
    assert all(torch.tensor(value).isfinite() for value in log.values())


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_loads_with_mmengine_alone_and_needs_one_import(path):
    cfg = Config.fromfile(ROOT / 'configs' / path)
    assert cfg.custom_imports == {'imports': ['ugatit_mm'], 'allow_failed_imports': False}
    assert cfg.default_scope == 'mmagic'
    dumped = Config.fromstring(cfg.pretty_text, '.py')
    assert dumped.to_dict() == cfg.to_dict()


def test_values_of_the_paper():
    cfg = load_config('ugatit_selfie2anime')
    assert cfg.train_cfg.max_iters == 1_000_000
    assert cfg.train_dataloader.batch_size == 1
    assert cfg.param_scheduler.constant == 0.5
    for name in ('generators', 'discriminators'):
        assert cfg.optim_wrapper[name].optimizer == {
            'type': 'Adam',
            'lr': 1e-4,
            'betas': (0.5, 0.999),
            'weight_decay': 1e-4,
        }
    assert cfg.model.loss_config == {'gan': 1, 'cycle': 10, 'identity': 10, 'cam': 1000}
    generator, discriminator = cfg.model.generator, cfg.model.discriminator
    assert (generator.base_channels, generator.num_blocks, generator.img_size) == (64, 4, 256)
    assert not generator.light and generator.cam and generator.norm == 'adalin'
    assert (discriminator.base_channels, discriminator.num_layers) == (64, (7, 5))
    steps = {step['type']: step for step in cfg.train_pipeline}
    assert steps['Flip']['flip_ratio'] == 0.5
    assert steps['Resize']['scale'] == (286, 286) and steps['Crop']['crop_size'] == (256, 256)
    assert cfg.default_hooks.checkpoint.max_keep_ckpts > 0
    assert cfg.model.recipe == 'tensorflow'


def test_a_reverse_config_changes_the_default_direction_and_nothing_else():
    forward = load_config('ugatit_selfie2anime').to_dict()
    reverse = load_config('ugatit_anime2selfie').to_dict()
    assert forward['model'].pop('default_domain') == 'B'
    assert reverse['model'].pop('default_domain') == 'A'
    assert forward == reverse
    model = MODELS.build(load_config('ugatit_anime2selfie', TINY).model)
    assert model.direction() == 'anime2selfie'


def test_one_option_switches_the_recipe():
    cfg = load_config('ugatit_selfie2anime', {**TINY, 'model.recipe': 'pytorch'})
    model = MODELS.build(cfg.model)
    assert hasattr(model.generators['A'].cam, 'gap_fc')
    assert not model.joint_discrimination
    cfg.optim_wrapper.pop('constructor')
    groups = UGATITOptimWrapperConstructor(cfg.optim_wrapper)(model)['generators'].param_groups
    assert [group['weight_decay'] for group in groups] == [1e-4]


def test_shortcuts_reach_every_place():
    cfg = load_config(
        'ugatit_custom',
        {'data_root': 'x', 'img_size': 128, 'domains.A': 'cat', 'domains.B': 'dog'},
    )
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[loader].dataset.data_root == 'x'
    assert cfg.model.domains == {'A': 'cat', 'B': 'dog'} and 'domains' not in cfg
    assert cfg.model.generator.img_size == 128
    steps = {step['type']: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['Resize']['scale'] == (158, 158) and steps['Crop']['crop_size'] == (128, 128)
    for pipeline in (cfg.test_dataloader.dataset.pipeline, cfg.test_pipeline):
        steps = {step['type']: step for step in pipeline}
        assert steps['Resize']['scale'] == (128, 128)


def test_a_single_place_wins_over_a_shortcut():
    cfg = load_config(
        'ugatit_custom',
        {'test_dataloader.dataset.data_root': 'y', 'data_root': 'x', 'img_size': 64}
        | {'model.generator.img_size': 32},
    )
    assert cfg.train_dataloader.dataset.data_root == 'x'
    assert cfg.test_dataloader.dataset.data_root == 'y'
    assert cfg.model.generator.img_size == 32


def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configs_dir() == ROOT / 'configs'
    for name in ('ugatit_selfie2anime', 'configs/ugatit_selfie2anime.py'):
        assert find_config(name) == str(ROOT / 'configs' / 'ugatit_selfie2anime.py')
    assert find_config('light/ugatit_light_selfie2anime').endswith('selfie2anime.py')
    with pytest.raises(FileNotFoundError, match='no config ugatit_cat2mouse: .*ugatit_custom'):
        load_config('ugatit_cat2mouse')
