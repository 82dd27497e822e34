"""Every config loads, builds at tiny width, and says what the paper says."""

import itertools

import pytest
import torch
from helpers import ROOT, batch
from helpers import TINY as TINY_RUN
from mmagic.registry import MODELS, RUNNERS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.config import (
    MMENGINE_HOOKS,
    configs_dir,
    find_config,
    keep_mmengine_hooks,
    load_config,
)
from ugatit_mm.engine import UGATITOptimWrapperConstructor

CONFIGS = sorted(
    path.relative_to(ROOT / 'configs')
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
# One of each kind of model; the directions differ in names and data alone (test_data_of_the_paper).
KINDS = [
    path
    for path in CONFIGS
    if path.parent.name in ('ablation', 'demo') or path.stem.endswith(('custom', 'anime2selfie'))
]
TINY = {
    'img_size': 32,
    'load_size': 36,
    'model.generator.base_channels': 4,
    'model.generator.num_blocks': 1,
    'model.generator.norm_groups': 4,
    'model.discriminator.base_channels': 4,
    'model.discriminator.num_layers': (5, 4),
}

TINY_MODEL = {key: value for key, value in TINY.items() if key.startswith('model.')} | {
    'model.generator.img_size': TINY['img_size']
}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmagic')


@pytest.mark.parametrize('path', KINDS, ids=str)
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


@pytest.mark.parametrize('path', KINDS, ids=str)
def test_a_dumped_config_is_the_config(path):
    cfg = Config.fromfile(ROOT / 'configs' / path)
    dumped = Config.fromstring(cfg.pretty_text, '.py')
    assert dumped.to_dict() == cfg.to_dict()


# train A, train B, test A, test B as the paper has them (section 5.3 and appendix), domain A first.
PAPER = {
    ('selfie', 'anime'): (3400, 3400, 100, 100),
    ('horse', 'zebra'): (1067, 1334, 120, 140),
    ('cat', 'dog'): (871, 1364, 120, 140),
    ('photo', 'portrait'): (6452, 1811, 751, 400),
    ('photo', 'vangogh'): (6287, 400, 751, 400),
}
FORWARD = ['2'.join(domains) for domains in PAPER]
DIRECTIONS = FORWARD + ['2'.join(reversed(domains)) for domains in PAPER]
OF_THE_PAPER = (
    [f'ugatit_{name}' for name in DIRECTIONS]
    + [f'light/ugatit_light_{name}' for name in DIRECTIONS]
    + [f'ablation/{path.stem}' for path in CONFIGS if path.parent.name == 'ablation']
)


def test_all_directions_are_there():
    assert len(set(DIRECTIONS)) == 10 and len(OF_THE_PAPER) == 28
    names = {str(path.with_suffix('')) for path in CONFIGS}
    others = {'ugatit_custom', 'demo/ugatit_demo', 'demo/ugatit_daisy2sunflower'}
    assert names == {*OF_THE_PAPER, *others}


@pytest.mark.parametrize('name', OF_THE_PAPER)
def test_settings_of_the_paper(name):
    """Section 5.1 of the paper, in the resolved config of every direction and ablation."""
    cfg = load_config(name)
    assert cfg.train_cfg.max_iters == 1_000_000
    assert cfg.train_dataloader.batch_size == 1
    # constant for 500,000 iterations, then linear to 0 at the end
    assert cfg.param_scheduler == dict(
        type='LinearDecayLR', by_epoch=False, constant=0.5, interval=1
    )
    for wrapper in ('generators', 'discriminators'):
        assert cfg.optim_wrapper[wrapper].optimizer == {
            'type': 'Adam',
            'lr': 1e-4,
            'betas': (0.5, 0.999),
            'weight_decay': 1e-4,
            'fused': True,
        }
        assert cfg.optim_wrapper[wrapper].get('accumulative_counts', 1) == 1
    assert cfg.model.loss_config == {'gan': 1, 'cycle': 10, 'identity': 10, 'cam': 1000}
    generator, discriminator = cfg.model.generator, cfg.model.discriminator
    assert (generator.base_channels, generator.num_blocks, generator.img_size) == (64, 4, 256)
    assert generator.light == name.startswith('light/')
    if not name.startswith('ablation/'):
        assert generator.cam and generator.norm == 'adalin' and discriminator.cam
    assert (discriminator.base_channels, discriminator.num_layers) == (64, (7, 5))
    pipeline = cfg.train_dataloader.dataset.pipeline
    flips = [step for step in pipeline if step['type'] == 'Flip']
    assert [(step['keys'], step['flip_ratio']) for step in flips] == [
        (['img_A'], 0.5),
        (['img_B'], 0.5),
    ]
    steps = {step['type']: step for step in pipeline}
    assert steps['LoadRGBImage']['scale'] == (286, 286) and steps['Crop']['crop_size'] == (256, 256)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        steps = {step['type']: step for step in loader.dataset.pipeline}
        assert steps['LoadRGBImage']['scale'] == (256, 256) and 'Flip' not in steps
    assert cfg.default_hooks.checkpoint.max_keep_ckpts > 0
    assert cfg.model.recipe == 'tensorflow'


@pytest.mark.parametrize('name', OF_THE_PAPER)
def test_data_of_the_paper(name):
    cfg = load_config(name)
    a, b = cfg.model.domains['A'], cfg.model.domains['B']
    counts = dict(zip(('trainA', 'trainB', 'testA', 'testB'), PAPER[a, b], strict=True))
    assert cfg.paper_images == counts
    direction = f'{b}2{a}' if cfg.model.default_domain == 'A' else f'{a}2{b}'
    assert name.endswith(f'_{direction}')
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[loader].dataset.data_root == f'data/{a}2{b}'


@pytest.mark.parametrize('light', ['ugatit_', 'light/ugatit_light_'])
@pytest.mark.parametrize('domains', PAPER, ids='2'.join)
def test_a_reverse_config_changes_the_default_direction_and_nothing_else(domains, light):
    forward, reverse = (
        load_config(f'{light}{"2".join(order)}').to_dict() for order in (domains, domains[::-1])
    )
    assert forward['model'].pop('default_domain') == 'B'
    assert reverse['model'].pop('default_domain') == 'A'
    assert forward == reverse


def test_the_model_takes_the_default_direction():
    for name in ('ugatit_anime2selfie', 'ugatit_vangogh2photo', 'ugatit_cat2dog'):
        model = MODELS.build(load_config(name, TINY).model)
        assert model.direction() == name.removeprefix('ugatit_')


def test_the_ablations_are_the_eight_rows_and_differ():
    """Table 1: what each row changes, by what is built."""
    rows = {
        path.stem.split('_', 1)[1].rsplit('_', 1)[0]: load_config(f'ablation/{path.stem}')
        for path in CONFIGS
        if path.parent.name == 'ablation'
    }
    fields = {
        name: (cfg.model.generator.norm, cfg.model.generator.cam, cfg.model.discriminator.cam)
        for name, cfg in rows.items()
    }
    assert fields == {
        'adalin': ('adalin', True, True),
        'in': ('in', True, True),
        'ln': ('ln', True, True),
        'adain': ('adain', True, True),
        'gn': ('gn', True, True),
        'no_cam': ('adalin', False, False),
        'no_g_cam': ('adalin', False, True),
        'no_d_cam': ('adalin', True, False),
    }
    full = load_config('ugatit_selfie2anime').to_dict()
    assert rows['adalin'].to_dict() == full
    assert rows['gn'].model.generator.norm_groups == 32
    seen = []
    for cfg in rows.values():
        assert cfg.to_dict() | {'model': None} == full | {'model': None}  # the model alone differs
        cfg.merge_from_dict(TINY_MODEL)
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        with torch.no_grad():
            images = model.translation(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32), 'B')
        seen.append((str(model), [round(value, 6) for value in images.flatten()[:50].tolist()]))
    assert all(a != b for a, b in itertools.combinations(seen, 2))


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
    assert steps['LoadRGBImage']['scale'] == (158, 158) and steps['Crop']['crop_size'] == (128, 128)
    for pipeline in (cfg.test_dataloader.dataset.pipeline, cfg.test_pipeline):
        steps = {step['type']: step for step in pipeline}
        assert steps['LoadRGBImage']['scale'] == (128, 128)


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


def test_an_option_that_nobody_reads_is_refused():
    with pytest.raises(ValueError, match=r'unknown option randomnes\.seed: is it randomness\?'):
        load_config('ugatit_custom', {'randomnes.seed': 0})
    with pytest.raises(ValueError, match=r'unknown option zebra: there are .*, model, '):
        load_config('ugatit_custom', {'zebra': 1})
    assert load_config('ugatit_custom', {'compile': True, 'experiment_name': 'x'}).compile is True


# The project's hooks as configs listed them before they had names.
LISTED = [
    dict(type='TranslationSheetHook', interval=2, num_images=4),
    dict(type='InterruptHook'),
    dict(type='ProvenanceHook'),
    dict(type='GatherShardsHook'),
    dict(type='RhoHook', interval=100),
    dict(type='BadPicturesHook', interval=100),
    dict(type='FiniteHook', patience=7),
    dict(type='WatchHook', interval=500),
]


def hooks_of(cfg: Config) -> list[str]:
    """The hooks of the project, in the order in which the runner calls them."""
    mmengines = ('RuntimeInfoHook', 'IterTimerHook', 'DistSamplerSeedHook', 'ParamSchedulerHook')
    names = [type(hook).__name__ for hook in RUNNERS.build(cfg).hooks]
    return [name for name in names if name not in (*mmengines, 'LoggerHook')]


def test_hooks_by_name(data_root, tmp_path):
    where = {'data_root': str(data_root), 'work_dir': str(tmp_path)}
    cfg = load_config('ugatit_custom', {**TINY_RUN, **where})
    assert cfg.custom_hooks == []
    assert hooks_of(cfg) == [
        'ProvenanceHook',
        'BadPicturesHook',
        'TranslationSheetHook',
        'RhoHook',
        'UGATITCheckpointHook',
        'InterruptHook',
        'FiniteHook',
        'WatchHook',
    ]
    none = {f'default_hooks.{name}': None for name in ('watch', 'sheets', 'rho', 'checkpoint')}
    options = {**TINY_RUN, **where, **none, 'experiment_name': 'fewer'}
    del options['default_hooks.sheets.interval'], options['default_hooks.checkpoint.interval']
    assert hooks_of(load_config('ugatit_custom', options)) == [
        'ProvenanceHook',
        'BadPicturesHook',
        'InterruptHook',
        'FiniteHook',
    ]


def test_a_work_dir_of_before_hooks_had_names_goes_on(data_root, tmp_path):
    """Its config, with the list, trains and resumes; each hook is there once."""
    cfg = load_config('ugatit_custom', {**TINY_RUN, 'data_root': str(data_root)})
    keep_mmengine_hooks(cfg)
    cfg.custom_hooks, cfg.work_dir = LISTED, str(tmp_path)
    cfg.dump(tmp_path / 'old.py')
    before = load_config(tmp_path / 'old.py')
    assert [hook.type for hook in before.custom_hooks] == [
        hook['type'] for hook in LISTED if hook['type'] != 'GatherShardsHook'
    ]
    run_training(before)
    again = load_config(tmp_path / 'old.py', {'train_cfg.max_iters': 5, 'resume': True})
    assert run_training(again).iter == 5
    metrics = run_test(load_config(tmp_path / 'old.py'), tmp_path / 'iter_5.pth')
    assert metrics['A2B/colour'] > 0


def test_a_list_of_hooks_takes_the_place_of_the_named_ones(tmp_path):
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {str(ROOT / "configs" / "ugatit_custom.py")!r}\ncustom_hooks = {LISTED[:3]}\n'
    )
    cfg = load_config(tmp_path / 'mine.py')
    assert [hook.type for hook in cfg.custom_hooks] == [hook['type'] for hook in LISTED[:3]]
    assert {*cfg.default_hooks} - {*MMENGINE_HOOKS} == {'rho', 'bad_pictures', 'finite', 'watch'}
