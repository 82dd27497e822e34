"""The real tools: train, resume, test, interrupt, several ranks."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import (
    PATIENCE,
    ROOT,
    TINY,
    TINY_OF,
    as_arguments,
    family,
    free_port,
    in_ranks,
    load_tool,
    same_weights,
    saved_weights,
    started,
    tiny_config,
    wait_for,
)
from PIL import Image

from ugatit_mm.apis import add_kid, run_test, run_training
from ugatit_mm.config import load_config
from ugatit_mm.evaluation import Protocol, compare_folders
from ugatit_mm.evaluation.results import read_results
from ugatit_mm.models.base import unwrap
from ugatit_mm.visualization import plot_losses, read_scalars

ENV = {**os.environ, 'PYTHON': sys.executable}


def run(*words, cwd: Path, env: dict = ENV) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def train_here(data_root: Path, work_dir: Path, **options) -> Path:
    run_training(tiny_config(data_root, work_dir, **options))
    return work_dir


def assert_rho_in_range(weights: dict) -> None:
    rho = torch.cat([value.flatten() for key, value in weights.items() if key.endswith('rho')])
    assert rho.min() >= 0 and rho.max() <= 1


def test_train_resume_test_through_the_tools(data_root: Path, tmp_path: Path, monkeypatch, capfd):
    work = tmp_path / 'work'
    options = as_arguments(
        {**TINY, 'data_root': data_root, 'domains.A': 'red', 'domains.B': 'blue'}
    )
    train = ['configs/ugatit_custom.py', '--work-dir', str(work)]
    options += ['train_cfg.max_iters=2']
    assert load_tool('train').main([*train, '--cfg-options', *options]) == 0
    assert (work / 'iter_2.pth').is_file() and not (work / 'iter_4.pth').is_file()

    capfd.readouterr()
    options[-1] = 'train_cfg.max_iters=4'
    assert load_tool('train').main([*train, '--resume', '--cfg-options', *options]) == 0
    said = capfd.readouterr().out
    assert re.findall(r'^iter (\d/\d)', said, re.M) == ['3/4', '4/4']
    assert ' cycle ' in said and 'red2blue | colour ' in said
    log = max(work.glob('*/*.log')).read_text()
    assert re.findall(r'Iter\(train\) +\[(\d/\d)\]', log) == ['3/4', '4/4']
    assert 'eta: ' in log and 'loss_cycle_A' in log and 'red2blue/colour' in log

    # The config that the run saved needs no options, and nothing of where it started.
    out = tmp_path / 'out'
    words = [work / 'ugatit_custom.py', work / 'iter_4.pth', '--work-dir', tmp_path / 'test']
    monkeypatch.chdir(tmp_path)
    assert load_tool('test').main([*map(str, words), '--out-dir', str(out), '--sheet']) == 0
    assert sorted(f.name for f in (out / 'red2blue').iterdir()) == ['0.png', '1.png', '2.png']
    assert sorted(f.name for f in (out / 'blue2red').iterdir()) == ['0.png', '1.png']
    for file in out.glob('*2*/*.png'):
        image = np.asarray(Image.open(file))
        assert image.shape == (32, 32, 3) and image.std() > 0
    assert (out / 'sheet_red2blue.png').is_file()

    sheets = sorted(f.name for f in work.glob('*/vis_data/vis_image/*.png'))
    assert sheets == [f'sheet_{d}_{i}.png' for d in ('blue2red', 'red2blue') for i in (2, 4)]
    assert list(work.glob('*/vis_data/events.out.tfevents*'))
    losses = read_scalars(work)
    assert [step for step, _ in losses['loss_g']] == [1, 2, 3, 4]
    plot_losses(work, tmp_path / 'losses.png')
    assert Image.open(tmp_path / 'losses.png').size[0] > 500


@pytest.mark.slow
def test_seeded_runs_repeat_to_the_bit(data_root: Path, tmp_path: Path):
    rate = {'optim_wrapper.generators.optimizer.lr': 0.5}  # throws rho out of [0, 1] at each step
    one, again, other = (
        saved_weights(train_here(data_root, tmp_path / name, **rate, **options) / 'iter_2.pth')
        for name, options in (
            ('one', {'train_cfg.max_iters': 2}),
            ('again', {'train_cfg.max_iters': 2}),
            ('other', {'train_cfg.max_iters': 2, 'randomness.seed': 1}),
        )
    )
    assert same_weights(one, again) and not same_weights(one, other)
    assert_rho_in_range(one)


def test_old_checkpoints_go(data_root: Path, tmp_path: Path):
    work = train_here(
        data_root,
        tmp_path / 'work',
        **{'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': 2},
    )
    assert sorted(f.name for f in work.glob('*.pth')) == ['iter_3.pth', 'iter_4.pth']


def test_gradient_accumulation_and_bfloat16_train(data_root: Path, tmp_path: Path):
    work = train_here(
        data_root,
        tmp_path / 'work',
        **{
            'optim_wrapper.generators.accumulative_counts': 2,
            'optim_wrapper.discriminators.accumulative_counts': 2,
            'optim_wrapper.generators.type': 'AutocastOptimWrapper',
            'optim_wrapper.discriminators.type': 'AutocastOptimWrapper',
            'optim_wrapper.generators.optimizer.lr': 0.5,
        },
    )
    first, last = saved_weights(work / 'iter_2.pth'), saved_weights(work / 'iter_4.pth')
    assert not same_weights(first, last)
    for weights in (first, last):
        assert_rho_in_range(weights)


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'ranks'), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_interrupt_leaves_a_checkpoint_to_go_on_from(data_root, tmp_path: Path, number, ranks):
    """The signal goes to all processes, as a terminal and a cluster send it."""
    work, log = tmp_path / 'work', tmp_path / 'log'
    options = {
        **TINY,
        'data_root': data_root,
        'train_dataloader.num_workers': 2,
        'train_cfg.max_iters': 100_000,
        'train_cfg.val_interval': 1 if ranks > 1 else 100_000,  # they agree in validation, too
        'default_hooks.checkpoint.interval': 100_000,
    }
    words = [sys.executable, ROOT / 'tools' / 'train.py', 'ugatit_custom']
    if ranks > 1:
        words = [ROOT / 'tools' / 'dist_train.sh', 'ugatit_custom', ranks]
    words += ['--work-dir', work, '--cfg-options', *as_arguments(options)]
    env = {**ENV, 'PORT': free_port()}
    with started(words, log, cwd=tmp_path, env=env, start_new_session=True) as process:
        wait_for(process, log, lambda: 'iter 5/100000 ' in log.read_text())
        workers = [pid for pid in family(process.pid) if os.getpgid(pid) == pid][1:]
        assert ranks > 1 or len(workers) == 2
        for pid in [*workers, -process.pid]:  # they have left the group
            os.kill(pid, number)
        # The launcher has its own exit codes.
        code = process.wait(PATIENCE)
        assert code in ([130] if ranks == 1 else [1, -number]), log.read_text()[-3000:]
    assert number.name in log.read_text()
    assert ranks > 1 or 'Traceback' not in log.read_text()
    saved = Path((work / 'last_checkpoint').read_text())
    content = torch.load(saved, weights_only=True)
    assert content['meta']['iter'] == int(saved.stem.split('_')[1]) >= 5
    assert set(content['optimizer']) == {'generators', 'discriminators'}


def train_a_rank(folder: Path, options: dict, launcher: str) -> None:
    """Note the weights and the buffers of each rank."""
    cfg = load_config('ugatit_custom', options)
    cfg.work_dir, cfg.launcher = str(folder), launcher
    model = unwrap(run_training(cfg).model)
    state = {key.replace('.module.', '.'): value for key, value in model.state_dict().items()}
    torch.save(state, folder / f'rank{os.environ["RANK"]}.pth')


@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['tensorflow', 'pytorch'])
def test_two_ranks_equal_one_process_with_both_samples(data_root: Path, tmp_path: Path, recipe):
    """Equal to the last bit between ranks; to 1e-5 to one process with batch 2."""
    options = {
        **TINY,
        'data_root': str(data_root),
        'model.recipe': recipe,
        'train_cfg.max_iters': 1,
        'train_cfg.val_interval': 10,
        'train_dataloader.sampler.seed': 0,
        # With plain descent the weights' difference is that of the gradients; Adam's first step
        # has the size of the rate whatever the gradient is.
        'optim_wrapper.generators.optimizer': {'_delete_': True, 'type': 'SGD', 'lr': 1e-5},
        'optim_wrapper.discriminators.optimizer': {'_delete_': True, 'type': 'SGD', 'lr': 1e-1},
    }
    for name in ('two', 'one'):
        (tmp_path / name).mkdir()
    in_ranks(train_a_rank, tmp_path / 'two', tmp_path / 'two', options, 'pytorch')
    options['train_dataloader.batch_size'] = 2
    in_ranks(train_a_rank, tmp_path / 'one', tmp_path / 'one', options, 'none', count=1)
    first, second = (torch.load(tmp_path / 'two' / f'rank{rank}.pth') for rank in (0, 1))
    assert same_weights(first, second)
    assert_rho_in_range(first)
    one = torch.load(tmp_path / 'one' / 'rank0.pth')
    assert set(one) == set(first)
    for key in one:
        torch.testing.assert_close(first[key], one[key], atol=1e-5, rtol=1e-5, msg=key)


@pytest.mark.slow
def test_dist_test_equals_a_test_in_one_process(data_root: Path, tmp_path: Path):
    options = {**TINY, 'data_root': str(data_root), 'train_cfg.max_iters': 2}
    env, work = {**ENV, 'PORT': free_port()}, tmp_path / 'work'
    work.mkdir()
    in_ranks(train_a_rank, work, work, options, 'pytorch')
    assert not any('module' in key for key in saved_weights(work / 'iter_2.pth'))
    run(
        *(ROOT / 'tools' / 'dist_test.sh', work / 'ugatit_custom.py', work / 'iter_2.pth', 2),
        *('--out-dir', tmp_path / 'out', '--work-dir', tmp_path / 'test'),
        *('--kid', 'ColourHOGFeatures', '--subset-size', 2),
        cwd=tmp_path,
        env=env,
    )
    assert len(list((tmp_path / 'out' / 'A2B').iterdir())) == 3
    assert len(list((tmp_path / 'out' / 'B2A').iterdir())) == 2

    # Two ranks measure what one process does, and what is measured on the files they wrote.
    cfg = load_config(work / 'ugatit_custom.py')
    cfg.work_dir, cfg.launcher = str(tmp_path / 'one'), 'none'
    add_kid(cfg, ['ColourHOGFeatures'], 2)
    metrics = run_test(cfg, work / 'iter_2.pth')
    two, one = (
        read_results(tmp_path / folder / 'results_iter_2.json') for folder in ('test', 'one')
    )
    assert len(metrics) == 2 * (4 + 7) and metrics == pytest.approx(one['metrics'], nan_ok=True)
    assert two['metrics'] == pytest.approx(metrics, nan_ok=True)
    assert (two['trained']['processes'], two['iterations']) == (2, 2)
    assert (two['evaluated']['processes'], one['evaluated']['processes']) == (2, 1)
    for fake, real, source in (('A2B', 'testB', 'testA'), ('B2A', 'testA', 'testB')):
        measured, copies = compare_folders(
            *(tmp_path / 'out' / fake, data_root / real, data_root / source),
            extractor={'type': 'ColourHOGFeatures'},
            protocol=Protocol(subset_size=2),
            size=32,
        )
        assert [(f.direction, f.protocol, f.images) for f in measured] == [
            (f.direction, f.protocol, f.images) for f in one['measurements'] if f.direction == fake
        ]
        assert [f.value for f in measured] == pytest.approx(
            [f.value for f in one['measurements'] if f.direction == fake]
        )
        assert [f.value for f in copies] == pytest.approx(
            [f.value for f in one['untranslated'] if f.direction == fake]
        )


def test_tool_says_what_kid_lacks(data_root: Path, tmp_path: Path, monkeypatch, capsys):
    work = train_here(data_root, tmp_path / 'work', **{'train_cfg.max_iters': 1})
    words = [str(work / 'ugatit_custom.py'), str(work / 'iter_1.pth'), '--work-dir', str(tmp_path)]
    words += ['--out-dir', str(tmp_path / 'out')]
    tool = load_tool('test')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert tool.main([*words, '--kid', 'InceptionFeatures']) == 1
    assert 'no Inception weights' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()  # reported before anything was translated
    # With the size of the set, which is printed.
    kids = ['--kid', 'EfficientNetLite0Features', 'ColourHOGFeatures']
    assert tool.main([*words, *kids, '--class', 'crane']) == 1
    assert "'crane' is 2 classes of ImageNet" in capsys.readouterr().err
    assert tool.main([*words, *kids, '--class', 'daisy', '1']) == 0
    results = read_results(tmp_path / 'results_iter_1.json')
    kinds = ('efficientnet_lite0', 'colour_hog')
    of_kid = [kind for kind in kinds for _ in range(8)]
    assert [f.features for f in results['untranslated']] == of_kid
    assert [f.features for f in results['measurements']] == of_kid + [kinds[0]] * 12
    assert {f'A2B/{kind}_kid' for kind in kinds} < set(results['metrics'])
    assert 'B2A/efficientnet_lite0_class_share_goldfish_target' in results['metrics']
    assert {f.settings for f in results['measurements'] if f.protocol == 'kid'} == {
        '100 subsets of 2 (50 do not fit), seed 2020'
    }
    (data_root / 'testB' / '0.png').unlink()
    shutil.rmtree(tmp_path / 'out')
    assert tool.main([*words, '--kid', 'ColourHOGFeatures']) == 1
    assert (
        'error: TransKID measures distances between sets of images, and needs 2 or more of each '
        'domain; of B there is 1: add test pictures, or leave it out of the evaluator (--kid)'
    ) in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()  # also reported before anything was translated


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_launchers_tell_their_usage(script, tmp_path: Path):
    done = subprocess.run([ROOT / 'tools' / script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and 'usage:' in done.stderr


def test_slurm_asks_for_what_was_set(tmp_path: Path):
    """With a stand-in for srun that prints its words."""
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    env = {**ENV, 'PATH': f'{tmp_path}:{ENV["PATH"]}', 'GPUS': '4', 'PYTHON': 'python3'}
    env |= {'SRUN_ARGS': '--mem=8G --time=1'}
    done = run(
        *(ROOT / 'tools' / 'slurm_train.sh', 'gpu', 'job', 'a config.py', 'work dir', '--amp'),
        cwd=tmp_path,
        env=env,
    )
    words = done.stdout.splitlines()
    for word in ('--ntasks=4', '--gres=gpu:4', '--mem=8G', '--time=1', 'a config.py', 'work dir'):
        assert word in words
    assert words[-3:] == ['--launcher', 'slurm', '--amp']


@pytest.fixture
def two_folders(data_root: Path, tmp_path: Path) -> list[str]:
    """The words that begin a training on two folders, with tiny networks."""
    words = []
    for option, part in (('--a', 'trainA'), ('--b', 'trainB')):
        folder = tmp_path / {'--a': 'red', '--b': 'blue'}[option]
        shutil.copytree(data_root / part, folder)
        words += [option, str(folder)]
    return words


def options_of(**options) -> list[str]:
    return ['--cfg-options', *as_arguments(TINY | options)]


def test_two_folders_train_resume_and_test(two_folders, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, work = load_tool('train'), tmp_path / 'work_dirs' / 'red2blue'
    short = {'train_cfg.max_iters': 2}
    assert train.main([*two_folders, '--test', '2', *options_of(**short)]) == 0
    lines = capfd.readouterr().out.splitlines()
    red, blue = two_folders[1::2]
    assert lines[0].endswith(': red and blue')
    assert lines[1] == (
        f'data        red 4 and 2 to test, blue 3 and 2 to test; in {work}/data (symbolic links '
        f'of {red} and {blue}; split.json)'
    )
    assert [path.name for path in work.glob('sheets/red2blue_*.png')] == ['red2blue_2.png']
    before = (work / 'data' / 'split.json').read_text()
    assert train.main([*two_folders, *options_of(**short)]) == 1
    assert 'holds a training: --resume goes on from iter_2.pth' in capfd.readouterr().err
    assert train.main([*two_folders, '--resume', *options_of()]) == 0  # with the test as it was
    assert (work / 'iter_4.pth').is_file()
    assert (work / 'data' / 'split.json').read_text() == before
    # The saved config needs neither the folders nor an option.
    config, weights = work / 'ugatit_custom.py', work / 'iter_4.pth'
    assert train.main([str(config), '--work-dir', str(work), '--resume']) == 0
    assert load_config(config).train_dataloader.dataset.data_root == str(work / 'data')
    words = [str(config), str(weights), '--work-dir', 'test', '--out-dir', 'out']
    assert load_tool('test').main(words) == 0
    assert len(list((tmp_path / 'out' / 'red2blue').iterdir())) == 2
    check = load_tool('dataset_converters/check')
    check.main([str(work / 'data'), '--min-size', '8'])
    assert 'missing' not in capfd.readouterr().out

    capfd.readouterr()
    assert train.main([*two_folders, '--test', '3', '--restart', *options_of(**short)]) == 1
    assert capfd.readouterr().err == (
        f'error: {work}/data was split with --test 2, not 3: leave it out, or choose another '
        '--work-dir\n'
    )


def test_two_folders_without_a_test_have_no_validation(two_folders, tmp_path, capfd):
    work = tmp_path / 'work'
    words = ['munit_custom', *two_folders, '--test', '0', '--work-dir', str(work)]
    tiny = as_arguments(TINY_OF['munit'] | {'train_cfg.max_iters': 1, 'domains.B': 'sea'})
    assert load_tool('train').main([*words, '--cfg-options', *tiny]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith('model       MUNIT') and lines[0].endswith(': red and sea')
    assert lines[1].startswith(f'data        red 6, sea 5; in {work}/data (symbolic links of ')
    assert load_config(work / 'munit_custom.py').val_cfg is None
    # Also where --test is not said again.
    assert (
        load_tool('train').main([*words[:5], *words[7:], '--resume', '--cfg-options', *tiny]) == 0
    )


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--a', 'red'], '--a and --b are two folders: give both'),
        (['ugatit_custom', '--test', '5'], '--test splits the folders of --a and --b: give them'),
        ([], 'give two folders, --a DAISIES --b SUNFLOWERS, or a config'),
    ],
)
def test_half_of_what_two_folders_need_is_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        load_tool('train').main(words)
    assert said in capsys.readouterr().err


def test_what_two_folders_cannot_be_leaves_no_work_dir(two_folders, tmp_path, capfd):
    train, work = load_tool('train'), ['--work-dir', str(tmp_path / 'work')]
    same = ['--a', two_folders[1], '--b', str(tmp_path / 'data' / 'testB' / '..' / 'red')]
    for words, said in (
        ([*two_folders, '--test', '90'], '--test 90 leaves none to train on: '),
        ([*two_folders, '--resume'], 'nothing to resume in '),
        (same, "both folders are called 'red': name the domains, "),
        ([*two_folders, '--cfg-options', 'data_root=x'], 'are the data: leave data_root out'),
    ):
        given = words if '--cfg-options' in words else [*words, *options_of()]
        assert train.main([*given[:4], *work, *given[4:]]) == 1
        error = capfd.readouterr().err
        assert error.startswith('error: ') and said in error and error.count('\n') == 1
        assert not (tmp_path / 'work').exists()


def test_a_training_of_a_config_is_not_resumed_with_two_folders(
    two_folders, data_root, tmp_path, capfd
):
    work = train_here(data_root, tmp_path / 'work', **{'train_cfg.max_iters': 2})
    capfd.readouterr()
    words = [*two_folders, '--work-dir', str(work), '--resume', *options_of()]
    assert load_tool('train').main(words) == 1
    assert capfd.readouterr().err == (
        f'error: the training in {work} was not started with --a and --b: resume it with its '
        'config\n'
    )


def train_a_rank_on_two_folders(words: list[str]) -> None:
    assert load_tool('train').main(words) == 0


@pytest.mark.slow
def test_two_ranks_split_once_and_one_speaks(two_folders, tmp_path):
    work = tmp_path / 'work'
    words = [*two_folders, '--work-dir', str(work), '--launcher', 'pytorch']
    words += options_of(**{'train_cfg.max_iters': 2, 'train_cfg.val_interval': 9})
    in_ranks(train_a_rank_on_two_folders, tmp_path, words)
    first, second = ((tmp_path / f'rank{rank}.log').read_text() for rank in (0, 1))
    assert 'iter 2/2 | D ' in first and 'data        red 5 and 1 to test, blue 4' in first
    assert 'iter ' not in second and 'data ' not in second and 'warning: ' not in second
    assert (work / 'iter_2.pth').is_file()
