"""The training loop, which enters the data at any sample without reading those before it."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmagic.registry import LOOPS
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from ..files import whole
from ..models.base import StepLog, unwrap
from .preflight import check_training, epoch_length
from .random_state import random_state, set_random_state
from .speed import how_it_runs

HISTORY = 1000  # values that MMEngine keeps of each logged term


@LOOPS.register_module()
class UGATITTrainLoop(IterBasedTrainLoop):
    """MMEngine's loop over iterations, with exact resume.

    - After a resume the sampler moves to its place; nothing is decoded twice.
    - Random states are restored, and validation does not change training's.
    - A validation that was due when the run ended runs after the resume.
    - On a GPU a step's numbers are read while the next one runs, or when a hook's interval is due.
    - The log history is bounded: MMEngine copies all of it for each value that it adds.

    Args:
        runner: The runner.
        dataloader: A data loader, or its config.
        max_iters: Iterations of the whole training.
        val_begin: First iteration after which validation may come.
        val_interval: Iterations between two validations.
        dynamic_intervals: Pairs (iteration, interval): other intervals from there on.
        max_epochs: In place of ``max_iters``; the three arguments before it then count epochs. In
            one all ranks together see as many samples as the larger domain has pictures.

    Attributes:
        position: Samples that all ranks have seen together.
        resume_place: ``checkpoint['ugatit']`` of the checkpoint that training resumes from.
        kept_random: Random state of training during a validation.

    Raises:
        ValueError: ``max_iters`` is not whole, or both it and ``max_epochs`` or none are given.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int | None = None,
        val_begin: int = 1,
        val_interval: int | None = None,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        max_epochs: int | None = None,
    ) -> None:
        # Not IterBasedTrainLoop's, whose workers start to load the first samples at once.
        BaseLoop.__init__(self, runner, dataloader)
        if (max_iters is None) == (max_epochs is None):
            raise ValueError(
                f'train_cfg takes one of max_iters and max_epochs, got {max_iters} and {max_epochs}'
            )
        if val_interval is None:  # MMEngine's defaults
            val_interval = 1000 if max_epochs is None else 1
        if max_epochs is not None:
            length = epoch_length(self.dataloader)
            max_iters, val_interval = max_epochs * length, val_interval * length
            val_begin = val_begin * length
            dynamic_intervals = [
                (begin * length, interval * length) for begin, interval in dynamic_intervals or ()
            ]
            runner.logger.info(
                f'{max_epochs} epochs of {length} iterations: {max_iters} iterations'
            )
        assert max_iters is not None
        if int(max_iters) != max_iters:
            raise ValueError(f'train_cfg.max_iters must be a whole number, got {max_iters}')
        self._max_iters = int(max_iters)
        self._max_epochs = 1
        self._epoch = self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False  # EarlyStoppingHook's
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )
        self._last: StepLog | None = None
        self.position = 0
        self.resume_place: dict | None = None
        self.kept_random: dict | None = None

    def run(self) -> nn.Module:
        """Train from the current iteration to the last.

        If it fails, hooks that have a method ``after_failure(runner)`` clean up in it.
        """
        try:
            self._run()
        except BaseException:
            self.runner.call_hook('after_failure')
            raise
        return self.runner.model

    def _run(self) -> None:
        runner = self.runner
        check_training(runner)
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self._enter()
        runner.logger.info(how_it_runs(unwrap(runner.model), runner.optim_wrapper))
        if self._iter and self._is_validation_due() and self._last_validation() != self._iter:
            self._validate()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if self._is_validation_due():
                self._validate()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        """Train on a batch; read the previous one's numbers while a GPU computes it."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
        log = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
        # Before the hooks: a checkpoint that they save includes this batch.
        self.position += self.dataloader.batch_size * get_world_size()
        trouble = self._last is not None and False in self._last.updates.values()
        if isinstance(log, StepLog):
            self._last = log
            if not log.late or trouble or self._is_look_due():
                log.settle()
        runner.call_hook(
            'after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs=log
        )
        self._iter += 1
        length = max(HISTORY, self.runner.log_processor.window_size)
        for history in self.runner.message_hub.log_scalars.values():
            history.max_length = length

    def _is_look_due(self) -> bool:
        """Whether a hook may want the numbers of the iteration that has just been launched."""
        done = self._iter + 1
        intervals = (getattr(hook, 'interval', 0) for hook in self.runner.hooks)
        return (
            done == self._max_iters
            or (self.runner.val_loop is not None and done % self.val_interval == 0)
            or any(isinstance(each, int) and each > 0 and done % each == 0 for each in intervals)
            or any(getattr(hook, 'in_time', False) for hook in self.runner.hooks)
        )

    def _enter(self) -> None:
        """Restore the place in the data and the random states."""
        place = self.resume_place
        steps = self.dataloader.batch_size * get_world_size()
        self.position = place['position'] if place else self._iter * steps
        sampler = self.dataloader.sampler
        if hasattr(sampler, 'set_position'):
            sampler.set_position(self.position)
            if place and place['seed'] is not None:
                sampler.seed = place['seed']
        self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)
        if not hasattr(sampler, 'set_position') and self._iter:
            self.runner.logger.warning(
                f'{type(sampler).__name__} has no set_position: {self._iter} batches are read again'
            )
            for _ in range(self._iter):
                next(self.dataloader_iterator)
        if place is None:
            return
        for name, wrapper in self.runner.optim_wrapper.items():
            wrapper._inner_count = place['counts'][name]
        if get_rank() < len(place['random']):
            set_random_state(place['random'][get_rank()])  # after the iterator drew its seed

    def _is_validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        )

    def _validate(self) -> None:
        self.kept_random = random_state()  # a checkpoint of the best score holds it
        try:
            self.runner.val_loop.run()
        finally:
            set_random_state(self.kept_random)
            self.kept_random = None
        if is_main_process():
            with whole(self._note()) as building:
                building.write_text(str(self._iter))

    def _last_validation(self) -> int | None:
        """Iteration of the last finished validation, if it is known."""
        try:
            return int(self._note().read_text())
        except (OSError, ValueError):
            return None

    def _note(self) -> Path:
        return Path(os.fspath(self.runner.work_dir)) / 'last_validation'
