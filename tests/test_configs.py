"""Every config loads, builds at tiny width, and says what the paper says."""

import itertools
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from helpers import BATCH_OF, ROOT, TINY_OF, batch
from mmagic.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS, RUNNERS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from yapf.yapflib.yapf_api import FormatCode

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.config import (
    MMENGINE_HOOKS,
    config_names,
    configs_dir,
    data_set,
    find_config,
    keep_mmengine_hooks,
    load_config,
)
from ugatit_mm.engine import LinearDecayLR, UGATITOptimWrapperConstructor
from ugatit_mm.evaluation.paper import TABLE_3
from ugatit_mm.models import DRIT
from ugatit_mm.models.base import TRANSLATION_MODELS

CONFIGS = sorted(
    path.relative_to(ROOT / 'configs')
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
# One of each kind of model; the directions differ in names and data only (test_data_of_the_paper).
KINDS = [
    path
    for path in CONFIGS
    if path.parent.name in ('ablation', 'demo') or path.stem.endswith(('custom', 'anime2selfie'))
]
# Tiny networks that are of the config's kind all the same.
TINY = {
    name: {key: value for key, value in options.items() if key != 'model.generator.light'}
    for name, options in TINY_OF.items()
}
TINY['ugatit']['model.generator.norm_groups'] = 4


@cache
def read(name: str) -> tuple[Config, Config]:
    """A config by our loader and by MMEngine's, for all that change nothing in it."""
    return load_config(name), Config.fromfile(find_config(name))


def name_of(path: Path) -> str:
    """The model that a config is of."""
    return path.stem.split('_')[0]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmagic')


@pytest.mark.parametrize('path', KINDS, ids=str)
def test_builds_and_trains_at_tiny_width(path):
    cfg = load_config(ROOT / 'configs' / path, TINY[name_of(path)] | {'crop_size': None})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    assert name_of(path) == model.NAME
    model.init_weights()
    wrapper = dict(cfg.optim_wrapper)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(wrapper.pop('constructor'))
    data = batch(pictures=model.PICTURES, **BATCH_OF.get(model.NAME, {}))
    log = model.train_step(data, constructor(wrapper)(model))
    assert {'loss_d', 'loss_g'} <= log.keys()
    assert all(torch.tensor(value).isfinite() for value in log.values())


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_loads_with_mmengine_alone_and_needs_one_import(path):
    _, cfg = read(path.with_suffix('').as_posix())
    assert cfg.custom_imports == {'imports': ['ugatit_mm'], 'allow_failed_imports': False}
    assert cfg.default_scope == 'mmagic'


@pytest.mark.parametrize('path', KINDS, ids=str)
def test_a_dumped_config_is_the_config(path, monkeypatch):
    if path.stem == 'ugatit_custom':  # laid out, as in a work folder
        monkeypatch.setattr('mmengine.config.config.FormatCode', FormatCode)
    _, cfg = read(path.with_suffix('').as_posix())
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
# What begins the names of a model's configs for the ten directions. A model adds its row.
BEGINNINGS = {
    'ugatit': ['ugatit_', 'light/ugatit_light_'],
    'cyclegan': ['baselines/cyclegan_'],
    'aggan': ['baselines/aggan_'],
    'cartoongan': ['baselines/cartoongan_'],
    'unit': ['baselines/unit_'],
    'munit': ['baselines/munit_'],
    'drit': ['baselines/drit_'],
}
MODEL_OF = {model.NAME: model for model in TRANSLATION_MODELS.values()}
# Sizes of a training's pictures, before the crop and of it, and its batch; others have the first.
SIZES = {
    'ugatit': (286, 256, 1),
    'unit': (256, 256, 1),
    'munit': (256, 256, 1),
    'drit': (256, 216, 2),
}
ABLATIONS = [f'ablation/{path.stem}' for path in CONFIGS if path.parent.name == 'ablation']
CARTOON = 'baselines/cartoongan_selfie2anime'
DEMOS = {'demo/ugatit_demo', 'demo/ugatit_photo2drawing', 'ugatit_short'}


def directions_of(name: str) -> list[str]:
    """A model's configs of the paper's data: of what its row of Table 3 has numbers for."""
    known = TABLE_3[MODEL_OF[name].ROW]
    return [start + each for start in BEGINNINGS[name] for each in DIRECTIONS if each in known]


OF_THE_PAPER = [*(config for name in BEGINNINGS for config in directions_of(name)), *ABLATIONS]


def test_all_directions_of_all_models_are_there():
    assert len(set(DIRECTIONS)) == 10 and len(ABLATIONS) == 8
    assert {*MODEL_OF} == {*BEGINNINGS} == {*TINY_OF}
    customs = {f'{starts[0]}custom' for starts in BEGINNINGS.values()}
    assert {path.with_suffix('').as_posix() for path in CONFIGS} == {
        *OF_THE_PAPER,
        *customs,
        *DEMOS,
    }
    assert {*config_names()} == {path.with_suffix('').as_posix() for path in CONFIGS}
    assert len({path.stem for path in CONFIGS}) == len(CONFIGS)  # found without the folder


@pytest.mark.parametrize('name', [name for name in OF_THE_PAPER if 'ablation' not in name])
def test_a_direction_is_a_few_lines_that_repeat_no_fact(name):
    text = (ROOT / 'configs' / f'{name}.py').read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith('#')]
    assert len(lines) <= 5
    of_the_data = {str(count) for counts in PAPER.values() for count in counts} | {'data/'}
    of_the_data.remove('100')  # also epochs
    assert not any(fact in line for fact in of_the_data for line in lines)


@pytest.mark.parametrize('name', [name for name in OF_THE_PAPER if 'cartoongan' not in name])
def test_what_most_trainings_share(name):
    """Batch size, random flips and crops, in the resolved config, also without our loader."""
    for cfg in read(name):
        load_size, crop_size, batch_size = SIZES.get(name_of(Path(name)), SIZES['ugatit'])
        assert cfg.train_dataloader.batch_size == batch_size
        for wrapper in cfg.optim_wrapper.values():
            if isinstance(wrapper, dict):
                assert wrapper.get('accumulative_counts', 1) == 1
        pipeline = cfg.train_dataloader.dataset.pipeline
        flips = [step for step in pipeline if step['type'] == 'Flip']
        assert [(step['keys'], step['flip_ratio']) for step in flips] == [
            (['img_A'], 0.5),
            (['img_B'], 0.5),
        ]
        loads = [step for step in pipeline if step['type'] == 'LoadRGBImage']
        assert [(step['key'], step['scale']) for step in loads] == [
            ('img_A', (load_size,) * 2),
            ('img_B', (load_size,) * 2),
        ]
        crop = {step['type']: step for step in pipeline}['Crop']
        assert crop['crop_size'] == (crop_size,) * 2
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            steps = {step['type']: step for step in loader.dataset.pipeline}
            assert steps['LoadRGBImage']['scale'] == (256, 256) and 'Flip' not in steps
        assert cfg.default_hooks.checkpoint.max_keep_ckpts > 0


@pytest.mark.parametrize('name', [*directions_of('ugatit'), *ABLATIONS])
def test_settings_of_ugatit(name):
    """Section 5.1 of the paper, in the resolved config of every direction and ablation."""
    cfg, _ = read(name)
    assert cfg.train_cfg.max_iters == 1_000_000
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
    assert cfg.model.loss_config == {'gan': 1, 'cycle': 10, 'identity': 10, 'cam': 1000}
    generator, discriminator = cfg.model.generator, cfg.model.discriminator
    assert (generator.base_channels, generator.num_blocks, generator.img_size) == (64, 4, 256)
    assert generator.light == name.startswith('light/')
    if not name.startswith('ablation/'):
        assert generator.cam and generator.norm == 'adalin' and discriminator.cam
    assert (discriminator.base_channels, discriminator.num_layers) == (64, (7, 5))
    assert [step.get('interpolation') for step in loads_of(cfg)] == [None] * 6  # bilinear
    assert cfg.model.recipe == 'tensorflow'
    assert cfg.default_hooks.rho.type == 'RhoHook'


def loads_of(cfg: Config) -> list[dict]:
    """The steps of all loaders that read a picture."""
    return [
        step
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for step in cfg[loader].dataset.pipeline
        if step['type'] == 'LoadRGBImage'
    ]


# Iterations of 200 epochs, each the larger of the two training sets.
EPOCHS_200 = {
    'selfie2anime': 680_000,
    'horse2zebra': 266_800,
    'cat2dog': 272_800,
    'photo2portrait': 1_290_400,
    'photo2vangogh': 1_257_400,
}


@pytest.mark.parametrize('name', directions_of('cyclegan'))
def test_settings_of_cyclegan(name):
    """The defaults of the authors' PyTorch program."""
    for cfg in read(name):
        direction = name.removeprefix('baselines/cyclegan_')
        iterations = EPOCHS_200.get(direction) or EPOCHS_200['2'.join(direction.split('2')[::-1])]
        assert cfg.train_cfg.max_iters == iterations
        assert cfg.param_scheduler == dict(
            type='LinearDecayLR', by_epoch=False, constant=0.495, interval=iterations // 200
        )
        for wrapper in ('generators', 'discriminators'):
            assert cfg.optim_wrapper[wrapper].optimizer == {
                'type': 'Adam',
                'lr': 2e-4,
                'betas': (0.5, 0.999),
                'fused': True,
            }
        assert cfg.model.loss_config == {'gan': 1, 'cycle': 10, 'identity': 5}
        assert cfg.model.pool_size == 50
        generator, discriminator = cfg.model.generator, cfg.model.discriminator
        assert (generator.base_channels, generator.num_blocks) == (64, 9)
        assert (discriminator.base_channels, discriminator.num_layers) == (64, 3)
        assert [step.interpolation for step in loads_of(cfg)] == ['bicubic'] * 6
        assert 'rho' not in cfg.default_hooks


# Concatenation or not, iterations, those of them that train everything, and of an epoch, by the
# table of the reference. The official program stops at 500,000.
DRITS = {
    'selfie2anime': (False, 1_496_480, 500_000, 1700),
    'horse2zebra': (True, 1200 * 667, 267_600, 667),
    'cat2dog': (False, 1200 * 682, 273_600, 682),
    'photo2portrait': (False, 1_499_072, 500_000, 3226),
    'photo2vangogh': (True, 1_499_523, 500_000, 3143),
}


@pytest.mark.parametrize('name', directions_of('drit'))
def test_settings_of_drit(name):
    """The authors' options, and what the reference proposes where the paper leaves them open."""
    direction = name.removeprefix('baselines/drit_')
    row = DRITS.get(direction) or DRITS['2'.join(direction.split('2')[::-1])]
    concat, iterations, full, epoch = row
    for cfg in read(name):
        model = cfg.model
        assert model.generator.concat is model.attribute_encoder.concat is concat
        assert cfg.train_cfg.max_iters == iterations
        assert cfg.param_scheduler == dict(
            type='LinearDecayLR',
            by_epoch=False,
            constant=600 / 1201,
            end=1201 * epoch,
            interval=epoch,
        )
        rates = {'discriminators': 1e-4, 'content_discriminator': 4e-5, 'generators': 1e-4}
        for wrapper, rate in rates.items():
            assert cfg.optim_wrapper[wrapper].optimizer == {
                'type': 'Adam',
                'lr': rate,
                'betas': (0.5, 0.999),
                'weight_decay': 1e-4,
                'fused': True,
            }
        widths = {field: model[field].base_channels for field in model if field in DRIT.NETWORKS}
        assert widths == dict.fromkeys(DRIT.NETWORKS, 64)
        losses = {'cycle': 10, 'recon': 10, 'latent': 10, 'kl': 0.01, 'kl_content': 0.01}
        assert model.loss_config == {'gan': 1, 'content': 1, 'mode_seeking': 0, **losses}
        assert (model.d_iter, model.second_pass, model.content_max_norm) == (3, 'stale', 5)
        assert cfg.model_wrapper_cfg == {'type': 'AveragedParallel'}
        assert [step.interpolation for step in loads_of(cfg)] == ['bicubic'] * 6
        assert 'without mode seeking' in DRIT.variant(model)
    tiny = MODELS.build(load_config(name, TINY['drit'] | {'model.d_iter': 3}).model)
    turns = [tiny.trains_all(iteration) for iteration in range(epoch)]
    epochs, rest = divmod(iterations, epoch)
    assert epochs * sum(turns) + sum(turns[:rest]) == full
    assert tiny.trains_all(iterations - 1)


def test_learning_rates_of_drit():
    """Epoch e, from 0 on, has 1 - max(0, e - 600) / 601 of the rate."""
    settings = dict(load_config('drit_horse2zebra').param_scheduler) | {'interval': 2, 'end': 2402}
    assert settings.pop('type') == 'LinearDecayLR'
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LinearDecayLR(optimizer, **settings)
    optimizer.step()
    for iteration in range(2400):
        expected = 1 - max(0, iteration // 2 - 600) / 601
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected)
        schedule.step()


def test_learning_rates_of_cyclegan():
    """At each epoch the rates of the authors' program (2019), recorded from its rule."""
    cfg = load_config('cyclegan_horse2zebra')
    settings = dict(cfg.param_scheduler)
    assert settings.pop('type') == 'LinearDecayLR'
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LinearDecayLR(optimizer, end=cfg.train_cfg.max_iters, **settings)
    optimizer.step()
    rates = {}
    for iteration in range(cfg.train_cfg.max_iters):
        epoch = 1 + iteration // 1334
        rates.setdefault(epoch, set()).add(optimizer.param_groups[0]['lr'])
        schedule.step()
    assert {len(of_an_epoch) for of_an_epoch in rates.values()} == {1}
    first = {epoch: min(of_an_epoch) for epoch, of_an_epoch in rates.items()}
    assert {epoch: round(first[epoch], 6) for epoch in (1, 100, 101, 150, 200)} == {
        1: 1,
        100: 1,
        101: 0.990099,
        150: 0.50495,
        200: 0.009901,
    }
    assert first == pytest.approx({e: min(1, (201 - e) / 101) for e in range(1, 201)})


def test_settings_of_cartoongan():
    """Those of a co-author's PyTorch program: phases, steps of the rate, batch, no augmentation."""
    for cfg in read(CARTOON):
        assert cfg.model.init_iters == 10 * 425 and cfg.train_cfg.max_iters == 4_250 + 42_500
        assert cfg.param_scheduler == dict(
            type='MultiStepLR',
            by_epoch=False,
            milestones=[4_250 + 21_250, 4_250 + 31_875],
            gamma=0.1,
        )
        for wrapper in ('generators', 'discriminators'):
            assert cfg.optim_wrapper[wrapper].optimizer == {
                'type': 'Adam',
                'lr': 2e-4,
                'betas': (0.5, 0.999),
                'fused': True,
            }
        assert cfg.train_dataloader.batch_size == 8
        steps = cfg.train_dataloader.dataset.pipeline
        assert [step['type'] for step in steps] == [
            *('LoadRGBImage', 'LoadRGBImage', 'SmoothEdges', 'PackInputs'),
        ]
        assert [step['scale'] for step in loads_of(cfg)] == [(256, 256)] * 6
        assert cfg.model.loss_config == {'gan': 1, 'content': 10}
        generator, discriminator = cfg.model.generator, cfg.model.discriminator
        assert (generator.base_channels, generator.num_blocks) == (64, 8)
        assert (discriminator.base_channels, cfg.model.adversarial) == (32, 'bce')
        vgg = cfg.model.vgg
        assert (vgg.layer, vgg.input, vgg.weights) == ('conv4_4', 'unit', None)


@pytest.mark.parametrize('name', directions_of('aggan'))
def test_settings_of_aggan(name):
    """The authors' settings of horse2zebra."""
    for cfg in read(name):
        direction = name.removeprefix('baselines/aggan_')
        epochs_200 = EPOCHS_200.get(direction) or EPOCHS_200['2'.join(direction.split('2')[::-1])]
        epoch = epochs_200 // 200
        assert cfg.train_cfg.max_iters == 100 * epoch
        assert cfg.param_scheduler == dict(
            type='LinearDecayLR', by_epoch=False, constant=0.5, interval=epoch
        )
        names = ['generator_B', 'discriminator_B', 'generator_A', 'discriminator_A']
        assert [name for name in cfg.optim_wrapper if name != 'constructor'] == names
        for place, wrapper in enumerate(names, 1):
            assert cfg.optim_wrapper[wrapper].optimizer == {
                'type': 'TFAdam',
                'lr': 1e-4,
                'betas': (0.5, 0.999),
                'fused': True,
                'of': 4,
                'place': place,
            }
        model = cfg.model
        assert model.switch_iters == 30 * epoch and model.threshold == 0.1
        assert model.loss_config == {'gan': 1, 'cycle': 10} and model.pool_size == 50
        assert (model.generator.base_channels, model.generator.num_blocks) == (32, 9)
        assert (model.attention.base_channels, model.attention.decoder_kernels) == (32, (1, 1, 1))
        assert model.discriminator.base_channels == 64
        assert [step.get('interpolation') for step in loads_of(cfg)] == [None] * 6  # bilinear
        assert cfg.model_wrapper_cfg == {'type': 'AveragedParallel'}


def test_learning_rates_of_aggan():
    """At each epoch e of 100: 1, then 1 - (e - 50) / 50."""
    cfg = load_config('aggan_horse2zebra')
    settings = dict(cfg.param_scheduler)
    assert settings.pop('type') == 'LinearDecayLR'
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LinearDecayLR(optimizer, end=cfg.train_cfg.max_iters, **settings)
    optimizer.step()
    rates = {}
    for iteration in range(cfg.train_cfg.max_iters):
        rates.setdefault(iteration // 1334, set()).add(optimizer.param_groups[0]['lr'])
        schedule.step()
    assert {len(of_an_epoch) for of_an_epoch in rates.values()} == {1}
    wanted = {e: min(1, 1 - (e - 50) / 50) for e in range(100)}
    assert {e: min(of_an_epoch) for e, of_an_epoch in rates.items()} == pytest.approx(wanted)


@pytest.mark.parametrize('name', [*directions_of('unit'), *directions_of('munit')])
def test_settings_of_unit_and_munit(name):
    """What all files of the authors' program have for 256 px."""
    for cfg in read(name):
        assert cfg.train_cfg.max_iters == 1_000_000
        assert cfg.param_scheduler == dict(
            type='StepLR', by_epoch=False, step_size=100_000, gamma=0.5
        )
        for wrapper in ('generators', 'discriminators'):
            assert cfg.optim_wrapper[wrapper].optimizer == {
                'type': 'Adam',
                'lr': 1e-4,
                'betas': (0.5, 0.999),
                'weight_decay': 1e-4,
                'fused': True,
            }
        assert cfg.model_wrapper_cfg == {'type': 'AveragedParallel'}
        model = cfg.model
        assert {
            (model[k].base_channels, model[k].num_blocks) for k in ('encoder', 'generator')
        } == {(64, 4)}
        judge = model.discriminator
        assert (judge.base_channels, judge.num_layers, judge.num_scales) == (64, 4, 3)
        if 'munit' in name:
            weights = {'recon_x': 10, 'recon_s': 1, 'recon_c': 1, 'cycle': 0}
            assert (model.style_encoder.style_dim, model.generator.mlp_channels) == (8, 256)
        else:
            weights = {'recon_x': 10, 'kl': 0.01, 'cycle': 10, 'kl_cycle': 0.01}
        assert model.loss_config == {'gan': 1, **weights, 'perceptual': 0}
        assert model.gan_type == 'lsgan'
        assert [step.get('keep_ratio') for step in loads_of(cfg)] == [True] * 2 + [None] * 4
        assert [step.get('interpolation') for step in loads_of(cfg)] == [None] * 6  # bilinear


def test_learning_rates_of_munit():
    """Halved every 100,000 updates; the authors' program does so an update earlier."""
    settings = dict(load_config('munit_custom').param_scheduler) | {'step_size': 3}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = PARAM_SCHEDULERS.build(settings | {'optimizer': optimizer})
    optimizer.step()
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]['lr'])
        schedule.step()
    assert rates == pytest.approx([1e-4 * 0.5 ** (i // 3) for i in range(12)])
    official = [1e-4 * 0.5 ** (i // 3) for i in range(1, 13)]  # recorded: schedule.npz
    assert rates[1:] == pytest.approx(official[:-1])


@pytest.mark.parametrize('name', OF_THE_PAPER)
def test_data_of_the_paper(name):
    for cfg in read(name):
        a, b = cfg.model.domains['A'], cfg.model.domains['B']
        counts = dict(zip(('trainA', 'trainB', 'testA', 'testB'), PAPER[a, b], strict=True))
        assert cfg.paper_images == data_set(f'{a}2{b}').paper_images == counts
        direction = f'{b}2{a}' if cfg.model.default_domain == 'A' else f'{a}2{b}'
        assert name.endswith(f'_{direction}')
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            assert cfg[loader].dataset.data_root == f'data/{a}2{b}'


@pytest.mark.parametrize(
    'start',
    [s for name, starts in BEGINNINGS.items() if len(MODEL_OF[name].TARGETS) == 2 for s in starts],
)
@pytest.mark.parametrize('domains', PAPER, ids='2'.join)
def test_a_reverse_config_changes_the_default_direction_and_nothing_else(domains, start):
    forward, reverse = (
        read(f'{start}{"2".join(order)}')[0].to_dict() for order in (domains, domains[::-1])
    )
    assert forward['model'].pop('default_domain') == 'B'
    assert reverse['model'].pop('default_domain') == 'A'
    assert forward == reverse


def test_the_model_takes_the_default_direction():
    for name in BEGINNINGS:
        one_way = len(MODEL_OF[name].TARGETS) == 1
        for direction in (
            ['selfie2anime'] if one_way else ['anime2selfie', 'vangogh2photo', 'cat2dog']
        ):
            model = MODELS.build(load_config(f'{name}_{direction}', TINY[name]).model)
            assert (model.NAME, model.direction()) == (name, direction)


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
    tiny = {key: value for key, value in TINY['ugatit'].items() if key.startswith('model.')}
    seen = []
    for cfg in rows.values():
        assert cfg.to_dict() | {'model': None} == full | {'model': None}  # only the model differs
        cfg.merge_from_dict({**tiny, 'model.generator.img_size': 32})
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        with torch.no_grad():
            images = model.translation(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32), 'B')
        seen.append((str(model), [round(value, 6) for value in images.flatten()[:50].tolist()]))
    assert all(a != b for a, b in itertools.combinations(seen, 2))


def test_one_option_switches_the_recipe():
    cfg = load_config('ugatit_selfie2anime', {**TINY['ugatit'], 'model.recipe': 'pytorch'})
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
    light = ROOT / 'configs' / 'light' / 'ugatit_light_selfie2anime.py'
    for name in ('light/ugatit_light_selfie2anime', 'ugatit_light_selfie2anime'):
        assert find_config(name) == str(light)
    with pytest.raises(
        FileNotFoundError, match='^no config ugatit_cat2mouse: is it ugatit_cat2dog'
    ):
        load_config('ugatit_cat2mouse')
    with pytest.raises(
        FileNotFoundError, match='^no config my.py: give a file, or .*ugatit_custom'
    ):
        load_config('my.py')


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
    mmengines = (
        'LateRuntimeInfoHook',
        'IterTimerHook',
        'DistSamplerSeedHook',
        'ParamSchedulerHook',
    )
    names = [type(hook).__name__ for hook in RUNNERS.build(cfg).hooks]
    return [name for name in names if name not in (*mmengines, 'LoggerHook')]


def test_hooks_by_name(data_root, tmp_path):
    where = {'data_root': str(data_root), 'work_dir': str(tmp_path)}
    cfg = load_config('ugatit_custom', {**TINY_OF['ugatit'], **where})
    assert cfg.custom_hooks == []
    assert hooks_of(cfg) == [
        'TranslationEMAHook',
        'ProvenanceHook',
        'BadPicturesHook',
        'TranslationSheetHook',
        'RhoHook',
        'UGATITCheckpointHook',
        'InterruptHook',
        'FiniteHook',
        'WatchHook',
        'ConsoleHook',
    ]
    none = {f'default_hooks.{name}': None for name in ('watch', 'sheets', 'rho', 'checkpoint')}
    tiny = {
        key: value for key, value in TINY_OF['ugatit'].items() if key.rpartition('.')[0] not in none
    }
    options = {**tiny, **where, **none, 'experiment_name': 'fewer'}
    assert hooks_of(load_config('ugatit_custom', options)) == [
        'TranslationEMAHook',
        'ProvenanceHook',
        'BadPicturesHook',
        'InterruptHook',
        'FiniteHook',
        'ConsoleHook',
    ]


@pytest.mark.slow
def test_a_work_dir_of_before_hooks_had_names_goes_on(data_root, tmp_path):
    """Its config, with the list, trains and resumes; each hook is there once."""
    cfg = load_config('ugatit_custom', {**TINY_OF['ugatit'], 'data_root': str(data_root)})
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


def test_lean_moments_of_before_go_on(tmp_path):
    """A dumped config of `--lean` said the number of bits, of which there is one now."""
    cfg = load_config('ugatit_custom')
    for name in ('generators', 'discriminators'):
        cfg.optim_wrapper[name].optimizer = dict(type='LeanAdam', lr=1e-4, state_dtype='uint8')
    cfg.dump(tmp_path / 'old.py')
    again = load_config(tmp_path / 'old.py').optim_wrapper
    assert again.generators.optimizer == again.discriminators.optimizer
    assert again.generators.optimizer == dict(type='LeanAdam', lr=1e-4)


def test_a_list_of_hooks_takes_the_place_of_the_named_ones(tmp_path):
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {str(ROOT / "configs" / "ugatit_custom.py")!r}\ncustom_hooks = {LISTED[:3]}\n'
    )
    cfg = load_config(tmp_path / 'mine.py')
    assert [hook.type for hook in cfg.custom_hooks] == [hook['type'] for hook in LISTED[:3]]
    assert {*cfg.default_hooks} - {*MMENGINE_HOOKS} == {
        *('ema', 'rho', 'bad_pictures', 'finite', 'watch', 'console')
    }


def test_the_metafile_has_every_direction():
    """In the collection that is the model's row of the tables; MIM and MMagic read it."""
    metafile = yaml.safe_load((ROOT / 'configs' / 'metafile.yml').read_text())
    rows = {model.NAME: model.ROW for model in TRANSLATION_MODELS.values()}
    assert [each['Name'] for each in metafile['Collections']] == [rows[name] for name in BEGINNINGS]
    found = {each['Config']: each for each in metafile['Models']}
    assert len(found) == len(metafile['Models'])
    expected = {f'configs/{name}.py' for name in OF_THE_PAPER} - {
        f'configs/{name}.py' for name in ABLATIONS
    }
    assert found.keys() == expected
    for config, each in found.items():
        assert each['Name'] == Path(config).stem
        assert each['In Collection'] == rows[name_of(Path(config))]
        cfg, _ = read(Path(config).relative_to('configs').with_suffix('').as_posix())
        data = cfg.data_root
        assert [result['Dataset'] for result in each['Results']] == [Path(data).name]
