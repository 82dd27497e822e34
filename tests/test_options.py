"""What is typed after ``--cfg-options``, and what a config's fields take."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, TINY, as_arguments, load_tool

from ugatit_mm import cli, config
from ugatit_mm.apis import add_kid, apply_speed
from ugatit_mm.config import ConfigError, load_config, read_config
from ugatit_mm.fields import place

BASE = f'_base_ = {str(ROOT / "configs" / "ugatit_custom.py")!r}\n'
PARSE = load_tool('train').parse_args
CUSTOM = read_config(ROOT / 'configs' / 'ugatit_custom.py')
G_OPTIMIZER = 'optim_wrapper.generators.optimizer'
PIPELINE = 'train_dataloader.dataset.pipeline'


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """The value of a word of the command line, in the config."""
    monkeypatch.setattr(config, 'read_config', lambda path: copy.deepcopy(CUSTOM))
    monkeypatch.setenv('HOME', '/home/me')

    def load(word: str) -> Any:
        cfg = load_config('ugatit_custom', PARSE(['x', '--cfg-options', word]).cfg_options)
        key = word.partition('=')[0]
        return place(cfg, ('model.' * key.startswith('domains') + key).split('.'))

    return load


@pytest.mark.parametrize('key', ['data_root', 'test_dataloader.dataset.data_root', 'work_dir'])
@pytest.mark.parametrize(
    'text',
    ['my data', ' two  spaces ', '2024', '007', '1e3', 'a,b', '[x]', '(a)', "'q'", 'True', 'k=v'],
)
def test_a_path_is_text_as_it_is_typed(typed, key, text):
    assert typed(f'{key}={text}') == text


@pytest.mark.parametrize(
    'key', ['data_root', 'load_from', 'work_dir', 'train_dataloader.dataset.cache']
)
def test_a_path_begins_at_home(typed, key):
    assert typed(f'{key}=~/my data') == '/home/me/my data'
    with pytest.raises(ConfigError, match=f'^{key} is empty: give a '):
        typed(f'{key}=')


@pytest.mark.parametrize(
    ('word', 'value'),
    [
        ('domains.A=2024', '2024'),
        ('domains.B=a,b', 'a,b'),
        ('model.domains.A=007', '007'),
        ('experiment_name=7', '7'),
        ('test_evaluator.0.prefix=[x]', '[x]'),
        ('model.generator.norm=in', 'in'),
        ("model.generator.norm='in'", 'in'),
        ('model.generator.light=true', True),
        ('model.generator.light=FALSE', False),
        ('model.generator.bias=none', None),
        ('model.generator.rho_init=1', 1),
        ('load_from=None', None),
        ('model.frozen=None', None),
        ('model.frozen=generators.B,discriminators', 'generators.B,discriminators'),
        ('train_dataloader.dataset.cache=None', None),
        ('default_hooks.watch=None', None),
        ('train_cfg.max_iters=1e5', 100_000),
        ('train_cfg.max_iters=1_000', 1000),
        (f'{G_OPTIMIZER}.lr=1e-4', 1e-4),
        (f'{G_OPTIMIZER}.betas=0.5,0.9', (0.5, 0.9)),
        ('model.discriminator.num_layers=5,4', [5, 4]),
        ('model.discriminator.num_layers=[5, 4]', [5, 4]),
        ('model.discriminator.num_layers=(5,4)', (5, 4)),
        (f'{PIPELINE}.2.keys=[img_A]', ['img_A']),
        (f'{PIPELINE}.0.scale=40,40', (40, 40)),
        ('env_cfg.mp_cfg.mp_start_method=spawn', 'spawn'),
        ('randomness.seed=7', 7),
        ('model.loss_config.cam=5', 5),
        ('default_hooks.watch.rho=0.3', 0.3),
    ],
)
def test_a_value_is_what_its_field_takes(typed, word, value):
    found = typed(word)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('load_from=a.pth', 'load_from.generators.A=b.pth'),
        ('val_cfg=None', 'val_cfg.type=ValLoop'),
        ('deep_range=0,4095', 'deep_range.A=0,1023'),
        ('default_hooks.watch=None', 'default_hooks.watch.rho=0.3'),
    ],
)
def test_options_that_contradict_each_other(one, other):
    for words in ((one, other), (other, one)):
        with pytest.raises(ConfigError) as caught:
            load_config('ugatit_custom', PARSE(['x', '--cfg-options', *words]).cfg_options)
        outer, inner = (word.partition('=')[0] for word in (one, other))
        assert str(caught.value) == f'options {outer} and {inner} contradict each other: give one'


@pytest.mark.parametrize(
    ('key', 'value', 'takes'),
    [
        ('model.generator.light', 'no', 'True or False'),
        ('model.generator.light', 1, 'True or False'),
        ('model.generator.num_blocks', 2.5, 'a whole number'),
        ('model.generator.num_blocks', True, 'a whole number'),
        ('model.generator.rho_init', 'x', 'a number or None'),
        ('model.discriminator.num_layers', 5, 'a list (each a whole number)'),
        ('model.loss_config.cam', 'high', 'a number'),
        ('model.generator', 5, 'a dict'),
        ('default_hooks.watch', 5, 'a dict'),
        ('custom_hooks', 5, 'a list or None'),
        ('resume', 'yes', 'True or False'),
        ('randomness.seed', 'abc', 'a whole number or None'),
        ('env_cfg.cudnn_benchmark', 0, 'True or False'),
        (f'{G_OPTIMIZER}.lr', 'high', 'a number'),
        ('train_dataloader.pin_memory', 'nope', 'True or False'),
        ('train_dataloader.drop_last', 'no', 'True or False'),
        ('optim_wrapper.generators.clip_grad.max_norm', 'one', 'a number'),
        ('auto_scale_lr.enable', 'no', 'True or False'),
        ('compile', 'no', 'True or False or a dict or None'),
        ('activation_checkpointing', 'generators', 'a list or None'),
        (f'{PIPELINE}.0.scale', 40, 'a list of 2 (each a whole number) or None'),
        (f'{PIPELINE}.0.scale', [40], 'a list of 2 (each a whole number) or None'),
    ],
)
def test_another_type_is_refused(typed, key, value, takes):
    with pytest.raises(ConfigError) as error:
        typed(f'{key}={value}')
    assert str(error.value) == f'{key} takes {takes}, got {value!r}'


@pytest.mark.parametrize(
    ('option', 'near'),
    [
        ('img_siz', 'img_size'),
        ('light', 'model.generator.light'),
        ('model.generator.lite', 'model.generator.light'),
        (f'{G_OPTIMIZER}.lrr', f'{G_OPTIMIZER}.lr'),
        ('optim_wrapper.generator.clip_grad', 'optim_wrapper.generators'),
        ('default_hooks.sheet.interval', 'default_hooks.sheets'),
        ('default_hooks.wach', 'default_hooks.watch'),
        ('default_hooks.checkpoint.intervall', 'default_hooks.checkpoint.interval'),
        ('train_dataloader.batch_siz', 'train_dataloader.batch_size'),
        ('randomness.sed', 'randomness.seed'),
        ('model.loss_config.cicle', 'model.loss_config.cycle'),
        (f'{PIPELINE}.0.skale', f'{PIPELINE}.0.scale'),
    ],
)
def test_an_unknown_option_names_the_nearest(typed, option, near):
    with pytest.raises(ConfigError) as error:
        typed(f'{option}=1')
    assert str(error.value) == f'unknown option {option}: is it {near}?'


@pytest.mark.parametrize(
    ('word', 'said'),
    [
        ('img_size=big', "img_size must be an integer, or (height, width), got 'big'."),
        ('model.type=UGATI', "model.type 'UGATI' is unknown: is it UGATIT?"),
        (
            'val_evaluator.0.type=TransStat',
            "val_evaluator.0.type 'TransStat' is unknown: is it TransStats?",
        ),
        ('runner_type=UGATITRuner', "runner_type 'UGATITRuner' is unknown: is it UGATITRunner?"),
        (
            'optim_wrapper.generators.clip_grad.norm_type=2',
            'optim_wrapper.generators.clip_grad needs max_norm: set '
            'optim_wrapper.generators.clip_grad.max_norm',
        ),
        (
            'domains.A=cat/',  # and not the file that the names come from
            "domains.A='cat/' must be a name that can be part of a folder name on every system: "
            'at most 100 bytes, no control characters, none of /\\:*?"<>|, no "." or space at its '
            'ends',
        ),
        ('domains.C=x', 'unknown option domains.C: there are domains.A and domains.B'),
        (
            'model.cam_loss.zebra=1',
            'unknown option model.cam_loss.zebra: CAMLoss has loss_weight',
        ),
        (
            'model.recipe.x=1',
            "unknown option model.recipe.x: model.recipe is 'tensorflow' and has no fields",
        ),
        (
            f'{PIPELINE}.9.key=x',
            f'unknown option {PIPELINE}.9.key: {PIPELINE} is a list of 6, counted from 0',
        ),
        (
            'optimizer.lr=1',
            'option optimizer.lr changes nothing, optimizer is a variable of the config file, '
            f'which has used it by then: set {G_OPTIMIZER}.lr or '
            'optim_wrapper.discriminators.optimizer.lr',
        ),
    ],
)
def test_what_leads_nowhere_is_said_in_a_line(typed, word, said):
    with pytest.raises(ConfigError) as error:
        typed(word)
    assert str(error.value) == said


@pytest.mark.parametrize('word', ['no value', '=3', 'a..b=1'])
def test_words_that_are_no_options(word, capsys):
    with pytest.raises(SystemExit) as left:
        PARSE(['x', '--cfg-options', word])
    assert left.value.code == 2
    assert (
        f'{word!r} is not KEY=VALUE (a value with spaces needs quotes)' in capsys.readouterr().err
    )


def test_paths_of_the_command_line_begin_at_home(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    args = PARSE(['x', '--work-dir=~/a b', '--resume=~/c.pth'])
    assert (args.work_dir, args.resume) == ('/home/me/a b', '/home/me/c.pth')
    args = load_tool('test').parse_args(['x', '~/c.pth', '--out-dir=~/o'])
    assert (args.checkpoint, args.out_dir) == ('/home/me/c.pth', '/home/me/o')


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (
            'model = dict(generator=dict(light="no"))',
            "my.py: model.generator.light takes True or False, got 'no'",
        ),
        (
            'model = dict(generator=dict(lite=True))',
            'my.py: unknown field model.generator.lite: is it model.generator.light?',
        ),
        (
            'default_hooks = dict(sheet=dict(interval=3))',
            'my.py: default_hooks.sheet has no type: is it default_hooks.sheets?',
        ),
        (
            'model = dict(domains=dict(A="x", B="x/y"))',
            "my.py: domains.B='x/y' must be a name that can be part of a folder name on every ",
        ),
        (
            'model = dict(domains=dict(A="Cat", B="cat"))',
            "my.py: domains must have different names, got {'A': 'Cat', 'B': 'cat'} ",
        ),
        (
            'optim_wrapper = dict(generators=dict(optimizer=dict(type="SGD")))',
            f'my.py: unknown field {G_OPTIMIZER}.betas: SGD has dampening, ',
        ),
        ('x = y + 1', "HERE/my.py: line 2: name 'y' is not defined"),
        ('x = (1', "HERE/my.py: line 2: '(' was never closed"),
        ('_base_ = "none.py"', 'HERE/my.py: its _base_ HERE/none.py does not exist'),
        ('custom_imports = dict(imports=["none"])', 'HERE/my.py: custom_imports: Failed to import'),
        ('_base_ = []', 'my.py: it has no model: give the config of a training'),
    ],
)
def test_a_mistake_of_a_file_names_it(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('my.py').write_text(text if '_base_' in text else BASE + text)
    with pytest.raises(ConfigError) as error:
        load_config('my.py')
    assert str(error.value).startswith(said.replace('HERE', str(tmp_path)))
    assert '\n' not in str(error.value)


def test_bases_are_named_and_marks_passed_over(tmp_path):
    (tmp_path / 'a.py').write_text(BASE + 'model = dict(generator=dict(light=True))', 'utf-8-sig')
    (tmp_path / 'b.py').write_text('_base_ = "a.py"\nwork_dir = "ä"', 'utf-8-sig')
    cfg = load_config(tmp_path / 'b.py')
    assert cfg.model.generator.light and cfg.work_dir == 'ä'
    (tmp_path / 'a.py').write_text(BASE, 'utf-16')
    with pytest.raises(ConfigError, match=r'^.*/a\.py: it is not UTF-8 text$'):
        load_config(tmp_path / 'b.py')


def test_home_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    where = 'train_dataloader = dict(dataset=dict(data_root="~/d"))\nwork_dir = "~/w"\n'
    (tmp_path / 'a.py').write_text(BASE + where)
    cfg = load_config(tmp_path / 'a.py')
    assert (cfg.train_dataloader.dataset.data_root, cfg.work_dir) == ('/home/me/d', '/home/me/w')


@pytest.mark.parametrize(
    'evaluator',
    [
        "dict(type='TransStats', _delete_=True)",
        "dict(type='Evaluator', metrics=dict(type='TransStats'), _delete_=True)",
        "dict(metrics=[dict(type='TransStats')], _delete_=True)",
        "[dict(type='TransStats')]",
    ],
)
def test_metrics_in_every_form_take_kid(evaluator, tmp_path):
    (tmp_path / 'a.py').write_text(BASE + f'test_evaluator = val_evaluator = {evaluator}')
    cfg = load_config(tmp_path / 'a.py')
    assert cfg.test_evaluator == cfg.val_evaluator == [{'type': 'TransStats'}]
    add_kid(cfg, ['ColourHOGFeatures'], 3)
    kid = {'type': 'TransKID', 'extractor': {'type': 'ColourHOGFeatures'}, 'subset_size': 3}
    assert cfg.test_evaluator == [{'type': 'TransStats'}, kid]
    with pytest.raises(
        ConfigError, match=r"type 'ColourHOG' is unknown: is it ColourHOGFeatures\?"
    ):
        add_kid(cfg, ['ColourHOG'])


# -- tools ---------------------------------------------------------------------------------------

WORDS = {
    'train': ['train', 'my.py'],
    'test': ['test', 'my.py', 'none.pth'],
    'translate': ['translate', 'x.png', '--config', 'my.py'],
    'export': ['export', '--format', 'torchscript', '--config', 'my.py'],
}


@pytest.mark.parametrize('words', WORDS.values(), ids=WORDS)
@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (BASE + 'x = (1', "my.py: line 2: '(' was never closed"),
        (BASE + 'model = dict(generator=dict(lite=1))', 'is it model.generator.light?'),
        (None, 'no config my.py: '),
    ],
    ids=['syntax', 'field', 'no file'],
)
def test_every_tool_says_it_in_a_line(words, text, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path('my.py').write_text(text)
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and said in error and error.count('\n') == 1
    assert {path.name for path in tmp_path.iterdir()} <= {'my.py'}


@pytest.mark.parametrize(
    ('tool', 'words'),
    [
        ('train', ['ugatit_custom']),
        ('test', ['ugatit_custom', 'none.pth']),
        ('demo', []),
        ('run_paper', ['--what', 'ablation', '--dry-run', '--kid', 'ColourHOGFeatures']),
    ],
)
def test_every_tool_with_options(tool, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert load_tool(tool).main([*words, '--cfg-options', 'img_siz=3']) == 1
    error = capsys.readouterr().err  # of several configs it names the first
    assert error.startswith('error: ') and error.count('\n') == 1
    assert error.endswith('unknown option img_siz: is it img_size?\n')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('word', 'said'),
    [
        ('model.generator.norm=foo', "model.generator: norm must be one of ['adalin', "),
        (
            'model.generator.base_channels=0',
            'model.generator: base_channels must be 1 or more, got 0',
        ),
        (
            'model.discriminator.base_channels=-4',
            'model.discriminator: base_channels must be 1 or ',
        ),
        ('model.generator.num_blocks=0', 'model.generator: num_blocks must be 1 or more, got 0'),
        ('train_dataloader.batch_size=0', 'train_dataloader: batch_size should be a positive '),
        (f'{G_OPTIMIZER}.lr=-1', f'{G_OPTIMIZER}: Invalid learning rate: -1'),
        ('default_hooks.ema.momentum=2', 'default_hooks.ema: momentum must lie between 0 and 1, '),
        ('default_hooks.watch.foo=0.3', "default_hooks.watch: WatchHook has no limit 'foo': "),
        ('train_dataloader.dataset.io_backend=s3', 'train_dataloader.dataset: io_backend must be '),
        ('auto_scale_lr.enable=True', 'auto_scale_lr: Lack of `base_batch_size` in '),
        ('activation_checkpointing=[no]', "activation_checkpointing: 'UGATIT' object has no "),
        ('launcher=pytorch', 'launcher is not a config option: give --launcher'),
        ('randomness.seed=-1', 'randomness: Seed must be between 0 and '),
    ],
)
def test_what_a_class_refuses_names_the_field(word, said, data_root, tmp_path, capsys):
    options = as_arguments({**TINY, 'data_root': data_root})
    words = ['ugatit_custom', '--work-dir', str(tmp_path / 'w'), '--cfg-options', *options, word]
    assert load_tool('train').main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f'error: {said}')


@pytest.mark.slow
@pytest.mark.parametrize('module', ['ugatit_mm', 'ugatit_mm.cli'])
def test_the_package_runs_as_the_command(module):
    words = [sys.executable, '-m', module, 'trane']
    left = subprocess.run(words, capture_output=True, text=True)
    assert (
        left.returncode == 2 and "error: no command 'trane': did you mean train?\n" in left.stderr
    )
    assert left.stderr.endswith(f'{cli.usage()}\n')


def test_lean_and_an_adam_of_another_kind():
    with pytest.raises(ValueError, match=r'optimizer is TFAdam: leave out --lean$'):
        apply_speed(load_config('aggan_custom'), lean=True)
