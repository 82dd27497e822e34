"""Checkpoints: old ones are removed only after the new one is written."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmagic.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..files import remove_unfinished, whole

ON_ERROR = ('continue', 'stop')


@HOOKS.register_module()
class UGATITCheckpointHook(CheckpointHook):
    """MMEngine's hook, with whole files and nothing removed too early.

    - Old checkpoints, the best ones too, are removed when the new one is on the disk.
    - Between two updates of accumulated gradients it waits for the next update, so that no
      gradient is lost.
    - A checkpoint that cannot be written (full disk) leaves the others as they are.

    Args:
        on_error: ``'continue'``: log it, go on, try again after the next interval; for the last
            checkpoint of a training the error is raised in any case. ``'stop'``: end the training.
        kwargs: As for MMEngine's ``CheckpointHook``.

    Raises:
        ValueError: ``on_error`` is unknown.
        OSError: In training, see ``on_error``.
    """

    def __init__(self, *args: Any, on_error: str = 'continue', **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if on_error not in ON_ERROR:
            raise ValueError(f'on_error must be one of {list(ON_ERROR)}, got {on_error!r}')
        self.on_error = on_error
        self._due = False

    def before_train(self, runner: Runner) -> None:
        """Remove the unfinished files of a killed run."""
        super().before_train(runner)
        if self.save_best:
            self._keep_others_best(runner)
        # After a resume, too, a new best score goes into the last checkpoint at once.
        self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')
        if is_main_process() and Path(self.out_dir).is_dir():
            remove_unfinished(self.out_dir)

    def _keep_others_best(self, runner: Runner) -> None:
        """Let a better checkpoint replace only one of this work dir and this score."""
        info = runner.message_hub.runtime_info
        name = f'best_{self.key_indicators[0]}_'.replace('/', '_')
        if (
            len(self.key_indicators) == 1
            and name != 'best_auto_'
            and 'best_ckpt' in info
            and not Path(info['best_ckpt']).name.startswith(name)
        ):
            runner.logger.warning(
                f'checkpoint.save_best is {self.key_indicators[0]}: the best score until here, of '
                f'{Path(info["best_ckpt"]).name}, does not count'
            )
            info.pop('best_ckpt')
            info.pop('best_score', None)
        for field in [field for field in info if field.startswith('best_ckpt')]:
            own = self.file_backend.join_path(self.out_dir, Path(info[field]).name)
            if info[field] != own:  # after a resume from elsewhere: that file stays there
                info.pop(field)
                if self.file_backend.isfile(own):
                    info[field] = own
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = info.get('best_ckpt')
        else:
            names = {key: f'best_ckpt_{key}' for key in self.key_indicators}
            self.best_ckpt_path_dict = {key: info.get(name) for key, name in names.items()}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save if it is due and no gradient waits for its update."""
        last = self.is_last_train_iter(runner)
        if not self.by_epoch and (
            self.every_n_train_iters(runner, self.interval, self.save_begin)
            or (self.save_last and last)
        ):
            self._due = True
        if self._due and (last or between_updates(runner)):
            self._due = False
            runner.logger.info(f'Saving checkpoint at {runner.iter + 1} iterations')
            self._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        before = self.last_ckpt, runner.message_hub.runtime_info.copy()
        kept = list(getattr(self, 'keep_ckpt_ids', ()))
        if self.max_keep_ckpts > 0:
            kept = [number for number in kept if number != step] + [step]
            runner.message_hub.update_info('keep_ckpt_ids', kept[-self.max_keep_ckpts :])
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        except OSError as error:  # on all ranks
            self.last_ckpt, runner.message_hub._runtime_info = before
            if self.on_error == 'stop' or self.is_last_train_iter(runner):
                raise
            runner.logger.error(
                f'{name} could not be written ({error}); training goes on, and the checkpoints '
                'before it are as they were: make room on the disk'
            )
            return
        if is_main_process():
            try:
                with whole(Path(runner.work_dir) / 'last_checkpoint') as building:
                    building.write_text(self.last_ckpt)
            except OSError as error:
                runner.logger.error(f'last_checkpoint could not be written ({error})')
                # It would name an older one; without it the latest written one counts.
                with suppress(OSError):
                    os.unlink(Path(runner.work_dir) / 'last_checkpoint')
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
            if is_main_process():
                for number in kept[: -self.max_keep_ckpts]:
                    self._remove(self.filename_tmpl.format(number))

    def _remove(self, name: str) -> None:
        path = self.file_backend.join_path(self.out_dir, name)
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        wanted = set(self.key_indicators if self.save_best else ()) - {'auto', *metrics}
        if wanted and getattr(runner.val_loop.evaluator, 'failed', None):
            return  # the log reports the failed metric; it may be there the next time
        if wanted:
            raise ValueError(
                f'checkpoint.save_best: no metric {wanted.pop()!r}, there are {list(metrics)}'
            )
        before = runner.message_hub.runtime_info.copy()
        try:
            with self._removals_at_the_end():
                super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            if self.on_error == 'stop':
                raise
            runner.message_hub._runtime_info = before  # the best score is that of the file
            runner.logger.error(f'the best checkpoint could not be written: {error}')

    @contextmanager
    def _removals_at_the_end(self) -> Iterator[None]:
        """MMEngine removes the best checkpoint before it writes a better one."""
        backend = self.file_backend
        waiting: list[str] = []

        class Waiting:
            def __getattr__(self, name: str) -> Any:
                return getattr(backend, name)

            def remove(self, path: str) -> None:
                waiting.append(path)

        self.file_backend = Waiting()
        try:
            yield
        finally:
            self.file_backend = backend
        for path in waiting:
            if backend.isfile(path):
                backend.remove(path)


def checkpoint_hook(runner: Runner) -> CheckpointHook | None:
    """Return the hook that saves checkpoints, if there is one."""
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)


def save_now(runner: Runner, done: int) -> None:
    """Save a checkpoint by the registered hook, named, recorded and pruned as any other.

    Args:
        runner: The runner.
        done: Iterations that training has finished.

    Raises:
        OSError: It cannot be written.
    """
    hook = checkpoint_hook(runner)
    before = getattr(hook, 'on_error', None)
    hook.on_error = 'stop'
    try:
        hook._save_checkpoint_with_step(runner, done, dict(epoch=runner.epoch, iter=done))
    finally:
        hook.on_error = before


def between_updates(runner: Runner) -> bool:
    """Whether no accumulated gradient waits for its update."""
    return all(wrapper.should_update() for wrapper in runner.optim_wrapper.values())
