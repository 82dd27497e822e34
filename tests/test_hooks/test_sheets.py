"""Sheets as files: when, and that none is lost or written twice."""

import errno

import numpy as np
import pytest
from helpers import tiny_config
from PIL import Image

from ugatit_mm.apis import run_training
from ugatit_mm.apis.report import newest_sheets
from ugatit_mm.hooks import sheets

OPTIONS = {
    'val_cfg': None,
    'default_hooks.sheets.interval': 4,
    'default_hooks.sheets.early': (1, 3),
    'default_hooks.sheets.num_images': 1,
    'default_hooks.logger.interval': 9,
}


@pytest.fixture
def train(data_root, tmp_path):
    def run(iterations: int, resume: bool = False, **options):
        cfg = tiny_config(
            data_root,
            tmp_path / 'work',
            **OPTIONS,
            **options,
            **{'train_cfg.max_iters': iterations},
        )
        cfg.resume = resume
        return run_training(cfg)

    return run


def written(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted((folder / 'sheets').iterdir())}


def names(*iterations: int) -> set[str]:
    return {f'{direction}_{i}.png' for direction in ('A2B', 'B2A') for i in iterations}


@pytest.mark.slow
def test_early_then_at_the_interval_and_at_the_end(train, tmp_path):
    work = tmp_path / 'work'
    train(5)
    before = written(work)
    assert before.keys() == names(1, 3, 4, 5)
    shown = next(work.glob('*/vis_data/vis_image/sheet_A2B_5.png'))
    assert np.array_equal(
        np.asarray(Image.open(shown)), np.asarray(Image.open(work / 'sheets/A2B_5.png'))
    )

    train(9, resume=True)
    after = written(work)
    assert after.keys() == names(1, 3, 4, 5, 8, 9)
    assert {name: after[name] for name in before} == before  # nothing twice
    train(9, resume=True)  # nothing is left to train
    assert written(work) == after


def test_defaults_are_1_100_and_each_1000():
    hook = sheets.TranslationSheetHook()
    assert (tuple(hook.early), hook.interval) == ((1, 100), 1000)


def test_a_full_disk_does_not_end_the_training(train, tmp_path, monkeypatch, capfd):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(sheets, 'whole', full)
    train(1)
    path = tmp_path / 'work' / 'sheets' / 'A2B_1.png'
    assert (
        f'error: {path} could not be written ([Errno 28] No space left on device); training goes on'
    ) in capfd.readouterr().err.splitlines()
    assert (tmp_path / 'work' / 'iter_1.pth').is_file()


def test_the_report_takes_them_where_the_visualiser_wrote_none(train, tmp_path):
    train(3, **{'visualizer.vis_backends': [dict(type='TensorboardVisBackend')]})
    found = newest_sheets(tmp_path / 'work')
    assert [(each['direction'], each['iteration']) for each in found] == [('A2B', 3), ('B2A', 3)]
