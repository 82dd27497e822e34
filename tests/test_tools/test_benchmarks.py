"""The benchmarks of the step and of translation: what they compare, what they write."""

import csv
import json
from pathlib import Path

import pytest
import torch
from helpers import load_tool

from ugatit_mm.converters.pytorch import from_official

step = load_tool('benchmarks/step')
translate = load_tool('benchmarks/translate')
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
        given = {flag: args[flag] for flag in ('amp', 'lean', 'compile') if args[flag]}
        assert given == {k: v for k, v in options.items() if k != 'recipe'}


def test_step_compares_the_same_mathematics():
    """With the official weights in ours, the first step's losses are the same."""
    torch.manual_seed(0)
    official = step.OfficialOrder(True, 96, base_channels=4)
    images = {k: torch.randint(0, 256, (1, 3, 96, 96)) / 127.5 - 1 for k in 'AB'}
    ours = step.build_ours(True, images, {'base_channels': 4})
    model = ours.__closure__[ours.__code__.co_freevars.index('model')].cell_contents
    model.load_state_dict(from_official(official.state_dict()))
    log, theirs = ours(), official.step(images['A'], images['B'])
    assert log['loss_d'] == pytest.approx(theirs['d_loss'].item(), rel=1e-4)
    assert log['loss_g'] == pytest.approx(theirs['g_loss'].item(), rel=1e-4)


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
    # The official order makes 8 translations forwards and backwards, ours 6.
    flop = {s: found[s, 'rate', 'GFLOP/s'] * time[s] for s in time}
    assert flop['float32'] < 0.75 * flop['official order']
    assert flop['lean'] > flop['float32']  # checkpointing computes anew
    assert {row['case'] for row in rows(out)} == {'light, 4 channels, 96 px, batch 1'}
    assert all(row['hardware'] and row['torch'] and row['date'] for row in rows(out))
    assert '| lean |' in capsys.readouterr().out


def test_translate_gives_the_official_images(tmp_path):
    torch.manual_seed(0)
    official = step.OfficialOrder(True, 96, base_channels=4)
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


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux alone tells')
def test_peak_memory_is_that_of_the_block():
    bench = load_tool('benchmarks/bench')
    with bench.PeakMemory() as peak:
        torch.ones(64 << 18)  # 64 MiB, freed at once
    assert 60 < peak.bytes / 2**20 < 90
    with bench.PeakMemory() as peak:
        torch.ones(4 << 18)
    assert peak.bytes / 2**20 < 20


def test_optimizers_state_and_ratio(tmp_path):
    optimizer = load_tool('benchmarks/optimizer')
    out = tmp_path / 'results.csv'
    assert optimizer.main(['--millions', '1', '--turns', '1', '--out', str(out)]) == 0
    found = {(r['setting'], r['quantity']): float(r['value']) for r in rows(out)}
    assert found['Adam, fused', 'ratio'] == 1
    # Two moments of 4 or 2 bytes; or of one byte with a float32 scale for each 2048.
    expected = {
        'Adam, fused': 8,
        'Adam, foreach': 8,
        'LeanAdam, bfloat16': 4,
        'LeanAdam, uint8': 2 + 4 / 2048,
    }
    for setting, size in expected.items():
        assert found[setting, 'state'] == pytest.approx(size, rel=1e-3)


def test_stages_of_the_start_add_up(tmp_path, monkeypatch):
    """A stage pauses while one inside it runs."""
    startup = load_tool('benchmarks/startup')
    clock = iter([1.0, 3.0, 6.0, 10.0])
    monkeypatch.setattr(startup.time, 'time', lambda: next(clock))
    out = tmp_path / 'seconds.json'
    watch = startup.Stopwatch(0.0, 'outer', out)

    def run() -> None:
        with watch.stage('outer'), watch.stage('inner'):
            pass

    with pytest.raises(SystemExit):
        run()
    assert json.loads(out.read_text()) == {startup.REST: 1, 'outer': 2 + 4, 'inner': 3}
