"""A run that was killed, and one that was not, end with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers import ROOT, TINY_OF, assert_same, in_ranks, read_bytes, tiny_config, write_images

from ugatit_mm.apis import run_training
from ugatit_mm.converters import read_checkpoint
from ugatit_mm.converters.files import save
from ugatit_mm.engine.runner import gather_to_first
from ugatit_mm.models import UGATIT

KILLS = int(os.environ.get('UGATIT_KILLS', 2))


def comparable(path: Path) -> dict[str, Any]:
    """A checkpoint but for times, places and names of its run."""
    checkpoint = torch.load(path, weights_only=True)
    hub = checkpoint.pop('message_hub')
    losses = {
        key: history for key, history in hub['log_scalars'].items() if 'loss' in key or 'lr' in key
    }
    assert len(losses) > 8
    best = hub['runtime_info']['best_score']
    meta = checkpoint.pop('meta')
    return checkpoint | {'losses': losses, 'best': best, 'iter': meta['iter'], 'seed': meta['seed']}


@pytest.mark.timeout(180 + 60 * KILLS)
@pytest.mark.parametrize(
    'name',
    [
        pytest.param('ugatit', marks=pytest.mark.long),
        pytest.param('cyclegan', marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments(name: str, data_root: Path, tmp_path: Path):
    """A model of weights only and one with pools; tests/test_models/test_every_model.py has all.

    `UGATIT_KILLS=50 pytest tests/test_engine/test_resume.py` takes longer.
    """
    iterations = 12 * KILLS
    options = {
        **TINY_OF[name],
        'config': f'{name}_custom',
        'data_root': str(data_root),
        'train_dataloader.num_workers': 1,
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': 6,
        'default_hooks.sheets.interval': 6,
        'default_hooks.checkpoint.save_best': 'A2B/colour',
        'default_hooks.checkpoint.rule': 'less',
        'randomness.seed': 3,
    }
    words = [ROOT / 'tests' / 'killed.py', tmp_path, json.dumps(options), KILLS, 0]
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=tmp_path
    )
    logs = ''.join(log.read_text()[-3000:] for log in sorted(tmp_path.glob('*.log')))
    assert done.returncode == 0, done.stderr[-2000:] + logs
    print(done.stdout)
    end = f'iter_{iterations}.pth'
    assert_same(comparable(tmp_path / 'whole' / end), comparable(tmp_path / 'killed' / end))
    names = [sorted(f.name for f in (tmp_path / n).glob('*.pth')) for n in ('whole', 'killed')]
    assert names[0] == names[1]
    assert not list((tmp_path / 'killed').glob('.unfinished-*'))


# ------------------------------------------------------------------- a model's own state


def keep_seen(set_attribute=setattr) -> None:
    """Let U-GAT-IT remember something of each batch of its rank, as an image pool does."""
    train_step = UGATIT.train_step

    def step(self, data: dict, optim_wrapper) -> dict:
        self.seen = [*getattr(self, 'seen', []), data['inputs']['img_A'][0].float().mean()]
        return train_step(self, data, optim_wrapper)

    for name, method in (
        ('train_step', step),
        ('training_state', lambda self: {'seen': list(getattr(self, 'seen', []))}),
        ('load_training_state', lambda self, state: setattr(self, 'seen', list(state['seen']))),
    ):
        set_attribute(UGATIT, name, method)


def train(root: Path, name: str, iterations: int, resume: str | None = None, **fields) -> Path:
    """Train, and return the last checkpoint."""
    options = {
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': 100,
        'default_hooks.sheets.interval': 100,
    }
    cfg = tiny_config(root / 'data', root / name, **options)
    cfg.resume = resume is not None
    cfg.load_from = resume and str(root / resume)
    cfg.update(fields)
    cfg.experiment_name = f'{name}_{iterations}'
    run_training(cfg)
    return root / name / f'iter_{iterations}.pth'


@pytest.mark.slow
def test_a_models_own_state_goes_on(tmp_path, monkeypatch, capfd):
    write_images(tmp_path / 'data')
    before = train(tmp_path, 'before', 2)
    assert 'model' not in read_checkpoint(before)['ugatit']
    keep_seen(monkeypatch.setattr)
    whole = read_checkpoint(train(tmp_path, 'whole', 4))['ugatit']['model']
    assert len(whole) == 1 and len(whole[0]['seen']) == 4
    parts = read_checkpoint(train(tmp_path, 'parts', 4, 'whole/iter_2.pth'))['ugatit']['model']
    assert_same(whole, parts)
    assert 'start without' not in capfd.readouterr().err
    last = read_checkpoint(train(tmp_path, 'late', 4, 'before/iter_2.pth'))['ugatit']['model']
    assert_same(whole[0]['seen'][2:], last[0]['seen'])
    said = "the checkpoint has the model's own state of 0 ranks: the others of 1 start without"
    assert said in capfd.readouterr().err


def train_two_ranks(root: Path) -> None:
    dist.init_process_group('gloo')
    keep_seen()
    gathered = gather_to_first(torch.full((3,), dist.get_rank()))
    assert [value.tolist() for value in gathered] == [[0] * 3, [1] * 3][dist.get_rank() :][:2]
    train(root, 'whole', 4, launcher='pytorch')
    if dist.get_rank() == 0:
        content = read_checkpoint(root / 'whole' / 'iter_2.pth')
        (root / 'parts').mkdir()
        save(root / 'parts' / 'iter_2.pth', content | {'more': torch.zeros(8_000_000)})
    dist.barrier()
    size = (root / 'parts' / 'iter_2.pth').stat().st_size

    def resume() -> None:
        train(root, 'parts', 4, launcher='pytorch', resume='', load_from=None)

    assert size <= read_bytes(resume) <= 1.1 * size  # each rank reads it once
    train(root, 'more', 4, 'one/iter_2.pth', launcher='pytorch')


@pytest.mark.slow
def test_each_rank_has_a_state_of_its_own(tmp_path, monkeypatch):
    write_images(tmp_path / 'data')
    with monkeypatch.context() as patch:
        keep_seen(patch.setattr)
        train(tmp_path, 'one', 2)
    in_ranks(train_two_ranks, tmp_path, tmp_path)
    whole, parts, more = (
        read_checkpoint(tmp_path / name / 'iter_4.pth')['ugatit']['model']
        for name in ('whole', 'parts', 'more')
    )
    assert [len(state['seen']) for state in whole] == [4, 4]
    assert whole[0]['seen'] != whole[1]['seen']
    assert_same(whole, parts)
    assert [len(state['seen']) for state in more] == [4, 2]  # two of them from the file
    said = "the checkpoint has the model's own state of 1 ranks: the others of 2 start without"
    assert said in (tmp_path / 'rank0.log').read_text()
