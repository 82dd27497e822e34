"""One training iteration: the code around every model's algorithm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from .log import StepLog
from .update import Buffers, copy_buffers, restore_buffers, update
from .wrappers import unwrap

if TYPE_CHECKING:
    from .unpaired import UnpairedTranslation

Loss = tuple[Tensor, dict[str, Tensor]]
"""The weighted total, and the detached terms for the log."""


class Kept:
    """State kept from the first of the batches that make an update.

    Args:
        buffers: Buffers of all parts, with copies.

    Attributes:
        buffers: As given.
        allowed: Whether no earlier update was skipped since then, 0-dim bool; ``None`` if there was
            no earlier update.
    """

    def __init__(self, buffers: Buffers) -> None:
        self.buffers = buffers
        self.allowed: Tensor | None = None

    def allow(self, flag: Tensor) -> None:
        """Record whether the update before it was taken."""
        self.allowed = flag if self.allowed is None else self.allowed & flag


class Step:
    """Turns, accumulation, precision, ranks, skipped updates, log.

    With several ranks, distributed data parallel averages the gradients of what runs through its
    wrapper's ``forward``: :meth:`forward` enters each part once per backward pass, and everything
    else goes through :func:`unwrap`. A model that runs its parts in another way, within
    :meth:`passes`, is wrapped by :class:`AveragedParallel`, and :meth:`update` averages.

    An update whose gradient is not finite is skipped: weights, optimiser states and the buffers of
    its parts keep their values. The iteration's later updates are skipped with it; one that is
    still accumulating gradients (optimisers that accumulate different numbers of batches) is
    skipped when it is due. The device decides without host-device synchronisation: later updates
    are computed in any case.

    Args:
        model: The translation model.
        optims: Its optimiser wrappers.
        drawn: Result of the model's ``draw``.

    Attributes:
        drawn: As given.
        terms: Loss terms of each update that was computed, by label.
        taken: For each update that was due, whether it was taken, by label; 0-dim bool.
    """

    def __init__(
        self,
        model: 'UnpairedTranslation',
        optims: OptimWrapperDict,
        drawn: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model = model
        self.optims = optims
        self.drawn = drawn or {}
        self.terms: dict[str, dict[str, Tensor]] = {}
        self.taken: dict[str, Tensor] = {}

    def forward(self, part: str, *inputs: Any) -> Any:
        """Run a part of the model, with gradients if it is its turn to learn.

        Args:
            part: One of the model's ``PARTS``.
            inputs: Arguments of its ``forward``.
        """
        module = getattr(self.model, part)
        name = next(name for name, parts in self.model.OPTIMIZED.items() if part in parts)
        with self.passes(name) as turn:
            return (module if turn else unwrap(module))(*inputs)

    @contextmanager
    def passes(self, name: str) -> Iterator[bool]:
        """Forward passes for an optimiser's loss: its precision, gradients if it is its turn.

        Args:
            name: Of the optimiser wrapper, in the model's ``OPTIMIZED``.
        """
        turn = self.model.is_turn(name, self.optims)
        with (
            _contexts(self.optims[name], self.model.wrapped(name)),
            torch.set_grad_enabled(turn),
        ):
            yield turn

    def update(
        self,
        name: str,
        compute: Callable[[], Loss],
        then: Callable[[Tensor], None] | None = None,
        *,
        label: str | None = None,
        only: Sequence[str] | None = None,
        retain_graph: bool = False,
        clip: float | None = None,
    ) -> None:
        """Update the parts of an optimiser, if it is their turn.

        Args:
            name: Of the optimiser wrapper, in the model's ``OPTIMIZED``.
            compute: Returns the loss. All other parts are frozen until its backward pass is done.
            then: Callback after an update that was due; gets whether it was taken, 0-dim bool.
            label: Name of the update in the log, for another update by the same optimiser; by
                default ``name``.
            only: Modules to train, named as in ``OPTIMIZED``; by default those of the optimiser.
            retain_graph: Another backward pass goes through the graph of this one. It uses the
                activations from before this update, and the weights from after it.
            clip: Largest norm of the whole gradient; a larger gradient is scaled down to it.
        """
        optim = self.optims[name]
        learning = None if only is None else self._learning(only)
        if not self.model.is_turn(name, self.optims) or learning == []:
            return
        label = label or name
        parts = self.model.wrapped(name)
        kept = self.model.kept
        if optim._inner_count % optim._accumulative_counts == 0:
            kept[label] = Kept([pair for part in parts for pair in copy_buffers(part)])
        allowed = self.allowed()
        if allowed is not None:
            kept[label].allow(allowed)
        with self._others_frozen(name):
            with _contexts(optim, parts):
                loss, self.terms[label] = compute()
            averaged = not any(map(is_model_wrapper, parts))
            allowed = kept[label].allowed
            taken = update(optim, loss, allowed, averaged, learning, retain_graph, clip)
        if taken is not None:
            self.taken[label] = taken
        # Later updates run the parts of earlier ones, too.
        for done, flag in self.taken.items():
            restore_buffers(kept[done].buffers, flag)
        if taken is not None and then is not None:
            then(taken)

    def allowed(self) -> Tensor | None:
        """Whether all updates of the iteration so far were taken; ``None`` before the first."""
        # Each is taken only if those before it were.
        return list(self.taken.values())[-1] if self.taken else None

    def vector(self) -> Tensor | None:
        """Return all loss terms, then 1 or 0 for each update that was due; ``None`` if empty."""
        values = [term.float() for terms in self.terms.values() for term in terms.values()]
        values += [flag.float() for flag in self.taken.values()]
        return torch.stack(values) if values else None

    def log(self, vector: Tensor | None, pending: bool = False) -> StepLog:
        """Return the step's log from its :meth:`vector`."""
        names = {name: list(terms) for name, terms in self.terms.items()}
        values = torch.empty(0) if vector is None else vector
        return StepLog(names, values, list(self.taken), pending)

    def _learning(self, modules: Sequence[str]) -> list[nn.Parameter]:
        """Return the parameters of modules that the config does not freeze."""
        found = [p for module in modules for p in unwrap(self.model.part(module)).parameters()]
        return [p for p in found if p.requires_grad]

    @contextmanager
    def _others_frozen(self, name: str) -> Iterator[None]:
        own = {id(p) for module in self.model.optimized(name) for p in module.parameters()}
        parts = [getattr(self.model, part) for part in self.model.PARTS]
        # What the config freezes is frozen already, and stays so.
        learning = [
            p for part in parts for p in part.parameters() if p.requires_grad and id(p) not in own
        ]
        for parameter in learning:
            parameter.requires_grad = False
        try:
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad = True


@contextmanager
def _contexts(optim: OptimWrapper, parts: list[nn.Module]) -> Iterator[None]:
    """Autocast, and no gradient synchronisation of the parts while gradients accumulate."""
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(optim.optim_context(part))
        yield
