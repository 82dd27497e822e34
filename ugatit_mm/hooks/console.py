"""Terminal output of a training and of a test: a dozen lines, a bar, a row for each log."""

import sys
import time
from typing import Any

from mmagic.registry import HOOKS
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from tqdm import tqdm

from ..engine.terminal import SHOWN, say
from ..evaluation.evaluator import measured
from ..evaluation.measurements import metrics as names_of
from ..evaluation.measurements import table
from ..models.base import unwrap
from .late import Done, LateHook
from .lines import (
    DAY,
    about_test,
    about_training,
    advice,
    clock,
    duration,
    estimate,
    metric_rows,
    peak_memory,
    row,
    where,
)

MEASURED = 4  # iterations of the first estimate, after the first, which warms up
ENOUGH = 10.0  # seconds of it: fewer iterations are enough where they are slow


@HOOKS.register_module()
class ConsoleHook(LateHook):
    """Print on the terminal what a run does; MMEngine's whole log goes to the file.

    Before the first iteration a dozen lines: model, data, networks, device, memory, checkpoints,
    folder. Then a bar with the time left, where stderr is a terminal, and a row after the first
    iteration of each start and at the interval of ``default_hooks.logger``
    (:func:`~ugatit_mm.hooks.lines.row`): means of the iterations since the last row. After
    :data:`MEASURED` further iterations, or :data:`ENOUGH` seconds of them, the estimated time of
    all; a warning where that is more than a day. At the end, and after Ctrl-C, where everything is
    and what to type next.

    Of a test: model, data and device, a bar, and the metrics with those of the untranslated
    sources.

    It prints on the first rank only. As ``default_hooks.console`` it replaces MMEngine's lines;
    without it they are printed (:class:`~ugatit_mm.engine.terminal.TerminalHandler`).
    """

    priority = 'VERY_LOW'  # after the hooks that it reports on

    def __init__(self) -> None:
        self._interval = 100
        self._first = 0  # iteration that this start began at
        self._began = 0.0  # when, and when its first iteration ended
        self._warm = 0.0
        self._told = False  # whether the speed is printed
        self._bar: tqdm | None = None
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    # ---------------------------------------------------------------- training

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Print what will be trained, and start the bar."""
        found = (hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook))
        self._interval = next(found, self._interval)
        self._first, self._began = runner.iter, time.monotonic()
        self._show(runner, about_training(runner))
        self._start_bar(runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar, measure the time, print the rows that are due."""
        if not is_main_process():
            return
        now, done = time.monotonic(), runner.iter + 1
        if done == self._first + 1:
            self._warm = now
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._bar is not None:
            left = self._left(runner, done, now)
            self._bar.set_postfix_str('' if left is None else f'eta {clock(left)}', refresh=False)
            self._bar.update()
        counted, took = done - self._first - 1, now - self._warm
        if not self._told and counted and (counted == MEASURED or took >= ENOUGH):
            self._told = True
            self._tell_speed(runner, took / counted)

    def after_step(self, runner: Runner, done: Done) -> None:
        """Collect an iteration's numbers, and print a row if it is due."""
        for name, value in done.log.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        last = done.iteration == runner.max_iters
        if done.iteration % self._interval == 0 or done.iteration == self._first + 1 or last:
            means = {name: value / self._counts[name] for name, value in self._sums.items()}
            left = None if last else self._left(runner, done.iteration, time.monotonic())
            say(row(done.iteration, runner.max_iters, left, means))
            self._sums, self._counts = {}, {}

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print the metrics of a validation."""
        for line in metric_rows(metrics or {}):
            say(line)

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Print where everything is."""
        self._close_bar()
        done = f'{runner.iter:,}'
        if runner.iter < runner.max_iters:
            done += f' of {runner.max_iters:,} (stopped early, the log says why)'
        took = duration(time.monotonic() - self._began)
        self._show(runner, ['', f'trained until iteration {done}, in {took}'])
        self._show(runner, where(runner, ended=True))

    @master_only
    def after_failure(self, runner: Runner) -> None:
        """Close the bar; after Ctrl-C print where everything is, and how to resume."""
        self._close_bar()
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            self._show(runner, ['', *where(runner, ended=False)])

    def _left(self, runner: Runner, done: int, now: float) -> float | None:
        """Seconds to the end, estimated from all iterations of this start but the first."""
        counted = done - self._first - 1
        return (now - self._warm) / counted * (runner.max_iters - done) if counted else None

    def _tell_speed(self, runner: Runner, seconds: float) -> None:
        count = runner.max_iters - self._first
        device = next(unwrap(runner.model).parameters()).device
        said = estimate(seconds, count)
        if seconds * count > DAY:
            types = [
                str(getattr(each, 'dtype', 'float32')).removeprefix('torch.')
                for each in runner.optim_wrapper.values()
            ]
            runner.logger.warning(f'{said}; {advice(runner.cfg, device.type, types)}')
            said = ''
        self._show(runner, ['; '.join(filter(None, (said, peak_memory(device))))])

    # -------------------------------------------------------------------- test

    @master_only
    def before_test(self, runner: Runner) -> None:
        """Print what will be tested, and start the bar."""
        self._show(runner, about_test(runner))
        self._start_bar(len(runner.test_loop.dataloader), 0)

    @master_only
    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print the metrics next to those of untranslated sources."""
        self._close_bar()
        measurements, untranslated = measured(runner.test_loop.evaluator)
        in_table = names_of(measurements)
        rest = {k: v for k, v in (metrics or {}).items() if k.rpartition('/')[2] not in in_table}
        for line in metric_rows(rest):
            say(line)
        if measurements:
            say('\n' + table(measurements, untranslated))

    # ------------------------------------------------------------------ the bar

    def _start_bar(self, total: int, done: int) -> None:
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                dynamic_ncols=True,
                leave=False,
                bar_format='{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}',
            )

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, runner: Runner, lines: list[str]) -> None:
        for line in lines:
            runner.logger.info(line, extra=SHOWN)
