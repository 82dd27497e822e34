"""Models whose discriminators see earlier translations."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .image_pool import ImagePool
from .unpaired import UnpairedTranslation


class PooledTranslation(UnpairedTranslation):
    """A translation model with an :class:`ImagePool` for each domain, in ``pools``.

    Args:
        parts: As in :class:`UnpairedTranslation`.
        pool_size: Number of images that each pool keeps.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: As there, or a negative ``pool_size``.
    """

    def __init__(
        self, parts: Mapping[str, nn.ModuleDict | None], pool_size: int, **fields: Any
    ) -> None:
        super().__init__(parts, **fields)
        # B first: the official programs query in this order, and the draws follow it.
        self.pools = {domain: ImagePool(pool_size) for domain in ('B', 'A')}

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw what the pools will do, by domain; see :meth:`ImagePool.draw`."""
        images = real['A']
        return {x: pool.draw(len(images), images.device) for x, pool in self.pools.items()}

    @property
    def steady(self) -> bool:
        """Whether the pools are full."""
        return all(pool.full for pool in self.pools.values())

    def abandon(self) -> None:
        """Discard the pools' uncommitted changes."""
        for pool in self.pools.values():
            pool.abandon()

    def training_state(self) -> dict[str, Tensor | None] | None:
        """Return the images of both pools, by domain; ``None`` for pools of size 0."""
        if not any(pool.size for pool in self.pools.values()):
            return None
        return {domain: pool.state() for domain, pool in self.pools.items()}

    def load_training_state(self, state: Mapping[str, Tensor | None] | None) -> None:
        """Restore the pools of a run; empty pools if there is no state."""
        for domain, pool in self.pools.items():
            pool.load_state((state or {}).get(domain))
