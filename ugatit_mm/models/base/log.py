"""The log of a training step, on its way from the device to the host."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class StepLog(Mapping[str, float]):
    """Loss terms and outcome of a step; a GPU may still be computing it.

    Nothing waits until the numbers are read: on a GPU they are copied to pinned memory when the
    step is done, and :meth:`settle` waits for the copy. :class:`UGATITTrainLoop` settles a step
    after it has launched the next one, or before a hook needs it.

    As a mapping it holds every finite loss term, before weighting, under its own name, and the
    weighted totals. Terms are absent for updates whose turn it was not, and for those skipped
    because an earlier one was skipped.

    Args:
        terms: Names of the loss terms of each update that was computed, in order.
        values: The terms in this order, then 1 or 0 for each of ``decided``.
        decided: Names of the updates that were due.
        pending: Whether gradients still wait for their update after the step.

    Attributes:
        late: Whether the numbers arrive after the launch.
        pending: As given.
    """

    def __init__(
        self,
        terms: Mapping[str, list[str]],
        values: Tensor,
        decided: list[str],
        pending: bool = False,
    ) -> None:
        self._terms = terms
        self._decided = decided
        self._event: torch.cuda.Event | None = None
        self.pending = pending
        self.late = values.device.type == 'cuda'
        if self.late:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._values = values
        self._found: tuple[dict[str, float], list[str], dict[str, bool]] | None = None

    @property
    def settled(self) -> bool:
        """Whether the numbers are on the host."""
        return self._found is not None

    def settle(self) -> tuple[dict[str, float], list[str], dict[str, bool]]:
        """Wait for the numbers; return the finite terms, the names of the others, the updates."""
        if self._found is None:
            if self._event is not None:
                self._event.synchronize()
            numbers = iter(self._values.tolist())
            read = {
                update: {name: next(numbers) for name in names}
                for update, names in self._terms.items()
            }
            finite: dict[str, float] = {}
            others: list[str] = []
            updates: dict[str, bool] = {}
            taken = {name: bool(next(numbers)) for name in self._decided}
            for update, terms in read.items():
                if False in updates.values():
                    break  # skipped with the one before
                finite |= {name: value for name, value in terms.items() if math.isfinite(value)}
                others += [name for name in terms if name not in finite]
                if update in taken:
                    updates[update] = taken[update]
            self._found = finite, others, updates
        return self._found

    @property
    def not_finite(self) -> list[str]:
        """Names of this rank's loss terms that were not finite."""
        return self.settle()[1]

    @property
    def updates(self) -> dict[str, bool]:
        """For each update that was due, whether it was taken; nothing follows a ``False``."""
        return self.settle()[2]

    def __getitem__(self, name: str) -> float:
        return self.settle()[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.settle()[0])

    def __len__(self) -> int:
        return len(self.settle()[0])

    def __repr__(self) -> str:
        return f'StepLog({self.settle()[0]})' if self.settled else 'StepLog(not known yet)'
