"""An endless stream of unpaired indices that can start at any position."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
from mmagic.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

# First word of a SeedSequence's spawn key: keeps the streams for orders and for samples apart.
_ORDER_STREAM, _SAMPLE_STREAM = 0, 1


class PairIndex(NamedTuple):
    """One training sample: image ``a`` of A, image ``b`` of B, augmented under ``seed``."""

    a: int
    b: int
    seed: int


@DATA_SAMPLERS.register_module()
class UnpairedSampler(Sampler):
    """Endless sampler for two unpaired domains, for iteration-based training.

    The stream has positions p = 0, 1, 2, ...; an epoch is L = max(len_a, len_b) of them. In every
    epoch each domain concatenates new permutations and truncates them at L, so an epoch shows every
    image of both domains, the shorter one's evenly repeated, in new pairs. The official program
    runs two shuffling loaders, each restarted at its own end: independent as well.

    Rank r of W takes positions r, r + W, r + 2W, ...: W ranks with batches of b see together, step
    by step, the same samples as one process with batches of W * b.

    Every draw is a function of (seed, epoch, domain) or (seed, position), by NumPy's SeedSequence
    and PCG64; nothing is replayed to start at a later position.

    Args:
        dataset: A data set with ``len_a`` and ``len_b``, such as ``UGATITDataset``.
        shuffle: False pairs image p % len_a with image p % len_b.
        seed: The same on all ranks. None draws one and shares it, as MMEngine's samplers do.
        start: Position, over all ranks together, at which iteration starts.

    Raises:
        TypeError: The data set has no ``len_a`` and ``len_b``.
        ValueError: A domain is empty, or ``start`` or ``seed`` is negative.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, start: int = 0
    ) -> None:
        if not (hasattr(dataset, 'len_a') and hasattr(dataset, 'len_b')):
            raise TypeError(
                'UnpairedSampler needs a data set with len_a and len_b, such as UGATITDataset, '
                f'got {type(dataset).__name__}.'
            )
        if min(dataset.len_a, dataset.len_b) < 1:
            raise ValueError(
                f'Both domains need images: {dataset.len_a} in A, {dataset.len_b} in B.'
            )
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, got {self.seed}.')
        self.size = max(dataset.len_a, dataset.len_b)
        self.set_position(start)

    @property
    def start(self) -> int:
        """Position, over all ranks together, at which the next iteration begins."""
        return self._start

    def set_position(self, position: int) -> None:
        """Let the next ``iter()`` start at ``position``, without drawing what comes before.

        After n steps with batches of b on W ranks the position is n * b * W.

        Raises:
            ValueError: ``position`` is negative.
        """
        if position < 0:
            raise ValueError(f'position must not be negative, got {position}.')
        self._start = position

    def __iter__(self) -> Iterator[PairIndex]:
        """Yield this rank's positions from ``start`` on, endlessly."""
        position = self.start + self.rank
        epoch, order = -1, None
        while True:
            if self.shuffle:
                if position // self.size != epoch:
                    epoch = position // self.size
                    order = self._order(epoch)
                a, b = order[position % self.size]
            else:
                a, b = position % self.dataset.len_a, position % self.dataset.len_b
            yield PairIndex(int(a), int(b), self._sample_seed(position))
            position += self.world_size

    def __len__(self) -> int:
        """Positions of an epoch, over all ranks (as MMEngine's InfiniteSampler counts)."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """No-op: epochs follow from the position."""

    def _order(self, epoch: int) -> np.ndarray:
        """Indices of A and B for the positions of an epoch, (L, 2)."""
        columns = []
        for domain, length in enumerate((self.dataset.len_a, self.dataset.len_b)):
            sequence = np.random.SeedSequence(self.seed, spawn_key=(_ORDER_STREAM, epoch, domain))
            generator = np.random.default_rng(sequence)
            rounds = math.ceil(self.size / length)
            laid = np.concatenate([generator.permutation(length) for _ in range(rounds)])
            columns.append(laid[: self.size])
        return np.stack(columns, axis=1)

    def _sample_seed(self, position: int) -> int:
        """32 bits for the augmentation of the sample at ``position``."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(_SAMPLE_STREAM, position))
        return int(sequence.generate_state(1)[0])
