"""Ctrl-C leaves a checkpoint."""

import signal
from types import FrameType
from typing import Any, Optional

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Finish the iteration on SIGINT or SIGTERM, save a checkpoint, and stop.

    A second signal stops at once, as without this hook. After the checkpoint is written training
    ends by ``KeyboardInterrupt``; ``--resume`` goes on from there.
    """

    priority = 'VERY_LOW'  # after the checkpoint hook

    def __init__(self) -> None:
        self._asked: Optional[signal.Signals] = None
        self._previous: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Take the signals over; only the main thread may."""
        try:
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._ask)
        except ValueError:
            runner.logger.warning('not in the main thread: Ctrl-C will not save a checkpoint')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and stop if a signal came."""
        if self._asked is None:
            return
        name = f'iter_{runner.iter + 1}.pth'
        hook = next(hook for hook in runner.hooks if hasattr(hook, 'max_keep_ckpts'))
        runner.save_checkpoint(
            runner.work_dir,
            name,
            file_client_args=None,
            save_optimizer=hook.save_optimizer,
            save_param_scheduler=hook.save_param_scheduler,
            meta={'epoch': runner.epoch, 'iter': runner.iter + 1},
            by_epoch=False,
        )
        self._restore()
        runner.logger.info(f'{self._asked.name}: saved {name}; go on with --resume')
        raise KeyboardInterrupt

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        self._restore()

    def _ask(self, number: int, frame: Optional[FrameType]) -> None:
        self._asked = signal.Signals(number)
        self._restore()  # the second signal does what it always did

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
