"""Random styles that do not depend on what was drawn before."""

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
    """The styles that pictures are translated in.

    Attributes:
        seed: The k-th style of a picture is that of its name and ``seed + k - 1``.
        count: Styles for each picture.
        given: Styles for all pictures in place of those, by target: (count, *style_shape).
    """

    seed: int = 0
    count: int = 1
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def of(
        self, model: 'UnpairedTranslation', names: Sequence[str], target: str
    ) -> list[Tensor | None]:
        """The ``count`` styles of pictures, each with a row for each picture.

        Args:
            model: The translation model; one without styles has ``count`` times ``None``.
            names: Of the pictures' files, without their folders.
            target: Letter of the domain to translate into.
        """
        if target in self.given:
            return [style.expand(len(names), *style.shape) for style in self.given[target]]
        return [model.styles(names, target, self.seed + k) for k in range(self.count)]


def named_noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draw from N(0, 1), the same for a name on every machine, on the CPU."""
    digest = hashlib.sha256(name.encode('utf-8', 'surrogateescape')).digest()
    seed = int.from_bytes(digest[:7], 'big')
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
