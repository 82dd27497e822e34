"""All terms of a loss as one operation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...kernels.losses import Part, Terms, gradients, values


class Mean(NamedTuple):
    """A part of a loss term: the mean of a function of each element.

    Attributes:
        x: Tensor of any shape, which gets the gradient.
        kind: As in :class:`~ugatit_mm.kernels.losses.Part`.
        target: A number, or a tensor of the shape of ``x``, which gets no gradient.
        weight: Factor of the mean.
    """

    x: Tensor
    kind: str
    target: float | Tensor = 0.0
    weight: float = 1.0


class LossTerms:
    """Collects the terms of an update, and computes them together.

    Two kernel launches in the forward pass and one in the backward pass, instead of several for
    each term. Arithmetic is in float32.
    """

    def __init__(self) -> None:
        self._parts: list[Mean] = []
        self._rows: dict[str, dict[int, float]] = {}

    def add(self, name: str, *means: Mean) -> None:
        """Add a term, the sum of ``means``."""
        first = len(self._parts)
        self._parts += means
        self._rows[name] = {first + i: mean.weight for i, mean in enumerate(means)}

    def add_sum(self, name: str, weights: Mapping[str, float]) -> None:
        """Add a term, the sum of others times their weights."""
        self._rows[name] = {
            part: weight * factor
            for other, factor in weights.items()
            for part, weight in self._rows[other].items()
        }

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute all terms.

        Returns:
            The last term, with its gradient, and all terms by name, as views of one detached
            vector.
        """
        parts: list[Part] = []
        tensors: list[Any] = []
        for mean in self._parts:
            given = isinstance(mean.target, Tensor)
            parts.append(Part(mean.kind, None if given else float(mean.target)))
            tensors += [mean.x, mean.target] if given else [mean.x]
        rows = tuple(tuple(row.items()) for row in self._rows.values())
        total, found = _Total.apply(Terms(tuple(parts), rows), *tensors)
        return total, dict(zip(self._rows, found.unbind(), strict=True))


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, terms: Terms, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ctx.terms = terms
        ctx.save_for_backward(*tensors)
        found, total = values(terms, *tensors)
        ctx.mark_non_differentiable(found)
        ctx.set_materialize_grads(False)
        return total, found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found = iter(gradients(ctx.terms, grad, *ctx.saved_tensors))
        results: list[Tensor | None] = [None]
        for part in ctx.terms.parts:
            results.append(next(found))
            if part.target is None:
                results.append(None)
        return tuple(results)
