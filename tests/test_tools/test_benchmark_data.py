"""The benchmark of the data pipeline: what it compares is equal, and what it writes adds up."""

import csv
import itertools

import numpy as np
import pytest
from helpers import load_tool, write_images
from mmengine.registry import init_default_scope
from PIL import Image

from ugatit_mm.config import load_config

SMALL = {'img_size': 16, 'load_size': 20}


@pytest.fixture
def tool(monkeypatch):
    tool = load_tool('benchmarks/data')
    monkeypatch.setattr(tool, 'QUICK', (0.0, 1))  # each measurement as short as possible
    init_default_scope('mmagic')
    return tool


def read(path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_of_a_run(tool, data_root, tmp_path, capsys):
    out = tmp_path / 'rows.csv'
    options = [f'{key}={value}' for key, value in SMALL.items()]
    argv = ['ugatit_custom', '--data-root', str(data_root), '--workers', '0', '1', '--step-ms', '1']
    argv += ['--quick', '--out', str(out), '--cfg-options', *options]
    assert tool.main([*argv, 'train_dataloader.batch_size=2']) == 0
    rows = read(out)
    assert {row['benchmark'] for row in rows} == {'data'}
    assert {row['case'] for row in rows} == {data_root.name}
    values = {(row['setting'], row['quantity']): float(row['value']) for row in rows}
    assert len(values) == len(rows)
    shares = [value for (_, quantity), value in values.items() if quantity == 'share']
    assert sum(shares) == pytest.approx(100, abs=0.1) and min(shares) >= 0
    times = {s: value for (s, quantity), value in values.items() if quantity == 'time, one process'}
    assert {'plain', 'config'} <= set(times)
    for setting, value in times.items():
        if setting != 'plain':
            assert values[setting, 'ratio'] == pytest.approx(times['plain'] / value, rel=1e-2)
    needed = values['step 1 ms, computed', 'workers that suffice']
    assert needed - 1.01 < 2 * times['config'] <= needed + 0.01
    for workers in (0, 1):
        assert values[f'{workers} workers', 'throughput'] > 0
        assert values[f'{workers} workers, step 1 ms', 'data_time'] > 0
    shown = capsys.readouterr().out
    assert 'plain' in shown and '1 workers:' in shown


def test_no_write(tool, data_root, tmp_path):
    out = tmp_path / 'rows.csv'
    options = [f'{key}={value}' for key, value in SMALL.items()]
    argv = ['--data-root', str(data_root), '--workers', '0', '--quick', '--out', str(out)]
    assert tool.main([*argv, '--no-write', '--cfg-options', *options]) == 0
    assert not out.exists()


def test_plain_steps_give_the_pixels_of_the_config(tool, tmp_path):
    """For enlarging and for shrinking, whole multiples and not."""
    for size in ((15, 17), (20, 20), (61, 44), (80, 40)):
        write_images(tmp_path / str(size), size)
        cfg = load_config('ugatit_custom', {**SMALL, 'data_root': str(tmp_path / str(size))})
        ours, pairs = tool.training_set(cfg)
        plain = tool.plain_set(cfg)
        assert len(pairs) == 6
        assert all(tool.same_pixels(ours[pair], plain[pair]) for pair in pairs)
        assert not tool.same_pixels(ours[pairs[0]], plain[pairs[1]])


def test_a_pipeline_with_other_pixels_is_not_compared(tool, data_root, tmp_path):
    cfg = load_config('ugatit_custom', {**SMALL, 'data_root': str(data_root)})
    cfg.train_dataloader.dataset.pipeline[3].flip_ratio = 1.0
    times = tool.time_pipelines(cfg, tmp_path / 'cache', 0.0)
    assert 'plain' not in times and times['config'] > 0


def test_the_cache_is_compared_where_there_is_something_to_keep(tool, data_root, tmp_path):
    cfg = load_config('ugatit_custom', {**SMALL, 'data_root': str(data_root)})
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'Resize']
    for step in dataset.pipeline[:2]:
        step.scale = (20, 20)
    times = tool.time_pipelines(cfg, tmp_path / 'cache', 0.0)
    assert list(times) == ['config', 'plain', 'config, cached']
    assert len(list((tmp_path / 'cache').iterdir())) == 11  # all images of both domains


def test_all_steps_are_timed(tool, data_root):
    cfg = load_config('ugatit_custom', {**SMALL, 'data_root': str(data_root)})
    pipeline = cfg.train_dataloader.dataset.pipeline
    shares = tool.time_steps(cfg, 0.0)
    assert [name.split()[1] for name in list(shares)[:-1]] == [step['type'] for step in pipeline]
    assert next(iter(shares)) == '0 LoadRGBImage img_A'


def test_made_pictures_are_like_photographs(tool, tmp_path):
    tool.make_data(tmp_path, 96, 64, 2)
    pictures = sorted(tmp_path.rglob('*.jpg'))
    assert [str(p.relative_to(tmp_path)) for p in pictures] == [
        f'train{domain}/{index}.jpg' for domain in 'AB' for index in range(2)
    ]
    first, second, *same = (np.asarray(Image.open(path)) for path in pictures)
    assert first.shape == (64, 96, 3) and first.std() > 20
    assert (first != second).mean() > 0.9
    assert np.array_equal(same[0], first) and np.array_equal(same[1], second)


def test_spectrum_of_the_made_pictures(tool):
    """Amplitude 1 / frequency: power falls by 4 from an octave to the next."""
    grey = tool.photograph(256, 256, np.random.default_rng(0)).astype(float).mean(axis=2)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    octaves = [
        power[(frequency >= low) & (frequency < 2 * low)].mean() for low in (1 / 64, 1 / 32, 1 / 16)
    ]
    for lower, upper in itertools.pairwise(octaves):
        assert lower / upper == pytest.approx(4, rel=0.25)
