"""Random styles that do not depend on earlier draws."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .unpaired import UnpairedTranslation


@dataclass(frozen=True)
class StyleChoice:
    """The styles to translate pictures in.

    Attributes:
        seed: The k-th style of a picture is that of its name and ``seed + k - 1``.
        count: Number of styles for each picture.
        given: Styles for all pictures instead, by target: (count, *style_shape).
    """

    seed: int = 0
    count: int = 1
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def of(
        self, model: 'UnpairedTranslation', names: Sequence[str], target: str
    ) -> list[Tensor | None]:
        """Return the ``count`` styles of pictures, each with a row for each picture.

        Args:
            model: The translation model; without styles the result is ``count`` times ``None``.
            names: Of the pictures' files, without their folders.
            target: Letter of the domain to translate into.
        """
        if target in self.given:
            return [style.expand(len(names), *style.shape) for style in self.given[target]]
        return [model.styles(names, target, self.seed + k) for k in range(self.count)]


def named_noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draw from N(0, 1) on the CPU; a name gives the same values on every machine."""
    digest = hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()
    seed = int.from_bytes(digest[:7], 'big')
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
