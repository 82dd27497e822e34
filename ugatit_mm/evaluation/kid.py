"""Kernel and Frechet Inception distances between two sets of features, as pure functions.

KID (Binkowski et al., "Demystifying MMD GANs", ICLR 2018) is the squared maximum mean discrepancy
under the kernel k(x, y) = (x'y / d + 1)^3, with an unbiased estimator. Programs that print a "KID"
agree on that and differ in the subsets they take and in what they call its spread; each function
here says which it follows. Everything is computed in float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

SUBSET_SIZE = 50
NUM_SUBSETS = 100
BLOCK_SIZE = 10
SEED = 2020


class TooFewImagesError(ValueError):
    """There are fewer images than a protocol asks for; the message says what to change."""


class Estimate(NamedTuple):
    """A measurement and its spread; the function that returns it says which kind of spread."""

    value: float
    spread: float


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k(x, y) = (x'y / d + 1)^3 of all pairs.

    Args:
        x: Features, (M, d).
        y: Features, (N, d).

    Returns:
        (M, N).
    """
    return (x @ y.T / x.shape[1] + 1) ** 3


def mmd2(k_xx: np.ndarray, k_xy: np.ndarray, k_yy: np.ndarray) -> float:
    """Unbiased estimate of the squared MMD (Gretton et al., JMLR 2012, lemma 6, equation 3).

    Args:
        k_xx: Kernel within the first set, (M, M).
        k_xy: Kernel between the sets, (M, N).
        k_yy: Kernel within the second set, (N, N).

    Returns:
        Its expectation is 0 for equal distributions, so it may be negative.
    """

    def off_diagonal(k: np.ndarray) -> float:
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    return float(off_diagonal(k_xx) + off_diagonal(k_yy) - 2 * k_xy.mean())


def kid(
    fake: ArrayLike,
    real: ArrayLike,
    subset_size: int = SUBSET_SIZE,
    num_subsets: int = NUM_SUBSETS,
    seed: int = SEED,
) -> Estimate:
    """KID over random subsets, as torch-fidelity and torchmetrics take it.

    Args:
        fake: Features of the translations, (M, d).
        real: Features of the images to compare with, (N, d).
        subset_size: Images of each set in a subset, drawn without replacement.
        num_subsets: Subsets.
        seed: Of the subsets; drawn as torch-fidelity draws them, so the values are equal.

    Returns:
        Mean and population standard deviation over the subsets. The latter is not a standard error:
        the subsets overlap, and at a subset size of M = N it is 0.

    Raises:
        TooFewImagesError: Fewer images than a subset needs.
        ValueError: No features, or settings out of range.
    """
    fake, real = _checked(fake, real)
    if not 2 <= subset_size <= min(len(fake), len(real)):
        raise TooFewImagesError(
            f'subset_size={subset_size} must be from 2 to the smaller of the two sets, '
            f'{len(fake)} and {len(real)} images: lower it (--subset-size), or add images'
        )
    if num_subsets < 1:
        raise ValueError(f'num_subsets={num_subsets} must be 1 or more')
    # The kernel of all pairs once; each subset is a part of it.
    k_ff, k_fr, k_rr = _kernels(fake, real)
    rng = np.random.RandomState(seed)
    values = np.empty(num_subsets)
    for index in range(num_subsets):
        f = rng.choice(len(fake), subset_size, replace=False)
        r = rng.choice(len(real), subset_size, replace=False)
        values[index] = mmd2(k_ff[np.ix_(f, f)], k_fr[np.ix_(f, r)], k_rr[np.ix_(r, r)])
    return Estimate(float(values.mean()), float(values.std()))


def kid_blocks(fake: ArrayLike, real: ArrayLike, block_size: int = BLOCK_SIZE) -> Estimate:
    """KID over disjoint blocks in file order, as the authors' GAN_Metrics-Tensorflow takes it.

    There are as many blocks as the larger set fills with at most ``block_size`` images; each set
    is cut into that many runs of equal length, the later ones longer by 1 where it does not divide.

    Args:
        fake: Features of the translations in file order, (M, d).
        real: Features of the images to compare with in file order, (N, d).
        block_size: Most images of a block.

    Returns:
        Mean over the blocks and its standard error: NaN for a single block.

    Raises:
        TooFewImagesError: So few in one set that a block would have fewer than 2.
        ValueError: No features, or a setting out of range.
    """
    fake, real = _checked(fake, real)
    if block_size < 2:
        raise ValueError(f'block_size={block_size} must be 2 or more')
    num_blocks = -(-max(len(fake), len(real)) // block_size)
    if min(len(fake), len(real)) < 2 * num_blocks:
        raise TooFewImagesError(
            f'{len(fake)} and {len(real)} images make {num_blocks} blocks of at most {block_size}, '
            'in which the smaller set has fewer than 2 images: add images to it or leave some of '
            'the other out'
        )
    values = np.array(
        [
            mmd2(*_kernels(f, r))
            for f, r in zip(_blocks(fake, num_blocks), _blocks(real, num_blocks), strict=True)
        ]
    )
    if num_blocks == 1:
        return Estimate(float(values[0]), float('nan'))
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(num_blocks)))


def mean_with_source(target: Estimate, source: Estimate) -> Estimate:
    """Mean of the distances to the target and to the source, as the authors' ``mean_KID``.

    It rewards a translation for staying near its source: an untranslated copy does well, so it is
    not a measure of quality by itself. The paper's tables are most likely made with it.

    Args:
        target: :func:`kid_blocks` of the translations and the target domain.
        source: :func:`kid_blocks` of the translations and their sources.

    Returns:
        Mean of the two measurements and, as the authors print it, mean of the two standard errors.
    """
    return Estimate((target.value + source.value) / 2, (target.spread + source.spread) / 2)


def fid(fake: ArrayLike, real: ArrayLike) -> float:
    """Frechet Inception distance (Heusel et al., NeurIPS 2017).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with unbiased covariances. It is biased upwards for
    few images; at a hundred the bias outweighs most differences between methods.

    Args:
        fake: Features of the translations, (M, d).
        real: Features of the images to compare with, (N, d).

    Raises:
        TooFewImagesError: Fewer than 2 images.
        ValueError: No features.
    """
    fake, real = _checked(fake, real)
    distance = np.sum((fake.mean(0) - real.mean(0)) ** 2)
    # X'X / (n - 1) is the covariance. The eigenvalues of S1 S2 are the squares of the singular
    # values of X1 X2', which those of the triangular factors share: exact, and small for small n.
    x1, x2 = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (fake, real))
    r1, r2 = (np.linalg.qr(x, mode='r') for x in (x1, x2))
    # NumPy's stubs know no mode that gives only R.
    root_trace = np.linalg.svd(r1 @ r2.T, compute_uv=False).sum()  # type: ignore[attr-defined, call-overload]
    return float(distance + np.sum(x1**2) + np.sum(x2**2) - 2 * root_trace)


def _checked(fake: ArrayLike, real: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    fake, real = (np.asarray(x, dtype=np.float64) for x in (fake, real))
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
        raise ValueError(
            f'features must be (images, d) with one d, got {fake.shape} and {real.shape}'
        )
    if min(len(fake), len(real)) < 2:
        raise TooFewImagesError(
            f'at least 2 images are needed of each, got {len(fake)} and {len(real)}'
        )
    if not (np.isfinite(fake).all() and np.isfinite(real).all()):
        raise ValueError('features must be finite')
    return fake, real


def _kernels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return polynomial_kernel(x, x), polynomial_kernel(x, y), polynomial_kernel(y, y)


def _blocks(x: np.ndarray, num_blocks: int) -> list[np.ndarray]:
    size, longer = divmod(len(x), num_blocks)
    sizes = [size] * (num_blocks - longer) + [size + 1] * longer
    return np.split(x, np.cumsum(sizes)[:-1])
