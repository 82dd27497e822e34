"""KID and FID against torch-fidelity, torchmetrics, hand-computed cases and properties."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.kid import poly_mmd

from ugatit_mm.evaluation.kid import (
    Estimate,
    fid,
    kid,
    kid_blocks,
    mean_with_source,
    mmd2,
    polynomial_kernel,
)


def draw(n: int, d: int = 24, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (n, d))


def fidelity(fake: np.ndarray, real: np.ndarray, subset_size: int, subsets: int) -> dict:
    return kid_features_to_metric(
        torch.from_numpy(fake),
        torch.from_numpy(real),
        kid_subset_size=subset_size,
        kid_subsets=subsets,
        verbose=False,
    )


def test_the_kernel_of_a_hand_computed_case():
    x, y = np.array([[1.0, 2.0]]), np.array([[3.0, -1.0], [0.0, 4.0]])
    assert polynomial_kernel(x, y).tolist() == [[1.5**3, 5.0**3]]


@pytest.mark.parametrize('n', [2, 37])
def test_equals_torch_fidelity_at_subset_size_n(n):
    fake, real = draw(n, seed=1), draw(n, shift=0.3, seed=2)
    theirs = fidelity(fake, real, n, 3)
    value, spread = kid(fake, real, subset_size=n, num_subsets=3)
    assert value == pytest.approx(theirs['kernel_inception_distance_mean'], abs=1e-10)
    assert spread == pytest.approx(0, abs=1e-10)


def test_equals_torch_fidelity_on_its_own_subsets():
    """Same seed, same draws, also for sets of different sizes."""
    fake, real = draw(30, seed=1), draw(41, shift=0.3, seed=2)
    theirs = fidelity(fake, real, 12, 20)
    value, spread = kid(fake, real, subset_size=12, num_subsets=20)
    assert value == pytest.approx(theirs['kernel_inception_distance_mean'], abs=1e-10)
    assert spread == pytest.approx(theirs['kernel_inception_distance_std'], abs=1e-10)
    assert spread > 0.01


def test_equals_torchmetrics_at_subset_size_n():
    fake, real = draw(33, seed=3), draw(33, shift=-0.2, seed=4)
    theirs = poly_mmd(torch.from_numpy(real), torch.from_numpy(fake)).item()
    assert kid(fake, real, subset_size=33, num_subsets=1).value == pytest.approx(theirs, abs=1e-10)


def test_fid_equals_torch_fidelity_for_few_and_many_images():
    for n, m in ((8, 11), (60, 40)):  # fewer than the features' 24, and more
        fake, real = draw(n, seed=5), draw(m, shift=0.5, seed=6) * 1.5
        theirs = fid_statistics_to_metric(
            *(fid_features_to_statistics(torch.from_numpy(x)) for x in (fake, real)), False
        )
        # torch-fidelity takes roots of numerically zero eigenvalues
        assert fid(fake, real) == pytest.approx(theirs['frechet_inception_distance'], rel=1e-6)


def test_fid_closed_form_in_one_dimension():
    fake, real = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])  # std sqrt(2), 2 sqrt(2)
    assert fid(fake, real) == pytest.approx((7 - 1) ** 2 + (8**0.5 - 2**0.5) ** 2)


def test_unbiased_by_simulation():
    """The mean over many small draws of one distribution is 0, and not for the biased estimate."""
    rng = np.random.default_rng(0)
    unbiased, biased = [], []
    for _ in range(2000):
        x, y = rng.normal(size=(5, 4)), rng.normal(size=(7, 4))
        kernels = [polynomial_kernel(*pair) for pair in ((x, x), (x, y), (y, y))]
        unbiased.append(mmd2(*kernels))
        biased.append(kernels[0].mean() - 2 * kernels[1].mean() + kernels[2].mean())
    error = np.std(unbiased) / np.sqrt(len(unbiased))
    assert abs(np.mean(unbiased)) < 3 * error
    assert np.mean(biased) > 20 * error


def test_the_expectation_between_two_distributions():
    """x = 1 or -1 in one dimension, y = 2: E k = mean of (xx + 1)^3, and so on, by hand."""
    # within x: (8 + 0) / 2 = 4; within y: 5^3 = 125; between: (3^3 + (-1)^3) / 2 = 13
    rng = np.random.default_rng(1)
    y = np.full((6, 1), 2.0)
    draws = [kid_blocks(rng.choice([-1.0, 1.0], (6, 1)), y).value for _ in range(4000)]
    assert np.mean(draws) == pytest.approx(4 + 125 - 2 * 13, abs=0.5)


def test_the_authors_blocks_by_hand():
    """5 and 4 images, blocks of at most 2: 3 blocks; sizes 1 2 2 and 1 1 2 cannot be measured."""
    x = np.array([[0.0], [1.0], [1.0], [2.0], [0.0], [1.0]])
    y = np.array([[1.0], [2.0], [0.0], [0.0], [3.0], [1.0]])
    # Blocks of 2 in file order, d = 1, k = (ab + 1)^3.
    # (0 1 | 1 2): xx 1, yy 27, xy mean of 1 1 8 27 = 37/4: 1 + 27 - 37/2 = 9.5
    # (1 2 | 0 0): xx 27, yy 1, xy 1: 27 + 1 - 2 = 26
    # (0 1 | 3 1): xx 1, yy 64, xy mean of 1 1 64 8 = 74/4: 1 + 64 - 37 = 28
    value, spread = kid_blocks(x, y, block_size=2)
    assert value == pytest.approx((9.5 + 26 + 28) / 3)
    assert spread == pytest.approx(np.std([9.5, 26, 28], ddof=1) / np.sqrt(3))
    with pytest.raises(ValueError, match='5 and 4 images make 3 blocks of at most 2'):
        kid_blocks(x[:5], y[:4], block_size=2)


def test_the_authors_blocks_of_unequal_sets():
    """7 and 4 images, at most 4: two blocks, 3 then 4 and 2 then 2."""
    x, y = draw(7, seed=1), draw(4, seed=2)
    values = [
        mmd2(polynomial_kernel(a, a), polynomial_kernel(a, b), polynomial_kernel(b, b))
        for a, b in ((x[:3], y[:2]), (x[3:], y[2:]))
    ]
    assert kid_blocks(x, y, 4).value == pytest.approx(np.mean(values))
    assert kid_blocks(x, y, 4).spread == pytest.approx(abs(values[0] - values[1]) / 2)


def test_one_block_has_no_standard_error():
    value, spread = kid_blocks(draw(6, seed=1), draw(6, seed=2))
    assert np.isfinite(value) and np.isnan(spread)


def test_blocks_follow_the_order_and_subsets_of_all_do_not():
    fake, real = draw(20, seed=1), draw(20, shift=0.4, seed=2)
    shuffled = np.random.default_rng(0).permutation(fake)
    assert kid_blocks(fake, real).value != pytest.approx(kid_blocks(shuffled, real).value, abs=1e-6)
    for measure in (lambda x: kid(x, real, 20, 1).value, lambda x: fid(x, real)):
        assert measure(fake) == pytest.approx(measure(shuffled), abs=1e-10)


def test_the_blocks_agree_with_the_whole_in_expectation():
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(300):
        x, y = rng.normal(size=(20, 6)), rng.normal(0.3, 1, (20, 6))
        differences.append(kid_blocks(x, y).value - kid(x, y, 20, 1).value)
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(300)


def test_symmetry():
    x, y = draw(20, seed=1), draw(20, shift=0.4, seed=2)
    assert kid_blocks(x, y) == pytest.approx(kid_blocks(y, x))
    assert kid(x, y, 20, 1).value == pytest.approx(kid(y, x, 20, 1).value)
    assert fid(x, y) == pytest.approx(fid(y, x))


def test_identity_and_monotony_under_noise():
    """The same images are not farther than chance; more noise is farther."""
    rng = np.random.default_rng(0)
    x = draw(80, seed=1)
    assert fid(x, x) == pytest.approx(0, abs=1e-9)
    assert kid(x, x, 80, 1).value < 0  # unbiased: below 0 where the pairs with themselves count
    noise = rng.normal(size=x.shape)
    by_noise = [(kid(x + s * noise, x, 50).value, fid(x + s * noise, x)) for s in (0, 0.5, 1, 2, 4)]
    for values in zip(*by_noise, strict=True):
        assert list(values) == sorted(values) and values[-1] > values[0] + 1


def test_an_untranslated_copy_scores_well_on_the_mean_with_the_source():
    """Why that mean must not be the only one: a copy of the source beats a perfect translation."""
    source, target = draw(60, seed=1), draw(60, shift=0.5, seed=2)
    copy, perfect = source, draw(60, shift=0.5, seed=3)
    scores = {
        name: mean_with_source(kid_blocks(fake, target), kid_blocks(fake, source)).value
        for name, fake in (('copy', copy), ('perfect', perfect))
    }
    assert scores['copy'] < scores['perfect']
    assert kid_blocks(copy, target).value > 5 * abs(kid_blocks(perfect, target).value)


def test_the_mean_with_the_source():
    assert mean_with_source(Estimate(4, 0.2), Estimate(10, 0.6)) == pytest.approx((7, 0.4))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda x: kid(x, x[:20], subset_size=21), 'subset_size=21 .* 30 and 20 images: lower it'),
        (lambda x: kid(x, x, subset_size=1), 'subset_size=1 must be from 2'),
        (lambda x: kid(x, x, 5, num_subsets=0), 'num_subsets=0 must be 1 or more'),
        (lambda x: kid_blocks(x, x, block_size=1), 'block_size=1 must be 2 or more'),
        (lambda x: kid_blocks(x, x[:1]), 'at least 2 images are needed of each, got 30 and 1'),
        (lambda x: fid(x, x[:, :3]), r'one d, got \(30, 24\) and \(30, 3\)'),
        (lambda x: fid(x * np.nan, x), 'features must be finite'),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw(30))
