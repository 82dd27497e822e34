"""Hooks that read a step's numbers when these are on the host."""

from collections import deque
from typing import Any, NamedTuple

from mmagic.registry import HOOKS
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.runner import Runner


class Done(NamedTuple):
    """A training iteration that has run.

    Attributes:
        iteration: Its number, from 1 on.
        batch: As the data loader gave it.
        log: What ``train_step`` returned.
    """

    iteration: int
    batch: Any
    log: Any


class LateHook(Hook):
    """A hook with ``after_step``, called once for each iteration when its numbers are known.

    On a CPU that is in the same ``after_train_iter``; on a GPU in that of the next iteration, so
    that nothing waits. :class:`UGATITTrainLoop` reads them in the same iteration where a hook's
    ``interval`` is due, and while a hook's ``in_time`` is true.
    """

    in_time = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Call ``after_step`` for the iterations whose numbers are known."""
        waiting = self.__dict__.setdefault('_waiting', deque())
        waiting.append(Done(runner.iter + 1, data_batch, outputs))
        while waiting and getattr(waiting[0].log, 'settled', True):
            self.after_step(runner, waiting.popleft())

    def after_step(self, runner: Runner, done: Done) -> None:
        """Process an iteration's numbers.

        Args:
            runner: The runner.
            done: The iteration, which may be the one before the runner's.
        """


@HOOKS.register_module()
class LateRuntimeInfoHook(LateHook, RuntimeInfoHook):
    """MMEngine's hook, which records the losses when they are known."""

    priority = RuntimeInfoHook.priority

    def after_step(self, runner: Runner, done: Done) -> None:
        """Record the losses."""
        RuntimeInfoHook.after_train_iter(self, runner, done.iteration - 1, done.batch, done.log)
