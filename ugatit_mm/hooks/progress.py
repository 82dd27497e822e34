"""A progress bar with the time that is left."""

import sys

from mmagic.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from tqdm import tqdm

from .late import Done, LateHook


@HOOKS.register_module()
class ProgressBarHook(LateHook):
    """Show iterations, time left and the total losses while training.

    Args:
        interval: Seconds between two updates where the output is no terminal.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: float = 20.0) -> None:
        self.interval = interval
        self.bar: tqdm | None = None

    def before_train(self, runner: Runner) -> None:
        """Start the bar at the iteration that training goes on from."""
        if is_main_process():
            self.bar = tqdm(
                total=runner.max_iters,
                initial=runner.iter,
                desc='training',
                unit='it',
                dynamic_ncols=True,
                mininterval=0.1 if sys.stderr.isatty() else self.interval,
            )

    def after_step(self, runner: Runner, done: Done) -> None:
        """Move the bar."""
        if self.bar is not None:
            totals = {key: done.log[key] for key in ('loss_d', 'loss_g') if key in done.log}
            self.bar.set_postfix({k: f'{v:.4g}' for k, v in totals.items()}, refresh=False)
            self.bar.update()

    def after_train(self, runner: Runner) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
