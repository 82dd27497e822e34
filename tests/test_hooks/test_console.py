"""What a training and a test print on the terminal, and what goes to the file only."""

import io
import re
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from helpers import TINY, TINY_OF, as_arguments, load_tool, tiny_config
from mmengine.logging import MMLogger, print_log
from torch import nn

from ugatit_mm.apis import run_test, run_training
from ugatit_mm.config import load_config
from ugatit_mm.engine import terminal
from ugatit_mm.hooks import ConsoleHook, console
from ugatit_mm.models import UGATIT

LABELS = ['model', 'data', 'pictures', 'networks', 'device', 'memory', 'checkpoints', 'iterations']
LABELS += ['log', 'sheets', 'stop']
ENDS = ['checkpoint', 'sheets', 'log', 'translate', 'report']
QUICK = {'val_cfg': None, 'default_hooks.logger.interval': 2}


def labels(lines: list[str]) -> list[str]:
    return [line[:12].rstrip() for line in lines]


def test_a_training_says_a_dozen_lines_then_rows(data_root, tmp_path, capfd):
    work = tmp_path / 'a work'
    options = TINY | QUICK | {'data_root': data_root, 'domains.A': 'red', 'domains.B': 'dark blue'}
    words = ['ugatit_custom', '--work-dir', str(work), '--cfg-options', *as_arguments(options)]
    assert load_tool('train').main([*words, 'train_cfg.max_iters=6']) == 0
    said = capfd.readouterr()
    assert said.err == ''
    lines = said.out.splitlines()
    start = next(work.glob('*/*.log')).stem
    assert labels(lines[:11]) == LABELS
    assert lines[0].endswith(': red and dark blue') and 'U-GAT-IT (light, 4 channels, ' in lines[0]
    assert lines[1] == f'data        red 6, dark blue 5; in {data_root}'
    assert lines[2] == 'pictures    32x32 px, batch 1'
    assert re.fullmatch(
        r'networks    0\.0\dM weights: generators 0\.0\dM, discriminators 0\.0\dM', lines[3]
    )
    assert lines[4].startswith('device      cpu, 1 thread; forward passes in float32; kernels: ')
    assert lines[5].startswith(
        'memory      1 MB for weights, gradients and moments, and activations'
    )
    assert re.fullmatch(
        r'checkpoints each 2 iterations, 1 MB each, all 3 kept: [12] MB; \d+\.\d GB free', lines[6]
    )
    assert lines[7] == 'iterations  6'
    assert lines[8] == f'log         {work}/{start}/{start}.log'
    assert lines[9] == f'sheets      {work}/sheets'
    go_on = f"ugatit train '{work}/ugatit_custom.py' --work-dir '{work}' --resume"
    assert lines[10] == f'stop        Ctrl-C saves a checkpoint; to go on: {go_on}'

    rows = [line for line in lines if line.startswith('iter ')]
    numbers = r'-?\d*\.?\d+(?:e-?\d+)?'
    row = rf'D {numbers} G {numbers} gan {numbers} cycle {numbers} id {numbers} cam {numbers}'
    for line, begin in zip(rows, ('1/6', r'2/6 eta 0:\d\d', r'4/6 eta 0:\d\d', '6/6'), strict=True):
        assert re.fullmatch(rf'iter {begin} \| {row}', line), line
    assert re.fullmatch(
        r'[\d.]+ s an iteration: 6 end in \d+ s; peak memory \d\.\d GB, all of the process',
        lines[14],
    )
    assert lines[-7] == '' and re.fullmatch(r'trained until iteration 6, in \d+ s', lines[-6])
    assert labels(lines[-5:]) == ENDS
    assert lines[-5] == f'checkpoint  {work}/iter_6.pth'
    target = "--to 'dark blue'"
    assert lines[-2] == f"translate   ugatit translate PICTURE --ckpt '{work}' {target}"
    assert lines[-1] == f"report      ugatit report '{work}'"

    log = next(work.glob('*/*.log')).read_text()
    for inside in ('System environment:', 'Config:', 'FileClient', 'Iter(train) [6/6]', *LABELS):
        assert inside in log
    assert len(lines) == 11 + 4 + 1 + 7


def test_rows_are_means_since_the_row_before(capsys):
    hook = ConsoleHook()
    hook._interval = 2
    runner = SimpleNamespace(max_iters=5, iter=0)
    for number, loss in enumerate((1.0, 2.0, 4.0, 6.0, 3.0)):
        runner.iter = number
        hook.after_train_iter(runner, number, outputs={'loss_g': loss}) if number < 4 else (
            hook.after_step(runner, SimpleNamespace(iteration=5, log={'loss_g': loss}))
        )
    rows = [line.partition(' | ')[2] for line in capsys.readouterr().out.splitlines()]
    assert rows == ['G 1.00', 'G 2.00', 'G 5.00', 'G 3.00']


@pytest.mark.parametrize(
    ('name', 'terms'),
    [
        ('ugatit', 'D G gan cycle id cam'),
        ('aggan', 'D G gan cycle'),
        ('cyclegan', 'D G gan cycle id'),
        ('unit', 'D G gan recon_x kl cycle kl_cycle'),
        ('munit', 'D G gan recon_x recon_s recon_c'),
        ('cartoongan', 'D G gan content'),
        (
            'drit',
            'D D_content G G_random gan content cycle recon kl kl_content latent gan_random',
        ),
    ],
)
def test_every_model_has_a_row(name, terms, data_root, tmp_path, capfd):
    off = {'train_cfg.max_iters': 2, 'val_cfg': None, 'default_hooks.checkpoint.interval': 9}
    run_training(tiny_config(data_root, tmp_path / 'work', name, **off))
    *_, last = (line for line in capfd.readouterr().out.splitlines() if line.startswith('iter '))
    assert re.sub(r' -?[\d.][\d.e-]*', '', last) == f'iter/2 | {terms}'
    assert set(terms.split()) >= {'D', 'G'} and set(TINY_OF) >= {name}


def test_without_the_hook_mmengines_console_is_back(data_root, tmp_path, capfd):
    off = {'default_hooks.console': None, 'train_cfg.max_iters': 2, **QUICK}
    run_training(tiny_config(data_root, tmp_path / 'work', **off))
    said = capfd.readouterr().out
    assert 'Config:' in said and 'Iter(train)' in said and 'iter 1/2' not in said


@pytest.fixture
def logger(tmp_path):
    made = MMLogger.get_instance('terminal', log_file=str(tmp_path / 'log'))
    terminal.use_terminal(made)
    return made


def test_ours_are_shown_and_all_are_in_the_file(logger, tmp_path, capsys):
    logger.info('nothing to see')
    logger.info('seen', extra=terminal.SHOWN)
    logger.warning('two\n  lines')
    logger.warning('two\n  lines')
    print_log('by print_log', 'current', 30)
    logger.error('bad')
    theirs = {'__name__': 'mmengine.fileio.file_client', 'print_log': print_log, 'logger': logger}
    exec("print_log('FileClient', 'current', 30); logger.warning('alias')", theirs)
    exec("logger.error('of theirs')", theirs)
    with terminal.warnings_in_log({'default_hooks': {'console': {'type': 'ConsoleHook'}}}):
        warnings.warn('old', DeprecationWarning, stacklevel=1)
    said = capsys.readouterr()
    assert said.out == 'seen\n'
    assert said.err == ('warning: two lines\nwarning: by print_log\nerror: bad\nerror: of theirs\n')
    text = (tmp_path / 'log').read_text()
    for line in ('nothing to see', 'seen', 'FileClient', 'alias', 'DeprecationWarning: old'):
        assert line in text


def test_pythons_warnings_are_as_before_without_a_console(logger, tmp_path):
    with pytest.warns(UserWarning, match='seen'), terminal.warnings_in_log({}):
        warnings.warn('seen', stacklevel=1)
    assert 'seen' not in (tmp_path / 'log').read_text()


def test_other_ranks_are_silent(data_root, tmp_path, capsys, monkeypatch):
    for module in (terminal, console):
        monkeypatch.setattr(module, 'is_main_process', lambda: False)
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda: False)
    made = MMLogger.get_instance('other rank')
    terminal.use_terminal(made)
    made.error('bad')
    hook, runner = ConsoleHook(), SimpleNamespace(max_iters=4, iter=0, logger=made)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0, outputs={'loss_g': 1.0})
    hook.after_train(runner)
    assert capsys.readouterr() == ('', '')


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_with_the_time_left(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    run_training(tiny_config(data_root, tmp_path / 'work', **QUICK))
    shown = sys.stderr.getvalue()
    assert '| 0/4' in shown and re.search(r'\| 3/4, eta 0:\d\d', shown)


def test_more_than_a_day_is_a_warning_with_what_helps(capsys):
    said = []
    runner = SimpleNamespace(
        max_iters=100_000,
        cfg=load_config('ugatit_custom', {'img_size': 128, 'model.generator.light': True}),
        model=nn.Linear(1, 1),
        optim_wrapper={'generators': SimpleNamespace(dtype=torch.float32)},
        logger=SimpleNamespace(
            warning=lambda line: said.append(f'warning: {line}'),
            info=lambda line, extra: said.append(line),
        ),
    )
    hook = ConsoleHook()
    hook._tell_speed(runner, 14.0)
    assert said[0] == (
        'warning: 14 s an iteration: 100,000 end in 16 days; try model.generator.base_channels=32 '
        'model.discriminator.base_channels=32, or a GPU'
    )
    assert said[1].startswith('peak memory ')
    said.clear()
    hook._first = 99_000
    hook._tell_speed(runner, 14.0)
    assert len(said) == 1 and said[0].startswith('14 s an iteration: 1,000 end in 3 h 53 min; peak')


@pytest.mark.parametrize(
    ('times', 'seconds'),
    [
        ((100.0, 101.0, 102.5, 103.5, 104.0, 109.0, 120.0), 1.0),
        ((100.0, 106.0, 111.0, 116.0), 5.5),  # slow: no need to wait for five
        ((100.0, 134.0, 168.0), 34.0),
    ],
)
def test_the_speed_leaves_the_first_iteration_out(times, seconds, monkeypatch):
    count, times = len(times), iter(times)
    monkeypatch.setattr(console.time, 'monotonic', lambda: next(times))
    told = []
    hook = ConsoleHook()
    monkeypatch.setattr(hook, '_tell_speed', lambda runner, seconds: told.append(seconds))
    monkeypatch.setattr(hook, 'after_step', lambda runner, done: None)
    for number in range(count):
        hook.after_train_iter(SimpleNamespace(max_iters=9, iter=number), number, outputs={})
    assert told == [seconds]


def test_after_ctrl_c_it_says_how_to_go_on(data_root, tmp_path, monkeypatch, capfd):
    import signal

    does, calls = UGATIT.train_step, []

    def step(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return does(self, *args, **kwargs)

    monkeypatch.setattr(UGATIT, 'train_step', step)
    work = tmp_path / 'work'
    options = as_arguments(TINY | QUICK | {'data_root': data_root})
    words = ['ugatit_custom', '--work-dir', str(work), '--cfg-options', *options]
    assert load_tool('train').main(words) == 130
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert labels(lines[-6:]) == [*ENDS[:3], 'go on', *ENDS[3:]]
    assert lines[-6] == f'checkpoint  {work}/iter_3.pth'
    go_on = lines[-3].removeprefix('go on       ')
    assert 'warning: SIGINT: saved iteration 3; go on with --resume' in said.err

    monkeypatch.setattr(UGATIT, 'train_step', does)
    assert load_tool('train').main(go_on.split()[2:]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert f'resumed from {work}/iter_3.pth at iteration 3' in lines
    assert 'iterations  4, from 3 on' in lines and f'checkpoint  {work}/iter_4.pth' in lines


def test_a_test_says_a_dozen_lines_and_the_metrics(data_root, tmp_path, capfd):
    run_training(tiny_config(data_root, tmp_path / 'work', **QUICK))
    cfg = tiny_config(data_root, tmp_path / 'test')
    cfg.test_evaluator = [
        dict(type='TransStats'),
        dict(type='TransKID', extractor=dict(type='ColourHOGFeatures'), subset_size=2),
    ]
    capfd.readouterr()
    weights = tmp_path / 'work' / 'iter_4.pth'
    run_test(cfg, weights, tmp_path / 'out')
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert labels(lines[:5]) == ['weights', 'model', 'data', 'device', 'log']
    assert lines[0] == f'weights     {weights}'
    assert lines[2] == f'data        A 3, B 2; in {data_root}'
    assert re.fullmatch(r'A2B \| colour \S+ colour_gap \S+ edges \S+ edges_gap \S+', lines[5])
    rows = [line for line in lines if line.startswith('| A2B | KID to the target, random')]
    assert len(rows) == 1 and 'untranslated sources' in said.out
    assert lines[-2] == f'results     {tmp_path}/test/results_iter_4.json'
    assert lines[-1] == f'pictures    {tmp_path}/out'
    assert len([line for line in lines if line and not line.startswith('|')]) < 15
