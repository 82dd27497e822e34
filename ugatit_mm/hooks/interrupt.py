"""Ctrl-C leaves a checkpoint."""

import signal
import time
from types import FrameType
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.device import get_device
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .checkpoint import between_updates, checkpoint_hook, save_now

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 3  # seconds


@HOOKS.register_module()
class InterruptHook(Hook):
    """Finish the iteration on SIGINT or SIGTERM, save a checkpoint, and stop.

    With accumulated gradients the iterations up to their update are finished. A validation is left
    after the current picture, and made up for after ``--resume``; its metrics at the end, a
    validation between two updates, or one of ranks with unequal shares, are waited for.

    A second signal stops at once, as without this hook, unless it is the echo of the first: a
    terminal or a cluster sends one to each process, and torchrun passes its own on to them. After
    the checkpoint is written training ends by ``KeyboardInterrupt``; ``--resume`` goes on from
    there.
    """

    priority = 'VERY_LOW'  # after the checkpoint hook

    def __init__(self) -> None:
        self._asked: signal.Signals | None = None
        self._at = 0.0  # when
        self._previous: dict[signal.Signals, Any] = {}
        self._in_step = True  # as many pictures of validation on each rank

    def before_train(self, runner: Runner) -> None:
        """Take the signals over; only the main thread may."""
        if checkpoint_hook(runner) is None:
            runner.logger.warning('there is no CheckpointHook: Ctrl-C will not save a checkpoint')
            return
        try:
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._ask)
        except ValueError:
            runner.logger.warning('not in the main thread: Ctrl-C will not save a checkpoint')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and stop if a signal came, to any of the ranks."""
        if self._asked_anywhere(runner) and between_updates(runner):
            self._leave(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        """See whether the ranks can ask each other at each picture."""
        if runner.distributed:
            loader = getattr(runner.val_loop, 'dataloader', ())
            self._in_step = len({*all_gather_object(len(loader))} - {0}) == 1

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and stop if a signal came while training validates."""
        if not self._previous or not self._in_step:
            return
        if self._asked_anywhere(runner) and between_updates(runner):
            self._leave(runner, runner.iter)

    def _leave(self, runner: Runner, done: int) -> None:
        self._restore()
        save_now(runner, done)
        name = self._asked.name if self._asked else 'a signal to another rank'
        runner.logger.warning(f'{name}: saved iteration {done}; go on with --resume')
        raise KeyboardInterrupt

    def _asked_anywhere(self, runner: Runner) -> bool:
        if not runner.distributed:
            return self._asked is not None
        # Ranks must stop at the same iteration, or one waits for the other for ever.
        asked = torch.tensor(int(self._asked is not None), device=get_device())
        all_reduce(asked, 'max')
        return bool(asked)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        self._restore()

    def after_failure(self, runner: Runner) -> None:
        """Give them back where training failed."""
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked is None:
            self._asked, self._at = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self._at > ECHO:
            self._restore()  # the second signal does what it always did
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
