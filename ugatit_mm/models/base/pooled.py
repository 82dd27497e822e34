"""Models whose discriminators see a history of translations."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .image_pool import ImagePool
from .unpaired import UnpairedTranslation


class PooledTranslation(UnpairedTranslation):
    """A translation model with an :class:`ImagePool` for each domain, in ``pools``.

    Args:
        parts: As in :class:`UnpairedTranslation`.
        pool_size: Images that each pool keeps.
        fields: As in :class:`UnpairedTranslation`.

    Raises:
        ValueError: As there, or a size that makes no pool.
    """

    def __init__(
        self, parts: Mapping[str, nn.ModuleDict | None], pool_size: int, **fields: Any
    ) -> None:
        super().__init__(parts, **fields)
        # B first: the official programs ask in this order, and the draws follow it.
        self.pools = {domain: ImagePool(pool_size) for domain in ('B', 'A')}

    def draw(self, real: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the pools will do, by domain; see :meth:`ImagePool.draw`."""
        images = real['A']
        return {x: pool.draw(len(images), images.device) for x, pool in self.pools.items()}

    @property
    def steady(self) -> bool:
        """Whether the pools are full."""
        return all(pool.full for pool in self.pools.values())

    def abandon(self) -> None:
        """Forget what the pools have begun."""
        for pool in self.pools.values():
            pool.abandon()

    def training_state(self) -> dict[str, Tensor | None] | None:
        """What both pools keep, by domain; ``None`` for pools of no size."""
        if not any(pool.size for pool in self.pools.values()):
            return None
        return {domain: pool.state() for domain, pool in self.pools.items()}

    def load_training_state(self, state: Mapping[str, Tensor | None] | None) -> None:
        """Go on with the pools of a run; with empty ones where there is no state."""
        for domain, pool in self.pools.items():
            pool.load_state((state or {}).get(domain))
