"""The demo, shortened to two iterations."""

import json
from pathlib import Path

import pytest
import torch
from helpers import load_tool

import ugatit_mm
from ugatit_mm.visualization import read_scalars


@pytest.fixture
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_demo_runs_and_goes_on(tmp_path: Path, capsys, same_threads):
    demo = load_tool('demo')
    words = ['--work-dir', str(tmp_path), '--cfg-options', 'default_hooks.logger.interval=1']
    words += ['train_cfg.val_interval=10', 'default_hooks.checkpoint.interval=1']
    assert demo.main([*words, '--iters', '2']) == 0
    printed = capsys.readouterr().out
    assert 'cycle error, photo -> pencil -> photo' in printed and 'sheet.png' in printed
    for name in ('sheet.png', 'losses.png', 'translations/sheet_photo2pencil.png'):
        assert (tmp_path / name).stat().st_size > 1000
    for direction in ('photo2pencil', 'pencil2photo'):
        assert len(list((tmp_path / 'translations' / direction).glob('*.png'))) == 16
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert set(figures['start']) == set(figures['end']) >= {'cycle/A', 'photo2pencil/colour_gap'}
    assert figures['start'] != figures['end']
    assert 'KID, colour_hog features, photo' in printed and "not Inception's" in printed
    results = json.loads((tmp_path / 'run' / 'results_iter_2.json').read_text())
    for entry in results['figures']:
        if entry['protocol'] == 'kid':  # two ways to the same figure
            measured = figures['end'][f'{entry["direction"]}/colour_hog_kid']
            assert entry['value'] == pytest.approx(measured) and entry['features'] == 'colour_hog'
    assert results['iterations'] == 2 and results['seed'] == 0
    assert results['trained']['version'] == ugatit_mm.__version__

    assert demo.main([*words, '--iters', '3']) == 0
    steps = [step for step, _ in read_scalars(tmp_path / 'run')['loss_g']]
    assert steps == [1, 2, 3]
    logs = sorted((tmp_path / 'run').glob('*/vis_data/scalars.json'))
    last = [json.loads(line)['step'] for line in logs[-1].read_text().splitlines()]
    assert min(last) == 3  # the second start did not train what the first had
    assert json.loads((tmp_path / 'figures.json').read_text())['start'] == figures['start']
