"""What cannot end well is refused at the start, in one line, or supported."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import (
    TINY,
    TINY_OF,
    as_arguments,
    assert_same_weights,
    load_tool,
    tiny_config,
    write_images,
)
from mmagic.registry import MODELS
from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.config import load_config
from ugatit_mm.converters import write_checkpoint
from ugatit_mm.engine import PreflightError, preflight
from ugatit_mm.evaluation import MetricError, TooFewImagesError
from ugatit_mm.evaluation.results import read_results
from ugatit_mm.fields import ConfigError
from ugatit_mm.models.base import TRANSLATION_MODELS
from ugatit_mm.models.base.images import check_size

QUICK = {'train_cfg.max_iters': 2, 'default_hooks.sheets.interval': 1}


def built(cfg: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A runner with all that a training has, which did not begin."""
    monkeypatch.setattr('ugatit_mm.engine.loop.UGATITTrainLoop.run', lambda loop: None)
    return run_training(cfg)


@pytest.fixture(scope='module')
def ready(tmp_path_factory) -> tuple[Any, Any]:
    """A runner before its training, and its checkpoint hook; who changes them changes them back."""
    folder = tmp_path_factory.mktemp('ready')
    write_images(folder / 'data')
    with pytest.MonkeyPatch.context() as patch:
        runner = built(tiny_config(folder / 'data', folder / 'work'), patch)
    preflight.check_training(runner)
    return runner, next(hook for hook in runner.hooks if hasattr(hook, 'save_best'))


@pytest.fixture
def weights(ready, tmp_path: Path) -> Path:
    """A file of weights of tiny networks."""
    runner, _ = ready
    path = tmp_path / 'weights.pth'
    write_checkpoint(path, runner.model.state_dict(), {})
    return path


@pytest.fixture
def failing(monkeypatch) -> list[dict]:
    """Metrics of which the first fails: networks that diverge give features that are not finite."""

    def fail(metric: Any, *words: Any) -> dict:
        raise ValueError('features must be finite')

    monkeypatch.setattr('ugatit_mm.evaluation.TransKID.summarise', fail)
    kid = dict(type='TransKID', extractor=dict(type='ColourHOGFeatures'))
    return [kid, dict(type='TransStats')]


def refused(runner: Any) -> str:
    with pytest.raises(PreflightError) as caught:
        preflight.check_training(runner)
    return str(caught.value)


# Validation


@pytest.mark.parametrize(
    'absent',
    [
        ('val_dataloader', 'val_cfg', 'val_evaluator'),
        pytest.param(('val_dataloader',), marks=pytest.mark.slow),
        pytest.param(('val_cfg',), marks=pytest.mark.slow),
        pytest.param(('val_evaluator', 'test_dataloader'), marks=pytest.mark.slow),
    ],
)
def test_without_validation_sheets_show_training_pictures(data_root, tmp_path: Path, absent):
    """The same ones each time; nothing of testA and testB is needed."""
    for folder in ('testA', 'testB'):
        shutil.rmtree(data_root / folder)
    options = {**QUICK, 'default_hooks.sheets.num_images': 4}
    cfg = tiny_config(data_root, tmp_path / 'work', **options)
    for field in absent:
        cfg[field] = None
    runner = run_training(cfg)
    assert (tmp_path / 'work' / 'iter_2.pth').is_file() and runner.val_loop is None
    sheets = [
        np.asarray(Image.open(next(tmp_path.glob(f'work/*/vis_data/vis_image/sheet_A2B_{i}.png'))))
        for i in (1, 2)
    ]
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'num_images'))
    shown = hook._images['A']
    assert shown.shape == (4, 3, 32, 32) and len({image.sum().item() for image in shown}) == 4
    assert shown[:, 0].mean() > shown[:, 2].mean() + 0.5  # reddish: A
    column = slice(4, 4 + 128), slice(4, 4 + 128)  # the first source, enlarged
    assert np.array_equal(sheets[0][20:][column], sheets[1][20:][column])
    assert not np.array_equal(sheets[0], sheets[1])  # the networks have learned


@pytest.mark.slow
def test_no_validation_equals_one_that_changes_nothing(data_root, tmp_path: Path):
    """Sheets of training pictures draw none of training's random numbers."""
    with_val = tiny_config(data_root, tmp_path / 'with', **QUICK)
    without = tiny_config(data_root, tmp_path / 'without', **QUICK)
    without.val_cfg = None
    for cfg in (with_val, without):
        run_training(cfg)
    assert_same_weights(tmp_path / 'with' / 'iter_2.pth', tmp_path / 'without' / 'iter_2.pth')


# Counting


@pytest.mark.parametrize(
    ('given', 'made'),
    [
        (dict(by_epoch=True, max_epochs=2, val_interval=1), dict(max_epochs=2, val_interval=1)),
        (dict(type='mmengine.EpochBasedTrainLoop', max_epochs=2), dict(max_epochs=2)),
        (dict(by_epoch=False, max_iters=6), dict(max_iters=6)),
        (dict(type='IterBasedTrainLoop', max_iters=6), dict(max_iters=6)),
        (dict(type='UGATITTrainLoop', max_iters=None, max_epochs=2), dict(max_epochs=2)),
    ],
)
def test_loops_of_mmengine_become_ours(given, made):
    cfg = tiny_config(Path('data'), Path('work'))
    cfg.train_cfg = given
    loop = preflight.prepare(cfg).train_cfg
    assert {k: v for k, v in loop.items() if v is not None} == {'type': 'UGATITTrainLoop', **made}
    assert cfg.train_cfg == given


def test_epochs_are_iterations(data_root, tmp_path: Path, monkeypatch):
    """Six pictures of A in batches of two: an epoch is three iterations."""
    cfg = tiny_config(data_root, tmp_path / 'work', **{'train_dataloader.batch_size': 2})
    cfg.train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=2, val_begin=2)
    loop = built(cfg, monkeypatch).train_loop
    assert (loop.max_iters, loop.val_interval, loop.val_begin) == (12, 6, 6)
    assert loop.runner.param_schedulers['generators'][0].end == 12


@pytest.mark.slow
def test_a_training_in_epochs_resumes_exactly(data_root, tmp_path: Path):
    whole = tiny_config(data_root, tmp_path / 'whole')
    whole.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    run_training(whole)
    assert (tmp_path / 'whole' / 'last_validation').read_text() == '6'
    parts = tmp_path / 'parts'
    parts.mkdir()
    shutil.copy(tmp_path / 'whole' / 'iter_2.pth', parts)
    (parts / 'last_checkpoint').write_text(str(parts / 'iter_2.pth'))
    again = tiny_config(data_root, parts)
    again.train_cfg, again.resume = whole.train_cfg, True
    run_training(again)
    assert_same_weights(tmp_path / 'whole' / 'iter_6.pth', parts / 'iter_6.pth')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            {'train_cfg.max_epochs': 2},
            'train_cfg has max_iters=4 and max_epochs=2: set train_cfg.max_iters=None to count in '
            'epochs (val_interval then, too), or train_cfg.max_epochs=None',
        ),
        (
            {'train_cfg.val_interval': 0},
            'train_cfg.val_interval must be 1 or more, got 0 (for no validation: val_cfg=None)',
        ),
        ({'train_cfg.max_iters': -4}, 'train_cfg.max_iters must be 1 or more, got -4'),
    ],
)
def test_counts_that_make_no_training(options, said):
    with pytest.raises(PreflightError) as caught:
        preflight.prepare(tiny_config(Path('data'), Path('work'), **options))
    assert str(caught.value) == said


def test_what_counts_epochs_is_refused(ready):
    runner, checkpoint = ready
    checkpoint.by_epoch, checkpoint.interval = True, 3
    assert refused(runner) == (
        'default_hooks.checkpoint counts epochs, this training iterations: set '
        'default_hooks.checkpoint.by_epoch=False and interval=18 (an epoch is 6 iterations)'
    )
    checkpoint.by_epoch = False
    scheduler = runner.param_schedulers['generators'][0]
    scheduler.by_epoch = True
    assert refused(runner) == (
        'param_scheduler LinearDecayLR counts epochs, this training iterations: set '
        'param_scheduler.by_epoch=False and its numbers in iterations, or '
        'convert_to_iter_based=True (an epoch is 6 iterations)'
    )
    scheduler.by_epoch = False
    runner.log_processor.by_epoch = True
    assert refused(runner) == (
        'log_processor counts epochs, this training iterations: set log_processor.by_epoch=False'
    )
    runner.log_processor.by_epoch = False


# Sizes


@pytest.mark.parametrize(
    ('name', 'side', 'layers', 'option', 'smallest'),
    [
        ('ugatit', 64, (7, 5), 'num_layers=(6,4)', 96),
        ('ugatit', 32, (7, 5), 'num_layers=(5,4)', 96),
        ('ugatit', 92, (8, 7), 'num_layers=(6,5)', 192),
        ('ugatit', 8, (7, 5), None, 96),
        ('cyclegan', 16, 3, 'num_layers=2', 24),
        ('cyclegan', 128, 6, 'num_layers=5', 192),
        ('drit', 48, 4, 'num_layers=3', 64),
    ],
)
def test_sizes_that_discriminators_do_not_take(name, side, layers, option, smallest):
    """The option that is named takes the size; one layer more does not."""
    init_default_scope('mmagic')
    network = TRANSLATION_MODELS[load_config(f'{name}_custom').model.type].NETWORKS['discriminator']
    with pytest.raises(ValueError) as caught:
        check_size(network(base_channels=2, num_layers=layers), 'discriminator', side, side + 4)
    begin = (
        f'images of {side}x{side + 4} are too small for the discriminator, which needs {smallest}: '
        '--cfg-options '
    )
    more = f'"model.discriminator.{option}" or ' if option else ''
    larger = f'"img_size=({smallest},{max(side + 4, smallest)})"'
    assert str(caught.value) == f'{begin}{more}{larger}'
    if option:
        fitting = network(base_channels=2, num_layers=layers).fitting(side)
        small = MODELS.build(dict(type=network.__name__, base_channels=2, **fitting))
        check_size(small, 'discriminator', side, side)
        images = torch.zeros(1, 3, side, side)
        assert small(images) is not None


@pytest.mark.parametrize(
    ('size', 'said'), [({}, 'img_size=48'), ({'img_size': 64, 'crop_size': 32}, 'crop_size=48')]
)
def test_a_size_is_refused_before_anything_is_built(data_root, tmp_path: Path, capfd, size, said):
    """The tool says one line and leaves no folder."""
    work = tmp_path / 'work'
    options = as_arguments({**TINY, 'data_root': data_root, **size, 'load_size': None})
    words = ['ugatit_custom', '--work-dir', str(work), '--cfg-options', *options]
    words.append('model.discriminator.num_layers=(6,4)')
    assert load_tool('train').main(words) == 1
    out, err = capfd.readouterr()
    assert err == (
        'error: images of 32x32 are too small for the discriminator, which needs 48: --cfg-options '
        f'"model.discriminator.num_layers=(5,4)" or {said}\n'
    )
    assert not out and not work.exists()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (
            {'img_size': 64, 'load_size': None, 'model.content_discriminator.num_layers': 4},
            'images of 64x64 are too small for the content_discriminator, which needs 212: '
            '--cfg-options "model.content_discriminator.num_layers=2" or img_size=212',
        ),
        (
            {'train_dataloader.batch_size': 1},
            'train_dataloader.batch_size=1: DRIT trains on batches of 2 pictures of each domain '
            'only, set it to 2',
        ),
    ],
    ids=['size', 'batch'],
)
def test_what_drit_does_not_train_on(options, said, data_root, tmp_path: Path, capfd):
    options = as_arguments({**TINY_OF['drit'], 'data_root': data_root, **options})
    words = ['drit_custom', '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]
    assert load_tool('train').main(words) == 1
    out, err = capfd.readouterr()
    assert err == f'error: {said}\n'
    assert not out and not (tmp_path / 'work').exists()


def test_the_size_is_that_of_the_training_pipeline():
    size = preflight.training_size
    load = dict(type='LoadRGBImage', key='img_A', scale=(40, 48))
    flip, pack = dict(type='Flip', keys=['img_A']), dict(type='PackInputs')
    assert size([load, flip, dict(type='Crop', crop_size=(32, 36)), pack]) == (32, 36)
    assert size([load, flip, pack]) == (48, 40)
    assert size([load, dict(type='Resize', scale=(64, 32), keep_ratio=True), pack]) is None
    assert size([load, dict(type='RandomRotation', degrees=3), pack]) is None
    assert size([dict(type='LoadRGBImage', key='img_A'), pack]) is None


@pytest.mark.parametrize(
    ('crop', 'options', 'said'),
    [
        (
            (24, 36),
            {},
            'images of 24x36 are too small for the discriminator, which needs 48: --cfg-options '
            '"model.discriminator.num_layers=(5,4)" or "img_size=(48,48)"',
        ),
        (
            (50, 50),
            {},
            'the pictures of A come as 50x50: height and width must be multiples of 4 (img_size, '
            'or Crop and Resize of train_pipeline)',
        ),
        (
            (48, 48),
            {'model.generator.light': False},
            'the pictures of A come as 48x48, and these networks take 64x64 only: set '
            '"model.generator.img_size=(48,48)", or Crop and Resize of train_pipeline, or '
            'model.generator.light=True',
        ),
    ],
)
def test_pictures_of_a_pipeline_of_ones_own(tiny, crop, options, said):
    light = options.get('model.generator.light', True)
    model = tiny({'img_size': 64, 'light': light}, {'num_layers': (6, 4)})
    with pytest.raises(ValueError) as caught:
        model.check_images('A', (3, *crop))
    assert str(caught.value).replace('(4,4)', '(5,4)') == said
    model.check_images('A', (3, 64, 64))


def test_a_sample_is_looked_at_before_the_first_iteration(data_root, tmp_path: Path):
    cfg = tiny_config(data_root, tmp_path / 'work')
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline.insert(-1, dict(type='Resize', keys=['img_A', 'img_B'], scale=0.5, keep_ratio=True))
    with pytest.raises(PreflightError, match=r'images of 16x16 are too small for the discrimin'):
        run_training(cfg)


# Metrics


GIVEN = ', '.join(
    f'{direction}/{name}'
    for direction in ('A2B', 'B2A')
    for name in ('colour', 'colour_gap', 'edges', 'edges_gap')
)


def test_metrics_that_never_come(ready):
    runner, checkpoint = ready
    checkpoint.save_best, checkpoint.key_indicators = True, ['A2B/edges', 'A2B/kid']
    field = 'default_hooks.checkpoint.save_best'
    assert refused(runner) == f"{field}: the validation gives no 'A2B/kid'; it gives {GIVEN}"
    checkpoint.key_indicators, checkpoint.rules = ['auto'], [None]
    assert refused(runner) == (
        f"{field}='auto' does not know whether more or less is better: name one of {GIVEN}, and "
        "default_hooks.checkpoint.rule='greater' or 'less'"
    )
    checkpoint.key_indicators = ['B2A/edges_gap']
    preflight.check_training(runner)
    loop, runner._val_loop = runner._val_loop, None
    assert refused(runner) == f"{field}='B2A/edges_gap' needs a validation, and there is none"
    runner._val_loop, checkpoint.save_best = loop, None
    stopping = EarlyStoppingHook(monitor='A2B/fid', rule='less')
    runner._hooks.append(stopping)
    assert refused(runner) == (
        f"EarlyStoppingHook.monitor: the validation gives no 'A2B/fid'; it gives {GIVEN}"
    )
    runner._hooks.remove(stopping)


def test_the_extractor_of_a_validation_is_looked_for_at_the_start(
    data_root, tmp_path: Path, monkeypatch, capfd
):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    options = as_arguments({**TINY, 'data_root': data_root})
    words = ['ugatit_custom', '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]
    evaluator = 'val_evaluator.0'
    words += [f'{evaluator}.type=TransKID', f'{evaluator}.extractor.type=InceptionFeatures']
    assert load_tool('train').main(words) == 1
    assert 'error: no Inception weights: ' in capfd.readouterr().err


# The disk


def test_no_room_for_a_checkpoint(ready, monkeypatch):
    runner, _ = ready
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(preflight.shutil, 'disk_usage', lambda _: usage(9e9, 9e9, 10_000))
    assert refused(runner) == (
        f'a checkpoint takes about 1 MB, and {runner.work_dir} has 0 MB free: make room, or set '
        '--work-dir to another disk'
    )


def test_averages_take_their_room(ready, monkeypatch):
    runner, checkpoint = ready
    without = preflight.checkpoint_size(runner, checkpoint)
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'averaged'))
    monkeypatch.setattr(hook, 'momentum', 0.5)
    generators = sum(p.nbytes for p in runner.model.generators.parameters())
    assert preflight.checkpoint_size(runner, checkpoint) - without == generators > 0


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['Adam', 'LeanAdam'])
def test_the_size_of_a_checkpoint_is_known(data_root, tmp_path: Path, kind):
    options = {f'optim_wrapper.{x}.optimizer.type': kind for x in ('generators', 'discriminators')}
    runner = run_training(tiny_config(data_root, tmp_path / 'work', **QUICK, **options))
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'save_best'))
    told = preflight.checkpoint_size(runner, hook)
    real = (tmp_path / 'work' / 'iter_2.pth').stat().st_size
    # Of tiny networks the file's own headers are a large part.
    assert 0.3 * real < told < real


def test_checkpoints_that_find_no_folder(ready, tmp_path: Path):
    runner, checkpoint = ready
    (tmp_path / 'file').write_text('')
    checkpoint.out_dir = str(tmp_path / 'file')
    assert refused(runner) == (
        f'checkpoints go to {tmp_path}/file/work, but {tmp_path}/file is not a folder: '
        'set --work-dir'
    )
    checkpoint.out_dir = None


# Nothing of these is an error


@pytest.mark.slow
def test_intervals_beyond_the_end_and_more_pictures_than_there_are(data_root, tmp_path: Path):
    options = {
        'train_cfg.max_iters': 1,
        'train_cfg.val_interval': 1000,
        'default_hooks.sheets.num_images': 50,
        'default_hooks.sheets.interval': 1,
        'default_hooks.checkpoint.interval': 1000,
    }
    run_training(tiny_config(data_root, tmp_path / 'work', **options))
    assert (tmp_path / 'work' / 'iter_1.pth').is_file()
    assert (tmp_path / 'work' / 'last_validation').read_text() == '1'


@pytest.mark.slow
def test_a_metric_that_fails_in_validation_ends_no_training(data_root, tmp_path: Path, failing):
    cfg = tiny_config(data_root, tmp_path / 'work')
    cfg.val_evaluator = failing
    cfg.default_hooks.checkpoint.update(save_best='A2B/colour_hog_kid', rule='less')
    run_training(cfg)
    assert (tmp_path / 'work' / 'iter_4.pth').is_file()
    said = next(tmp_path.glob('work/*/*.log')).read_text()
    assert said.count('TransKID failed, and is left out: features must be finite') == 2
    assert 'A2B/colour: ' in said


def test_a_metric_that_fails_in_a_test_is_said_after_the_results(
    data_root, tmp_path: Path, weights, failing
):
    cfg = tiny_config(data_root, tmp_path / 'work')
    cfg.test_evaluator = failing
    file = tmp_path / 'work' / 'results_weights.json'
    with pytest.raises(MetricError) as caught:
        run_test(cfg, weights, tmp_path / 'out')
    assert str(caught.value) == (
        f'TransKID failed: features must be finite (everything else is in {file})'
    )
    results = read_results(file)
    assert len(results['metrics']) == 8 and results['measurements'] == []
    assert results['failed'] == {'TransKID': 'features must be finite'}
    assert len(list((tmp_path / 'out').glob('*/*.png'))) == 5


@pytest.mark.slow
def test_a_test_without_a_set_or_a_metric(data_root, tmp_path: Path, weights):
    cfg = tiny_config(data_root, tmp_path / 'work')
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match='testing needs test_dataloader, there is none'):
        run_test(cfg, weights)
    cfg = tiny_config(data_root, tmp_path / 'work')
    cfg.test_evaluator = cfg.test_cfg = None
    assert run_test(cfg, weights, tmp_path / 'out') == {}
    assert len(list((tmp_path / 'out').glob('*/*.png'))) == 5


# Pictures of one domain


@pytest.mark.parametrize(
    ('folder', 'direction', 'absent'),
    [('testA', 'A2B', 'B'), pytest.param('testB', 'B2A', 'A', marks=pytest.mark.slow)],
)
def test_one_folder_tests_one_direction(
    data_root, tmp_path: Path, weights, folder, direction, absent
):
    """Pixels and measurements are those of a test of both."""
    both = run_test(tiny_config(data_root, tmp_path / 'both'), weights, tmp_path / 'two')
    shutil.rmtree(data_root / f'test{absent}')
    one = run_test(tiny_config(data_root, tmp_path / 'work'), weights, tmp_path / 'one', sheet=True)
    assert one == {
        f'{direction}/{name}': both[f'{direction}/{name}'] for name in ('colour', 'edges')
    }
    written = sorted(file.name for file in (tmp_path / 'one').rglob('*') if file.is_file())
    count = {'testA': 3, 'testB': 2}[folder]
    assert written == [*(f'{i}.png' for i in range(count)), f'sheet_{direction}.png']
    for file in (tmp_path / 'one' / direction).iterdir():
        same = Image.open(tmp_path / 'two' / direction / file.name)
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(same))
    results = read_results(tmp_path / 'work' / 'results_weights.json')
    assert results['directions'] == [direction] and results['metrics'] == one
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert f'there are no pictures of {absent} to test on: only {direction} is tested' in log
    kid = dict(type='TransKID', extractor=dict(type='ColourHOGFeatures'))
    cfg = tiny_config(data_root, tmp_path / 'kid')
    cfg.test_evaluator = [kid]
    with pytest.raises(TooFewImagesError, match=f'of {absent} there is none: add test pictures'):
        run_test(cfg, weights)


@pytest.mark.slow
def test_a_validation_of_one_domain(data_root, tmp_path: Path):
    shutil.rmtree(data_root / 'testA')
    run_training(tiny_config(data_root, tmp_path / 'work', **QUICK))
    assert (tmp_path / 'work' / 'last_validation').read_text() == '2'
    sheets = {file.name for file in tmp_path.glob('work/*/vis_data/vis_image/*.png')}
    assert sheets == {'sheet_B2A_1.png', 'sheet_B2A_2.png'}
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert 'B2A/edges: ' in log and 'A2B/edges' not in log and '_gap' not in log
