"""Ctrl-C leaves a checkpoint."""

import os
import signal
import time
from types import FrameType
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.device import get_device
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..engine.work_dir import checkpoints_of, iteration_of
from .checkpoint import between_updates, checkpoint_hook, save_now

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 3  # seconds


@HOOKS.register_module()
class InterruptHook(Hook):
    """Finish the iteration on SIGINT or SIGTERM, save a checkpoint, and stop.

    With accumulated gradients the iterations up to their update are finished. A validation stops
    after the current picture, and runs again after ``--resume``. The hook waits for the metrics at
    its end, for a validation between two updates, and for one of ranks with unequal shares.

    The first Ctrl-C prints at once what the hook waits for; the second stops without saving, and
    prints what is lost. Under a launcher a signal within ``ECHO`` seconds counts as the echo of the
    first: a terminal or a cluster sends one to each process, and torchrun passes its own on to
    them. A second SIGTERM ends the process as without this hook. After the checkpoint is written
    training ends by ``KeyboardInterrupt``; ``--resume`` goes on from there.
    """

    priority = 'VERY_LOW'  # after the checkpoint hook
    _runner: Runner  # from the beginning of training

    def __init__(self) -> None:
        self._asked: signal.Signals | None = None
        self._at = 0.0  # when
        self._previous: dict[signal.Signals, Any] = {}
        self._in_step = True  # each rank validates on as many pictures
        self._validates = False
        self._given_up = False  # the second Ctrl-C came
        self._pid = os.getpid()

    def before_train(self, runner: Runner) -> None:
        """Install the signal handlers; only the main thread may."""
        if checkpoint_hook(runner) is None:
            runner.logger.warning('there is no CheckpointHook: Ctrl-C will not save a checkpoint')
            return
        try:
            self._runner = runner
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
        """Check whether the ranks can synchronise at each picture."""
        self._validates = True
        if runner.distributed:
            loader = getattr(runner.val_loop, 'dataloader', ())
            self._in_step = len({*all_gather_object(len(loader))} - {0}) == 1

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note that the validation has ended."""
        self._validates = False

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and stop if a signal came while training validates."""
        if not self._previous or not self._in_step:
            return
        if self._asked_anywhere(runner) and between_updates(runner):
            self._leave(runner, runner.iter)

    def _leave(self, runner: Runner, done: int) -> None:
        save_now(runner, done)
        self._restore()
        name = self._asked.name if self._asked else 'a signal to another rank'
        runner.logger.warning(f'{name}: saved iteration {done}; go on with --resume')
        raise KeyboardInterrupt

    def _asked_anywhere(self, runner: Runner) -> bool:
        if self._given_up:  # the exception was swallowed, as in a destructor
            raise KeyboardInterrupt
        if not runner.distributed:
            return self._asked is not None
        # Ranks must stop at the same iteration, or one waits for the other for ever.
        asked = torch.tensor(int(self._asked is not None), device=get_device())
        all_reduce(asked, 'max')
        return bool(asked)

    def after_train(self, runner: Runner) -> None:
        """Restore the signal handlers."""
        self._restore()

    def after_failure(self, runner: Runner) -> None:
        """Restore them where training failed."""
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked is None:
            self._asked, self._at = signal.Signals(number), time.monotonic()
            if number == signal.SIGINT:
                self._say(f'{self._waits_for(self._runner)}; press again to stop WITHOUT saving')
            return
        echoes = number != signal.SIGINT or self._runner.distributed
        if echoes and time.monotonic() - self._at <= ECHO:
            return
        self._restore()
        if number != signal.SIGINT:
            signal.raise_signal(number)  # by the old handler
            return
        self._given_up = True
        self._say(f'stopped WITHOUT saving: {_lost(self._runner)}')
        raise KeyboardInterrupt

    def _waits_for(self, runner: Runner) -> str:
        done, last = runner.iter, runner.max_iters
        if self._validates:
            return f'leaving the validation and saving iteration {done}'
        more = any(each._accumulative_counts > 1 for each in runner.optim_wrapper.values())
        update = ' and those up to the next update' if more else ''
        return f'finishing iteration {min(done + 1, last)}{update} and saving'

    def _say(self, line: str) -> None:
        """Write at once, without the buffers and locks that a signal may interrupt."""
        if is_main_process() and os.getpid() == self._pid:  # not in a forked process
            os.write(2, f'\n{line}\n'.encode())

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


def _lost(runner: Runner) -> str:
    """What a stop without a checkpoint loses, and what training can resume from."""
    newest = checkpoints_of(runner.work_dir)[:1]
    if not newest:
        return f'there is no checkpoint in {runner.work_dir}, what was trained is lost'
    done = iteration_of(newest[0])
    since = newest[0].name if done < 0 else f'iteration {done}'
    return f'what was trained after {since} is lost; --resume goes on from {newest[0]}'
