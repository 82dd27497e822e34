"""The benchmarks of the step and of translation: what they compare, what they write."""

import csv
import inspect
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, load_tool

from ugatit_mm.converters.pytorch import from_official

step = load_tool('benchmarks/step')
translate = load_tool('benchmarks/translate')
parity = load_tool('benchmarks/parity')
soak = load_tool('benchmarks/soak')
OfficialOrder = translate.OfficialOrder
building = load_tool('benchmarks/building')
official_order = building.official_order
SMALL = ['--variant', 'light', '--img-size', '96', '--base-channels', '4', '--rounds', '1']


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_settings_are_the_flags_of_the_training_tool():
    train = load_tool('train')
    for options in step.SETTINGS.values():
        words = []
        for flag, value in options.items():
            if flag != 'recipe':
                words += [f'--{flag}'] if value is True else [f'--{flag}', value]
        args = vars(train.parse_args(['config', *words]))
        given = {flag: args[flag] for flag in ('amp', 'lean', 'compile', 'graph') if args[flag]}
        assert given == {k: v for k, v in options.items() if k != 'recipe'}


def test_step_compares_the_same_mathematics():
    """With the official weights in ours, the first step's losses are the same."""
    torch.manual_seed(0)
    official = OfficialOrder(96, base_channels=4, light=True)
    images = {k: torch.randint(0, 256, (1, 3, 96, 96)) / 127.5 - 1 for k in 'AB'}
    ours = step.build_ours(step.Case('ugatit', 'light'), images, 4)
    model = ours.model
    model.load_state_dict(from_official(official.state_dict()))
    log, theirs = ours(), official.step(images['A'], images['B'])
    assert log['loss_d'] == pytest.approx(theirs['d_loss'].item(), rel=1e-4)
    assert log['loss_g'] == pytest.approx(theirs['g_loss'].item(), rel=1e-4)


def test_compiled_settings_are_measured_if_asked_for():
    device = torch.device('cuda')
    usual = step.default_settings(device, False)
    assert {'float32', 'bfloat16', 'lean, bfloat16'} <= set(usual)
    assert not any('compile' in step.SETTINGS[name] for name in usual)
    assert 'bfloat16, compile' in step.default_settings(device, True)
    assert step.default_settings(torch.device('cpu'), True) == list(step.ON_CPU)


@pytest.mark.slow
def test_step_writes_ratios_of_one_run(tmp_path, capsys):
    out = tmp_path / 'results.csv'
    words = [*SMALL, '--steps', '1', '--settings', 'float32', 'lean', '--out', str(out)]
    assert step.main(words) == 0
    found = {(r['setting'], r['quantity'], r['unit']): float(r['value']) for r in rows(out)}
    time = {s: found[s, 'time', 's/step'] for s in ('official order', 'float32', 'lean')}
    for setting in ('float32', 'lean'):
        assert found[setting, 'speed', 'x official order'] == pytest.approx(
            time['official order'] / time[setting], rel=1e-2
        )
    assert found['official order', 'speed', 'x official order'] == 1
    # The official order has forward and backward passes of 8 translations, ours of 6.
    flop = {s: found[s, 'rate', 'GFLOP/s'] * time[s] for s in time}
    assert flop['float32'] < 0.75 * flop['official order']
    assert flop['lean'] > flop['float32']  # checkpointing recomputes
    assert {row['case'] for row in rows(out)} == {'light, 4 channels, 96 px, batch 1'}
    assert all(row['hardware'] and row['torch'] and row['date'] for row in rows(out))
    assert '| lean |' in capsys.readouterr().out


@pytest.mark.slow
def test_models_stand_beside_their_official_orders(tmp_path, capsys):
    out = tmp_path / 'results.csv'
    words = [*SMALL, '--model', 'cyclegan', '--steps', '1', '--settings', 'float32', '--launches']
    assert step.main([*words, '--cpu-time', '--out', str(out)]) == 0
    found = {(r['setting'], r['quantity'], r['unit']): float(r['value']) for r in rows(out)}
    assert {row['case'] for row in rows(out)} == {'cyclegan, 4 channels, 96 px, batch 1, CPU time'}
    assert found['float32', 'peak memory', 'x official order'] > 0
    official, ours = (found[name, 'launches', 'a step'] for name in ('official order', 'bfloat16'))
    assert 0 < ours < official
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith('| cyclegan |')]
    speed = found['float32', 'speed', 'x official order']
    assert line.startswith('| cyclegan | float32 | ')
    assert float(line.split(' | ')[2]) == pytest.approx(speed, abs=0.01)
    assert f' | {official:g} → {ours:g} | ' in line and line.count('not measured') == 3


def test_every_model_has_an_official_order():
    for case in step.cases_of(['all'], ['full']):
        named = inspect.signature(official_order(case.model)).parameters
        assert list(named)[:3] == ['img_size', 'base_channels', 'device'], case
        # DRIT's smallest, which --quick and a smaller --img-size get.
        assert building.size_of(case.model, 128) == (216 if case.model == 'drit' else 128)
    with pytest.raises(ValueError, match=r'add tools/benchmarks/official/pix2pix\.py'):
        official_order('pix2pix')


@pytest.mark.slow
def test_translate_gives_the_official_images(tmp_path):
    torch.manual_seed(0)
    official = OfficialOrder(96, base_channels=4, light=True)
    image = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        ways = translate.settings(official, True, image, False, {'base_channels': 4})
        results = {name: way().float() for name, way in ways.items()}
    expected = results.pop('official network')
    torch.testing.assert_close(results['float32'], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(results['bfloat16'], expected, atol=0.1, rtol=0)
    out = tmp_path / 'results.csv'
    assert translate.main([*SMALL, '--out', str(out)]) == 0
    assert {row['quantity'] for row in rows(out)} == {'time', 'speed', 'rate'}
    assert translate.main([*SMALL, '--no-write', '--out', str(tmp_path / 'none.csv')]) == 0
    assert not (tmp_path / 'none.csv').exists()


def test_parity_sees_a_wrong_step(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'results.csv'
    words = ['steps', '--quick', '--device', 'cpu', '--out', str(out)]
    made = parity.losses
    runs = []

    def losses(step):
        runs.append(made(step))
        if len(runs) == 2:  # the first of the settings
            runs[-1][0]['loss_g'] *= 1.01
        return runs[-1]

    monkeypatch.setattr(parity, 'losses', losses)
    monkeypatch.setattr(parity, 'STEPS', 1)
    assert parity.main(words) == 1
    found = {row['setting']: float(row['value']) for row in rows(out)}
    assert found['float32, formulas'] == pytest.approx(0.01, rel=1e-2)
    assert 0 < found['bfloat16, formulas'] < parity.LIMITS['bfloat16']
    assert '| loss_g | ' in capsys.readouterr().out
    assert parity.off({'a': math.nan}, {'a': 1.0, 'b': 2.0}) == {'a': math.inf, 'b': math.inf}


def test_parity_tells_of_kernels_that_fell_back(monkeypatch, kernels, capsys):
    support = parity.support
    monkeypatch.setattr(support.Fused, 'known', {})

    def twice(x):
        return 2 * x

    def examples(device):
        yield support.Example((torch.ones(4, device=device),))

    support.Fused('right one', twice, twice, examples)
    assert parity.check_kernels(kernels)
    support.Fused('wrong one', twice, lambda x: 3 * x, examples)
    assert not parity.check_kernels(kernels)
    said = capsys.readouterr().out
    assert 'right: right one' in said and 'fell back: wrong one' in said


def gpu_script(*words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ROOT / 'benchmarks/gpu.sh', *words],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )


def test_parts_that_fail_do_not_stop_the_gpu_script(tmp_path):
    done = gpu_script('--rehearse', PYTHON='false', ROWS=str(tmp_path / 'rows.csv'))
    assert done.returncode == 1
    failed = [line for line in done.stderr.splitlines() if line.startswith('failed: ')]
    assert failed[0] == 'failed: machine: ended with 1' and len(failed) >= 6
    assert failed[-1] == 'failed: a rank: ended with 1'
    assert gpu_script('--anything').returncode == 2


@pytest.mark.long
def test_the_gpu_script_is_rehearsed(tmp_path):
    out = tmp_path / 'rows.csv'
    # Without the interpreter no kernel runs: tests/test_kernels/test_first_use.py checks them.
    done = gpu_script('--rehearse', PYTHON=sys.executable, ROWS=str(out), TRITON_INTERPRET='0')
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {row['benchmark'] for row in rows(out)} == {'parity', 'launches', 'step', 'translate'}
    assert 'differ from those of the uninterrupted run by 0.00%' in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux only')
def test_peak_memory_is_that_of_the_block():
    bench = load_tool('benchmarks/bench')
    with bench.PeakMemory() as peak:
        torch.ones(64 << 18)  # 64 MiB, freed at once
    assert 60 < peak.bytes / 2**20 < 90
    with bench.PeakMemory() as peak:
        torch.ones(4 << 18)
    assert peak.bytes / 2**20 < 20


def samples(**grown: float) -> list[dict[str, float]]:
    """Sixty samples of 100 of everything, in which some quantity grows by a rate per sample."""
    return [
        {
            name: 100 + index * grown.get(name.split(',')[0].replace(' ', '_'), 0.0)
            for name in soak.HELD
        }
        for index in range(60)
    ]


def test_soak_sees_what_grows_and_nothing_else():
    """From the 23rd sample (median of 21 to 26) to the 57th (median of 55 to 60)."""
    found = soak.growth(samples(RSS=1.0))
    assert found.pop('RSS, MiB') == (122.5, 156.5, pytest.approx(100 * 34 / 122.5))
    assert set(found.values()) == {(100, 100, 0)}
    # It counts only after the first third, and a batch in transit is not growth.
    start = [{**one, 'RSS, MiB': 1.0, 'threads': 1.0} for one in samples()[:20]]
    assert all(percent == 0 for *_, percent in soak.growth(start + samples()[20:]).values())
    assert soak.growth(samples(shared_memory=0.005))['shared memory, MiB'][2] == 0
    assert soak.growth(samples(shared_memory=0.05))['shared memory, MiB'][2] > 0
    assert soak.growth([{**one, 'children': 0} for one in samples()])['children'] == (0, 0, 0)


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux only')
def test_soak_sample_is_what_the_process_holds(tmp_path):
    before = soak.sample()
    kept = torch.ones(64 << 18)  # 64 MiB
    with (tmp_path / 'kept').open('w'):
        after = soak.sample()
    del kept
    assert 60 < after['RSS, MiB'] - before['RSS, MiB'] < 90
    assert after['open files'] == before['open files'] + 1
    assert after['threads'] >= 1


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux only')
def test_soak_trains_and_judges(monkeypatch, capsys):
    words = ['--iters', '4', '--interval', '1', '--every', '2', '--workers', '0']
    assert soak.main([*words, '--limit', '1000']) == 0
    assert '| open files |' in capsys.readouterr().out
    monkeypatch.setattr(soak, 'soak', lambda *_: samples(threads=1.0))
    assert soak.main(words) == 1
    assert 'grew by more than 2 %: threads' in capsys.readouterr().err
