"""One iteration of training: what stands around the algorithm of every model."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmagic.models.utils import set_requires_grad
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from .update import copy_buffers, leave_out, restore_buffers, update
from .wrappers import unwrap

if TYPE_CHECKING:
    from .unpaired import UnpairedTranslation

Loss = tuple[Tensor, dict[str, Tensor]]
"""A weighted total, and the terms for the log, without gradient."""


class Step:
    """Turns, accumulation, precision, ranks, updates that are left out, log.

    Distributed data parallel averages the gradients of what runs through its wrapper's ``forward``:
    :meth:`forward` enters each part once for a backward pass. Everything else goes through
    :func:`unwrap`.

    An update whose gradient is not finite is left out: weights, optimiser states and the buffers of
    its parts are what they were before it. The iteration's later updates are left out with it.

    Args:
        model: The translation model.
        optims: Its optimiser wrappers.

    Attributes:
        log: Terms of all losses so far.
        updates: Of each update that was due, whether it was taken.
    """

    def __init__(self, model: 'UnpairedTranslation', optims: OptimWrapperDict) -> None:
        self.model = model
        self.optims = optims
        self.log: dict[str, Tensor] = {}
        self.updates: dict[str, bool] = {}

    def forward(self, part: str, *inputs: Any) -> Any:
        """Run a part of the model, with gradients if it is its turn to learn.

        Args:
            part: One of the model's ``PARTS``.
            inputs: Of its ``forward``.
        """
        module = getattr(self.model, part)
        name = next(name for name, parts in self.model.OPTIMIZED.items() if part in parts)
        turn = self.model.is_turn(name, self.optims)
        with self.optims[name].optim_context(module), torch.set_grad_enabled(turn):
            return (module if turn else unwrap(module))(*inputs)

    def update(
        self, name: str, compute: Callable[[], Loss], then: Callable[[], None] | None = None
    ) -> None:
        """Update the parts of an optimiser, if it is their turn.

        Args:
            name: Of the optimiser wrapper, in the model's ``OPTIMIZED``.
            compute: Gives the loss. All other parts are frozen until its backward pass is done.
            then: Called after an update that was taken.
        """
        optim = self.optims[name]
        if not self.model.is_turn(name, self.optims):
            return
        if False in self.updates.values():
            leave_out(optim)
            return
        parts = [getattr(self.model, part) for part in self.model.OPTIMIZED[name]]
        if optim._inner_count % optim._accumulative_counts == 0:
            self.model.kept_buffers[name] = [copy_buffers(part) for part in parts]
        with self._others_frozen(name):
            with _contexts(optim, parts):
                loss, terms = compute()
            taken = update(optim, loss)
        self.log |= terms
        if taken is None:
            return
        self.updates[name] = taken
        if not taken:
            for part, copies in zip(parts, self.model.kept_buffers[name], strict=True):
                restore_buffers(part, copies)
        elif then is not None:
            then()

    def numbers(self) -> tuple[dict[str, float], list[str]]:
        """Take the log off the device, at once.

        Returns:
            The finite terms, and the names of the others.
        """
        if not self.log:
            return {}, []
        values = torch.stack(list(self.log.values())).tolist()
        terms = dict(zip(self.log, values, strict=True))
        finite = {name: value for name, value in terms.items() if math.isfinite(value)}
        return finite, [name for name in terms if name not in finite]

    @contextmanager
    def _others_frozen(self, name: str) -> Iterator[None]:
        own = self.model.OPTIMIZED[name]
        others = [getattr(self.model, part) for part in self.model.PARTS if part not in own]
        set_requires_grad(others, False)
        try:
            yield
        finally:
            set_requires_grad(others, True)


@contextmanager
def _contexts(optim: OptimWrapper, parts: list[nn.Module]) -> Iterator[None]:
    """Autocast, and no synchronisation of any of the parts while gradients accumulate."""
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(optim.optim_context(part))
        yield
