"""Losses and gradients that are not finite: log their cause, and stop if they stay."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmagic.registry import HOOKS
from mmengine.dist import all_gather_object
from mmengine.runner import Runner

from ..domains import DOMAINS
from ..models.base import unwrap
from .checkpoint import checkpoint_hook, save_now
from .late import Done, LateHook

SHOWN = 6  # loss terms named in a line
REMEMBERED = 64  # batches of one update; a larger accumulation is named in part


class NotFiniteError(RuntimeError):
    """The training was stopped, as its gradients stayed not finite; its weights are good."""


class Suspect(NamedTuple):
    """A batch that may be the cause: its loss terms that were not finite, and its files."""

    terms: list[str]
    files: list[str]


@HOOKS.register_module()
class FiniteHook(LateHook):
    """Log why an update was left out, and stop after several in a row.

    A training step leaves an update out where its gradient is not finite. This hook names the loss
    terms and the pictures of the batch, those of the ranks and of the accumulated batches that had
    such terms, in one line. After ``patience`` updates of one optimiser in a row that were left
    out, it saves a checkpoint, whose weights and optimiser states are those before the first of
    them, and stops the run.

    Args:
        patience: Updates in a row.

    Raises:
        ValueError: ``patience`` is below 1.
    """

    priority = 'VERY_LOW'  # after the schedules and the checkpoint hook

    def __init__(self, patience: int = 10) -> None:
        if patience < 1:
            raise ValueError(f'patience must be 1 or more, got {patience}')
        self.patience = patience
        self._in_a_row: dict[str, int] = {}
        self._suspects: deque[Suspect] = deque(maxlen=REMEMBERED)

    @property
    def in_time(self) -> bool:
        """Whether a step's numbers are needed before the next: the run may stop after it."""
        return self.patience == 1 or any(self._in_a_row.values())

    def after_step(self, runner: Runner, done: Done) -> None:
        """Check which updates the step left out.

        Raises:
            NotFiniteError: ``patience`` is spent.
        """
        log = done.log
        if log.not_finite:
            self._suspects.append(Suspect(log.not_finite, files_of(done.batch)))
        for pair, taken in log.updates.items():
            self._in_a_row[pair] = 0 if taken else self._in_a_row.get(pair, 0) + 1
        # Gradients are those of all ranks, so all ranks come here or none.
        for pair, taken in log.updates.items():
            if not taken:
                self._tell(runner, pair, done)
        if not log.pending:
            self._suspects.clear()

    def _tell(self, runner: Runner, pair: str, done: Done) -> None:
        of_ranks = all_gather_object(list(self._suspects))
        if not any(of_ranks):  # the losses are finite, their gradient is not
            of_ranks = all_gather_object([Suspect([f'gradient of {pair}'], files_of(done.batch))])
        self._suspects.clear()
        cause = describe(of_ranks)
        count = self._in_a_row[pair]
        runner.logger.warning(
            f'iteration {done.iteration}: the update of the {pair} was left out '
            f'({count} in a row, the run stops at {self.patience}): {cause}'
        )
        if count >= self.patience:
            saved = self._save(runner)
            optimized = unwrap(runner.model).OPTIMIZED
            rates = ', '.join(f'optim_wrapper.{name}.optimizer.lr' for name in optimized)
            raise NotFiniteError(
                f'stopped at iteration {done.iteration}: {count} updates of the {pair} in a row '
                f'were left out, as their gradients were not finite; the last: {cause}. {saved} '
                f'What to look at: the learning rate ({rates}: a tenth of it), reduced '
                'precision (leave --amp out, or --amp bfloat16 in place of float16), and these '
                'pictures. Then go on with --resume, or with load_from=CHECKPOINT for its weights '
                'only.'
            )

    def _save(self, runner: Runner) -> str:
        """Save a checkpoint; return a sentence on the outcome."""
        hook = checkpoint_hook(runner)
        if hook is None:
            return 'Nothing was saved, as there is no CheckpointHook.'
        try:
            save_now(runner, runner.iter + 1)
        except OSError as error:
            return f'It could not be saved: {error}.'
        return f'The state before the first of them is saved as {hook.last_ckpt}.'


def files_of(data_batch: Any) -> list[str]:
    """Return the picture files of a batch, which ``PackInputs`` recorded.

    They are there if its ``meta_keys`` name ``img_A_path`` and ``img_B_path``, as
    ``configs/_base_/datasets/unpaired_256.py`` does.
    """
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if not isinstance(samples, Sequence):
        samples = [samples]
    keys = [f'img_{domain}_path' for domain in DOMAINS]
    return [s.metainfo[key] for s in samples if s is not None for key in keys if key in s.metainfo]


def describe(of_ranks: list[list[Suspect]]) -> str:
    """Describe the suspects of each rank in words."""
    words = []
    for rank, suspects in enumerate(of_ranks):
        for terms, files in suspects:
            more = f' and {len(terms) - SHOWN} more' if len(terms) > SHOWN else ''
            names = ', '.join(terms[:SHOWN]) + more
            pictures = ', '.join(map(repr, files)) or "unknown (PackInputs' meta_keys lack them)"
            where = f' on rank {rank}' if len(of_ranks) > 1 else ''
            words.append(f'not finite: {names}{where}; pictures: {pictures}')
    return '; '.join(words)
