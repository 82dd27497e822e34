"""Pictures that cannot be read, over several ranks."""

from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class BadPicturesHook(Hook):
    """Let the first rank name, once, what any of the ranks could not read.

    The workers of a rank share what they find, but only the first rank writes a log, and it reads
    other pictures than the others. With one rank, or a data set that does not skip
    (``UGATITDataset.on_error``), the hook does nothing.

    Args:
        interval: Iterations between two exchanges of a byte for each picture.
    """

    def __init__(self, interval: int = 100) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Exchange what was found since the last time."""
        if self.every_n_train_iters(runner, self.interval):
            self.after_train(runner)

    def after_train(self, runner: Runner) -> None:
        """Exchange what was found last."""
        bad = getattr(runner.train_dataloader.dataset, 'bad_pictures', None)
        if runner.distributed and bad is not None:
            bad.share()
