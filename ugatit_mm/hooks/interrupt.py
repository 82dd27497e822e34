"""Ctrl-C leaves a checkpoint."""

import signal
import time
from types import FrameType
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .checkpoint import between_updates, checkpoint_hook, save_now

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 3  # seconds


@HOOKS.register_module()
class InterruptHook(Hook):
    """Finish the iteration on SIGINT or SIGTERM, save a checkpoint, and stop.

    With accumulated gradients the iterations up to their update are finished.

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
        if not self._asked_anywhere(runner) or not between_updates(runner):
            return
        self._restore()
        save_now(runner)
        name = self._asked.name if self._asked else 'a signal to another rank'
        runner.logger.warning(f'{name}: saved iteration {runner.iter + 1}; go on with --resume')
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
