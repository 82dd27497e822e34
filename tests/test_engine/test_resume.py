"""A run that was killed, and one that was not, end with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT, TINY, assert_same

KILLS = int(os.environ.get('UGATIT_KILLS', 4))


def comparable(path: Path) -> dict[str, Any]:
    """A checkpoint but for times, places and names of its run."""
    checkpoint = torch.load(path, weights_only=True)
    hub = checkpoint.pop('message_hub')
    losses = {
        key: history for key, history in hub['log_scalars'].items() if 'loss' in key or 'lr' in key
    }
    assert len(losses) > 20
    best = hub['runtime_info']['best_score']
    meta = checkpoint.pop('meta')
    return checkpoint | {'losses': losses, 'best': best, 'iter': meta['iter'], 'seed': meta['seed']}


@pytest.mark.timeout(120 + 60 * KILLS)
def test_killed_at_random_moments(data_root: Path, tmp_path: Path):
    """`UGATIT_KILLS=50 pytest tests/test_engine/test_resume.py` takes longer."""
    iterations = 8 * KILLS
    options = {
        **TINY,
        'data_root': str(data_root),
        'train_dataloader.num_workers': 1,
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': 6,
        'default_hooks.sheets.interval': 6,
        'default_hooks.checkpoint.save_best': 'A2B/colour',
        'default_hooks.checkpoint.rule': 'less',
        'randomness.seed': 3,
    }
    for name, kills in (('whole', 0), ('killed', KILLS)):
        words = [ROOT / 'tests' / 'killed.py', tmp_path / name, json.dumps(options), kills, 0]
        done = subprocess.run(
            [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=tmp_path
        )
        log = (tmp_path / f'{name}.log').read_text()
        assert done.returncode == 0, done.stderr[-2000:] + log[-3000:]
        print(done.stdout)
    end = f'iter_{iterations}.pth'
    assert_same(comparable(tmp_path / 'whole' / end), comparable(tmp_path / 'killed' / end))
    names = [sorted(f.name for f in (tmp_path / n).glob('*.pth')) for n in ('whole', 'killed')]
    assert names[0] == names[1]
    assert not list((tmp_path / 'killed').glob('.unfinished-*'))
