"""The image pool: the official rule, draws, commits."""

import random

import pytest
import torch
from cyclegan_helpers import recorded

from ugatit_mm.models.base.image_pool import ImagePool


def numbers(*values: float) -> torch.Tensor:
    """Images of 1x1 that are numbers."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1, 1)


def with_draws(size: int, draws: list[int | None]) -> ImagePool:
    """A pool that takes its draws from a list."""
    pool = ImagePool(size)
    pool._draw = iter(draws).__next__
    return pool


def values(images: torch.Tensor) -> list[float]:
    return images.flatten().tolist()


def test_recorded_queries():
    record = recorded('image_pool.npz')
    random.seed(5)  # as in the official program: the same draws in the same order
    pool = ImagePool(3)
    returned, start = [], 0
    for count in record['batches'].tolist():
        returned += values(pool.query(numbers(*record['queried'][start : start + count])))
        start += count
    assert returned == record['returned'].tolist()
    assert values(pool.state()) == record['left'].tolist()
    # And with the recorded draws, however they are made.
    places = [None if p <= 0.5 else int(k) for p, k in record['draws'] if p == p]
    pool = with_draws(3, places)
    assert values(pool.query(numbers(*record['queried']))) == record['returned'].tolist()


def test_the_rule_in_one_batch():
    """Filling draws nothing; an image of a batch may be returned for a later one of the batch."""
    pool = with_draws(2, [None, 1, 1, 0])
    assert values(pool.query(numbers(1, 2))) == [1, 2]
    assert values(pool.query(numbers(3, 4, 5, 6))) == [3, 2, 4, 1]
    assert values(pool.state()) == [6, 5]


def test_a_batch_that_fills_it_halfway_draws_for_the_rest():
    pool = with_draws(2, [0])
    assert values(pool.query(numbers(1, 2, 3))) == [1, 2, 1]
    assert values(pool.state()) == [3, 2]


def test_half_of_what_a_full_pool_returns_is_old_and_every_place_is_drawn():
    random.seed(0)
    pool = ImagePool(4)
    pool.query(numbers(-1, -1, -1, -1))
    draws = [pool._draw() for _ in range(4000)]
    assert draws.count(None) == pytest.approx(2000, abs=100)
    assert all(draws.count(place) == pytest.approx(500, abs=70) for place in range(4))


def test_size_0_returns_the_input_and_draws_nothing():
    state = random.getstate()
    pool = ImagePool(0)
    images = numbers(1, 2).requires_grad_()
    assert pool.query(images).data_ptr() == images.data_ptr()
    assert not pool.query(images).requires_grad
    assert pool.state() is None and random.getstate() == state
    with pytest.raises(ValueError, match='pool_size must be 0 or more, got -1'):
        ImagePool(-1)


def test_images_are_kept_detached_and_apart_from_their_batch():
    pool = ImagePool(2)
    batch = torch.rand(2, 3, 4, 4, requires_grad=True)
    images = batch * 2
    out = pool.query(images)
    assert not out.requires_grad and torch.equal(out, images)
    kept = pool.images
    with torch.no_grad():
        images.zero_()  # as a CUDA graph does with its results
    assert all(torch.equal(a, b) for a, b in zip(pool.images, kept, strict=True))


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_state_continues_to_the_bit(tmp_path, memory_format):
    """Also in NHWC, where another format would change the order of later sums."""
    torch.manual_seed(0)
    batches = torch.rand(6, 2, 3, 8, 8).unbind()
    one, two = ImagePool(3), ImagePool(3)
    for batch in batches[:3]:
        one.query(batch.to(memory_format=memory_format))
    torch.save(one.state(), tmp_path / 'state.pth')
    two.load_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    state = random.getstate()
    results = []
    for pool in (one, two):
        random.setstate(state)
        results.append([pool.query(b.to(memory_format=memory_format)) for b in batches[3:]])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()
        assert a.is_contiguous(memory_format=memory_format)


def test_an_empty_state_and_one_that_does_not_fit():
    pool = ImagePool(2)
    pool.load_state(ImagePool(2).state())
    assert pool.images == []
    with pytest.raises(ValueError, match='pool of 3 images, pool_size is 2: resume with'):
        pool.load_state(torch.zeros(3, 3, 4, 4))
    for state in ('images', torch.zeros(3)):
        with pytest.raises(ValueError, match='image pool is not a stack of images'):
            pool.load_state(state)
    pool.load_state(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r'of \(3, 4, 4\), these are of \(3, 8, 8\): resume with'):
        pool.query(torch.zeros(1, 3, 8, 8))


def test_what_is_undone_leaves_no_trace():
    """All changes since the last keep(): filled, or swapped."""
    pool = with_draws(2, [0, 1, None, 1])
    pool.query(numbers(1))
    pool.keep()
    pool.query(numbers(2, 3, 4))
    assert values(pool.state()) == [3, 4]
    pool.keep(False)
    assert values(pool.state()) == [1]
    pool.query(numbers(5))
    pool.keep()
    assert values(pool.query(numbers(6, 7))) == [6, 5]
    pool.keep(False)
    assert values(pool.state()) == [1, 5]
