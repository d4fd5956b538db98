"""How many seeds it takes: the power of the verdict, and what it can find."""

from functools import cache

import numpy as np

from glue_pool.stats.differences import ALPHA, FEW_SEEDS

Numbers = float | np.ndarray

MOST_SEEDS = 1_000_000


def power(
    gain: Numbers, seeds: Numbers, seed_std: Numbers, example_std: Numbers = 0.0, *, alpha: float = ALPHA
) -> np.ndarray:
    """Return the chance that `compare` calls a true gain significant with so many paired seeds.

    Numbers or arrays that broadcast; the answer has their shape. seed_std, example_std: as in a `Difference`, in the
    gain's unit; without the latter it is the power of the paired t-test. Averaged over the spreads that so many seeds
    may show, chi-squared as normal differences have them. A spread measured on few seeds is itself uncertain: from 5, a
    95 % interval of the true one is 0.6 to 2.9 times as large. NaN with fewer than two seeds.
    """
    gain, seeds, seed_std, example_std = _broadcast(gain, seeds, seed_std, example_std)
    error = np.sqrt(seed_std**2 / seeds + example_std**2)
    found = _found(gain, _half_widths(seeds, seed_std, example_std, alpha), error)
    found = np.where(error == 0, np.where(gain == 0, alpha, 1.0), found)
    return np.where(seeds < 2, np.nan, found)


def seeds_needed(
    gain: Numbers, seed_std: Numbers, example_std: Numbers = 0.0, *, chance: float = 0.8, alpha: float = ALPHA
) -> np.ndarray:
    """Return the fewest paired seeds with which a true gain is found significant with this chance, at least 2.

    Infinity if a million are not enough, since the dev examples are too few; NaN if a number is. Arguments as
    `power`'s.
    """
    gain, seed_std, example_std = _broadcast(gain, seed_std, example_std)
    if (gain <= 0).any():
        raise ValueError(f"gain is {gain.min():g}; it has to be positive")
    needed = np.where(np.isnan(gain + seed_std + example_std), np.nan, np.inf)
    possible = power(gain, float(MOST_SEEDS), seed_std, example_std, alpha=alpha) >= chance
    spreads = gain[possible], seed_std[possible], example_std[possible]
    too_few, fewest = np.ones(len(spreads[0]), int), np.full(len(spreads[0]), MOST_SEEDS)
    while (fewest - too_few > 1).any():
        middle = (too_few + fewest) // 2
        enough = power(spreads[0], middle, *spreads[1:], alpha=alpha) >= chance
        too_few, fewest = np.where(enough, too_few, middle), np.where(enough, middle, fewest)
    needed[possible] = fewest
    return needed


def detectable_gain(
    seeds: Numbers, seed_std: Numbers, example_std: Numbers = 0.0, *, chance: float = 0.8, alpha: float = ALPHA
) -> np.ndarray:
    """Return the smallest true gain that so many paired seeds find significant with this chance.

    In the unit of the standard deviations; NaN with fewer than two seeds. Arguments as `power`'s.
    """
    seeds, seed_std, example_std = _broadcast(seeds, seed_std, example_std)
    error = np.where(seeds < 2, np.nan, np.sqrt(seed_std**2 / seeds + example_std**2))
    half_widths = _half_widths(seeds, seed_std, example_std, alpha)
    too_small, enough = np.zeros(error.shape), 4 * error
    while (low := _found(enough, half_widths, error) < chance).any():
        enough = np.where(low, 2 * enough, enough)
    for _ in range(40):
        middle = (too_small + enough) / 2
        found = _found(middle, half_widths, error) >= chance
        too_small, enough = np.where(found, too_small, middle), np.where(found, middle, enough)
    return np.asarray((too_small + enough) / 2)


def _broadcast(*numbers: Numbers) -> tuple[np.ndarray, ...]:
    return np.broadcast_arrays(*(np.asarray(of, dtype=float) for of in numbers))


def _half_widths(seeds: np.ndarray, seed_std: np.ndarray, example_std: np.ndarray, alpha: float) -> np.ndarray:
    """Return those of intervals, `(…, nodes)`, where the seeds' spread seems as large as its quantiles at the nodes."""
    from scipy.special import chdtri, stdtrit

    distinct, which = np.unique(np.maximum(seeds, 2), return_inverse=True)
    df = distinct[:, None] - 1
    seems = (chdtri(df, 1 - _nodes()[0]) / df)[which.reshape(seeds.shape)]
    df = df[which.reshape(seeds.shape)]
    of_seeds, shared = (seed_std**2 / seeds)[..., None] * seems, (example_std**2)[..., None]
    variance = of_seeds + shared
    share = np.divide(of_seeds, variance, out=np.zeros_like(variance), where=variance > 0)
    # Student's quantile is smooth in 1/df: a polynomial takes a tenth of the time
    student = np.polynomial.Chebyshev.interpolate(
        lambda x: stdtrit(1 / x, alpha / 2), 16, domain=[0, 1 / (FEW_SEEDS - 1)]
    )
    welch = student(np.minimum(share**2 / df, 1 / (FEW_SEEDS - 1))) ** 2 * variance
    howe = stdtrit(np.minimum(df, FEW_SEEDS), alpha / 2) ** 2 * of_seeds + student(0.0) ** 2 * shared
    return np.asarray(np.sqrt(np.where(df + 1 < FEW_SEEDS, howe, welch)))


def _found(gain: np.ndarray, half_widths: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return how often a gain that is measured with this error is wider than the half widths at the nodes."""
    from scipy.special import ndtr

    error = np.where(error > 0, error, np.nan)[..., None]
    found = ndtr((gain[..., None] - half_widths) / error) + ndtr((-gain[..., None] - half_widths) / error)
    return np.asarray(found @ _nodes()[1])


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of an integral over [0, 1], crowded at both ends: 40 give a power to 1e-6 from 3 seeds.

    Of 2 seeds to 5e-5.
    """
    x, weights = np.polynomial.legendre.leggauss(40)
    x = (x + 1) / 2
    return x**2 * (3 - 2 * x), weights * 3 * x * (1 - x)
