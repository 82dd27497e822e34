"""The stream of pairs: coverage, independence, ranks, and entry at any position."""

import pickle
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmagic.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader

from ugatit_mm.datasets import PairIndex, UnpairedSampler
from ugatit_mm.datasets import sampler as sampler_module

lengths = st.integers(1, 40)
seeds = st.integers(0, 2**31 - 1)


def sizes(len_a: int, len_b: int) -> SimpleNamespace:
    return SimpleNamespace(len_a=len_a, len_b=len_b)


def take(sampler: UnpairedSampler, count: int) -> list[PairIndex]:
    return list(islice(iter(sampler), count))


@given(lengths, lengths, seeds, st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_every_epoch_covers_both_domains_evenly(len_a, len_b, seed, epoch):
    longer = max(len_a, len_b)
    sampler = UnpairedSampler(sizes(len_a, len_b), seed=seed, start=epoch * longer)
    pairs = take(sampler, longer)
    for indices, length in (([p.a for p in pairs], len_a), ([p.b for p in pairs], len_b)):
        counts = np.bincount(indices, minlength=length)
        assert len(counts) == length
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1


@given(lengths, lengths, seeds, st.integers(0, 200), st.booleans())
@settings(max_examples=60, deadline=None)
def test_entering_at_a_position_equals_skipping_to_it(len_a, len_b, seed, position, shuffle):
    dataset = sizes(len_a, len_b)
    whole = take(UnpairedSampler(dataset, shuffle, seed), position + 20)
    sampler = UnpairedSampler(dataset, shuffle, seed)
    sampler.set_position(position)
    assert sampler.start == position
    assert take(sampler, 20) == whole[position:]
    assert take(UnpairedSampler(dataset, shuffle, seed, start=position), 20) == whole[position:]


def test_entering_far_on_draws_nothing_before(monkeypatch):
    sampler = UnpairedSampler(sizes(7, 5), seed=1, start=7 * 10**12 + 3)
    orders = []
    original = sampler._order
    monkeypatch.setattr(sampler, '_order', lambda epoch: orders.append(epoch) or original(epoch))
    take(sampler, 6)
    assert orders == [10**12, 10**12 + 1]


@given(lengths, lengths, seeds, st.integers(1, 4), st.integers(1, 4), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_ranks_together_see_the_batches_of_one_process(len_a, len_b, seed, world, batch, start):
    dataset, steps = sizes(len_a, len_b), 5
    whole = take(UnpairedSampler(dataset, seed=seed, start=start), steps * world * batch)
    ranks = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(world):
            patch.setattr(sampler_module, 'get_dist_info', lambda rank=rank: (rank, world))
            ranks.append(take(UnpairedSampler(dataset, seed=seed, start=start), steps * batch))
    for step in range(steps):
        union = [pair for stream in ranks for pair in stream[step * batch : (step + 1) * batch]]
        # Not only the same set: rank r's j-th sample is position r + W * j of the big batch.
        expected = whole[step * world * batch : (step + 1) * world * batch]
        assert sorted(union) == sorted(expected)
        for rank in range(world):
            assert union[rank * batch : (rank + 1) * batch] == expected[rank::world]


def test_same_seed_same_stream_other_seed_other_stream():
    dataset = sizes(50, 30)
    first = take(UnpairedSampler(dataset, seed=1), 120)
    assert first == take(UnpairedSampler(dataset, seed=1), 120)
    other = take(UnpairedSampler(dataset, seed=2), 120)
    for field in range(3):
        assert [p[field] for p in first] != [p[field] for p in other]


def test_domains_of_equal_length_are_not_paired_alike():
    # Were the two permutations the same, or fixed over epochs, pairs would repeat.
    n, epochs = 100, 20
    pairs = take(UnpairedSampler(sizes(n, n), seed=0), n * epochs)
    same = sum(p.a == p.b for p in pairs)
    assert same < 60  # 20 expected of 2,000
    assert len({(p.a, p.b) for p in pairs}) > 1700  # 1,813 expected of 2,000 draws out of 10,000
    seeds_seen = {p.seed for p in pairs}
    assert len(seeds_seen) == len(pairs)
    assert all(0 <= s < 2**32 for s in seeds_seen)


def test_pairs_are_uniform():
    pairs = take(UnpairedSampler(sizes(4, 4), seed=0), 16000)
    counts = np.zeros((4, 4))
    np.add.at(counts, ([p.a for p in pairs], [p.b for p in pairs]), 1)
    np.testing.assert_allclose(counts, 1000, rtol=0.1)


def test_without_shuffling():
    pairs = take(UnpairedSampler(sizes(3, 2), shuffle=False, seed=0), 7)
    assert [(p.a, p.b) for p in pairs] == [(p % 3, p % 2) for p in range(7)]


def test_stream_is_pinned():
    # What a seed means must not change unnoticed, or no earlier run could be repeated.
    assert take(UnpairedSampler(sizes(5, 3), seed=0), 4) == [
        (4, 1, 3953331965),
        (3, 0, 3613627650),
        (2, 2, 1016617948),
        (0, 0, 1227846671),
    ]


def test_iterating_again_begins_at_start():
    sampler = UnpairedSampler(sizes(5, 3), seed=0, start=2)
    assert take(sampler, 9) == take(sampler, 9)


def test_length_is_an_epoch():
    assert len(UnpairedSampler(sizes(5, 3), seed=0)) == 5
    assert len(UnpairedSampler(sizes(5, 9), seed=0)) == 9


def test_no_seed_takes_mmengines_shared_one(monkeypatch):
    monkeypatch.setattr(sampler_module, 'sync_random_seed', lambda: 77)
    dataset = sizes(9, 9)
    assert take(UnpairedSampler(dataset), 9) == take(UnpairedSampler(dataset, seed=77), 9)


def test_batches_in_a_loader():
    class Echo:
        len_a, len_b = 5, 3

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return index

    sampler = DATA_SAMPLERS.build({'type': 'UnpairedSampler', 'dataset': Echo(), 'seed': 3})
    loader = DataLoader(Echo(), batch_size=2, sampler=sampler, collate_fn=list)
    batches = list(islice(loader, 4))
    assert [pair for batch in batches for pair in batch] == take(sampler, 8)
    assert all(isinstance(pair, PairIndex) for batch in batches for pair in batch)


def test_pair_index_goes_to_a_worker_as_it_is():
    pair = PairIndex(1, 2, 3)
    copy = pickle.loads(pickle.dumps(pair))
    assert copy == pair
    assert isinstance(copy, PairIndex)


def test_misuse():
    with pytest.raises(TypeError, match=r'len_a and len_b.*list'):
        UnpairedSampler([1, 2, 3])
    with pytest.raises(ValueError, match='3 in A, 0 in B'):
        UnpairedSampler(sizes(3, 0))
    with pytest.raises(ValueError, match=r'position.*-1'):
        UnpairedSampler(sizes(3, 3), seed=0).set_position(-1)
    with pytest.raises(ValueError, match=r'seed.*-2'):
        UnpairedSampler(sizes(3, 3), seed=-2)
