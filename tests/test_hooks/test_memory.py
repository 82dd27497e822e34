"""A sheet or a validation keeps no memory."""

import gc
from pathlib import Path

import pytest
import torch
from helpers import tiny_config
from mmengine.hooks import Hook
from mmengine.runner import Runner


def alive() -> int:
    """Bytes of all tensors that anything holds."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


class Watch(Hook):
    """Notes what is alive after every iteration and, on a GPU, the most during one."""

    priority = 'LOWEST'

    def __init__(self, leak: bool = False) -> None:
        self.seen: list[int] = []
        self.peaks: list[int] = []
        self.kept: list[torch.Tensor] = [] if leak else None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(alive())
        if torch.cuda.is_available():
            self.peaks.append(torch.cuda.max_memory_allocated())

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.kept is not None:
            self.kept += [sample.fake_B.clone() for sample in outputs]


@pytest.mark.slow
@pytest.mark.parametrize('leak', [False, True])
def test_memory_is_the_same_after_sheets_and_validations(data_root: Path, tmp_path: Path, leak):
    # Sheets and validations every two iterations; sheets keep their pictures from the first on.
    sheets = {'default_hooks.sheets.early': (1,), 'default_hooks.sheets.interval': 2}
    cfg = tiny_config(data_root, tmp_path, **{'train_cfg.max_iters': 6} | sheets)
    runner = Runner.from_cfg(cfg)
    watch = Watch(leak)
    runner.register_hook(watch)
    runner.train()
    settled = watch.seen[1:]  # the first iteration makes the optimisers' state
    if leak:
        assert settled[-1] > settled[0]  # the test would see it
    else:
        assert len(set(settled)) == 1, settled
        assert not watch.peaks or max(watch.peaks[2:]) <= watch.peaks[1]
