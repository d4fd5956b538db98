"""How many seeds it takes: the power of a table's marks, and what they can find."""

from functools import lru_cache

import numpy as np

from glue_pool.stats.differences import ALPHA, CONFIDENCE
from glue_pool.stats.family import ALIKE
from glue_pool.stats.nodes import chi_squared, on_unit_interval

Numbers = float | np.ndarray

MOST_SEEDS = 1_000_000
NODES = 40  # of the spread: a power to 1e-5 from 3 seeds
_SHARES = np.linspace(0, 1, 65)


def power(
    gain: Numbers, seeds: Numbers, seed_std: Numbers, example_std: Numbers = 0.0, *, tests: int = 1, others: int = 0
) -> np.ndarray:
    """Return the chance that a true gain is marked with so many paired seeds, in a table of so many tests.

    Numbers or arrays that broadcast; the answer has their shape. seed_std, example_std: as in a `Difference`, in the
    gain's unit; without the latter, and of one test, it is the power of the paired t-test, and with it of Behrens and
    Fisher's, which finds a little less than the verdict's own. Averaged over the spreads
    that so many seeds may show, chi-squared as normal differences have them. Of several tests it is the chance at the
    first step of `family`'s correction, 5 % / tests: no less than that where other differences are marked, too.
    others: how many more differences its column has, whose spread the correction looks at, and which is taken for as
    large. NaN with fewer than two seeds.
    """
    gain, seeds, seed_std, example_std = _broadcast(gain, seeds, seed_std, example_std)
    error = np.sqrt(seed_std**2 / seeds + example_std**2)
    found = _found(gain, _half_widths(seeds, seed_std, example_std, tests, others), error)
    found = np.where(error == 0, np.where(gain == 0, ALPHA / tests, 1.0), found)
    return np.where(seeds < 2, np.nan, found)


def seeds_needed(
    gain: Numbers,
    seed_std: Numbers,
    example_std: Numbers = 0.0,
    *,
    chance: float = 0.8,
    tests: int = 1,
    others: int = 0,
) -> np.ndarray:
    """Return the fewest paired seeds with which a true gain is found significant with this chance, at least 2.

    Infinity if a million are not enough, since the dev examples are too few; NaN if a number is. Arguments as
    `power`'s.
    """
    gain, seed_std, example_std = _broadcast(gain, seed_std, example_std)
    if (gain <= 0).any():
        raise ValueError(f"gain is {gain.min():g}; it has to be positive")
    needed = np.where(np.isnan(gain + seed_std + example_std), np.nan, np.inf)
    possible = power(gain, float(MOST_SEEDS), seed_std, example_std, tests=tests, others=others) >= chance
    spreads = gain[possible], seed_std[possible], example_std[possible]
    too_few = np.maximum(1, np.floor(_fewest(*spreads, chance, tests)).astype(int) - 1)
    step = np.full(len(too_few), 8)
    while (short := power(spreads[0], too_few + step, *spreads[1:], tests=tests, others=others) < chance).any():
        too_few, step = np.where(short, too_few + step, too_few), np.where(short, 2 * step, step)
    fewest = too_few + step
    while (fewest - too_few > 1).any():
        middle = (too_few + fewest) // 2
        enough = power(spreads[0], middle, *spreads[1:], tests=tests, others=others) >= chance
        too_few, fewest = np.where(enough, too_few, middle), np.where(enough, middle, fewest)
    needed[possible] = fewest
    return needed


def detectable_gain(
    seeds: Numbers,
    seed_std: Numbers,
    example_std: Numbers = 0.0,
    *,
    chance: float = 0.8,
    tests: int = 1,
    others: int = 0,
) -> np.ndarray:
    """Return the smallest true gain that so many paired seeds find significant with this chance.

    In the unit of the standard deviations; NaN with fewer than two seeds. Arguments as `power`'s.
    """
    seeds, seed_std, example_std = _broadcast(seeds, seed_std, example_std)
    error = np.where(seeds < 2, np.nan, np.sqrt(seed_std**2 / seeds + example_std**2))
    half_widths = _half_widths(seeds, seed_std, example_std, tests, others)
    too_small, enough = np.zeros(error.shape), 4 * error
    while (low := _found(enough, half_widths, error) < chance).any():
        enough = np.where(low, 2 * enough, enough)
    for _ in range(40):
        middle = (too_small + enough) / 2
        found = _found(middle, half_widths, error) >= chance
        too_small, enough = np.where(found, too_small, middle), np.where(found, middle, enough)
    return np.asarray((too_small + enough) / 2)


def spread_interval(
    seed_std: Numbers, pairs: Numbers, *, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of the true spread over seeds that so many pairs of normal differences leave open.

    From 5 pairs it goes from 0.6 to 2.9 times the one measured. NaN with fewer than two pairs.
    """
    from scipy.special import chdtri

    seed_std, pairs = _broadcast(seed_std, pairs)
    freedom = np.where(pairs < 2, np.nan, pairs - 1)
    low, high = (seed_std * np.sqrt(freedom / chdtri(freedom, p)) for p in ((1 - confidence) / 2, (1 + confidence) / 2))
    return low, high


def _broadcast(*numbers: Numbers) -> tuple[np.ndarray, ...]:
    return np.broadcast_arrays(*(np.asarray(of, dtype=float) for of in numbers))


def _fewest(gain: np.ndarray, seed_std: np.ndarray, example_std: np.ndarray, chance: float, tests: int) -> np.ndarray:
    """Return the seeds that would do if their spread were known: no more than it takes."""
    from scipy.special import ndtri

    error = gain / (ndtri(chance) - ndtri(ALPHA / tests / 2))  # the standard error that a gain is found at
    return np.asarray(seed_std**2 / np.maximum(error**2 - example_std**2, seed_std**2 / MOST_SEEDS))


def _half_widths(
    seeds: np.ndarray, seed_std: np.ndarray, example_std: np.ndarray, tests: int, others: int
) -> np.ndarray:
    """Return how large an estimate has to be for a mark, `(…, nodes)`, where the spread seems as large as its nodes."""
    distinct, which = np.unique(np.maximum(seeds, 2), return_inverse=True)
    which = which.reshape(seeds.shape)
    seems = chi_squared(distinct - 1, NODES)[0][which]
    of_seeds, shared = (seed_std**2 / seeds)[..., None], (example_std**2)[..., None]
    taken = of_seeds * (np.maximum(seems, 1) if others else seems)
    share = np.divide(taken, taken + shared, out=np.zeros_like(taken), where=taken + shared > 0)
    t = np.empty_like(share)
    for index, n in enumerate(distinct):
        digits = max(0.0, np.floor(np.log10(n)) - 1)  # two of them are enough to look up a quantile
        t[which == index] = np.interp(
            share[which == index], _SHARES, _quantiles(int(round(n / 10**digits) * 10**digits), ALPHA / tests, others)
        )
    return np.asarray(np.where(shared == 0, _student(seeds, ALPHA / tests), t) * np.sqrt(of_seeds * seems + shared))


def _student(seeds: np.ndarray, level: float) -> np.ndarray:
    from scipy.special import stdtrit

    return np.asarray(-stdtrit(np.maximum(seeds, 2) - 1, level / 2))[..., None]


@lru_cache(maxsize=4096)
def _quantiles(seeds: int, level: float, others: int) -> np.ndarray:
    """Return what `family` asks of t at a level of one test, at the seeds' shares of the variance, `_SHARES`."""
    from scipy.special import ndtr, ndtri

    q, weights = chi_squared(np.array(seeds - 1), 24)
    share = _SHARES[:, None]
    if others:
        freedom = others * (seeds - 1) / (1 + ALIKE * (others - 1))
        seem, chances = chi_squared(np.array(freedom), 8)
        weights = np.outer(chances, weights).ravel()
        true = share / (share + (1 - share) * seem)
        root = np.sqrt(true[:, :, None] * q + 1 - true[:, :, None]).reshape(len(share), -1)
    else:
        root = 1 / np.sqrt(share / q + 1 - share)
    log_t = np.full(len(share), np.log(-ndtri(level / 2)))
    for _ in range(8):  # Newton's steps on the logarithms of t and of its tail, which comes near a straight line
        at = np.exp(log_t)[:, None] * root
        tail, slope = 2 * ndtr(-at) @ weights, (at * np.exp(-(at**2) / 2)) @ weights * np.sqrt(2 / np.pi)
        log_t = log_t + np.log(tail / level) * tail / slope
    return np.asarray(np.exp(log_t))


def _found(gain: np.ndarray, half_widths: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return how often a gain that is measured with this error is wider than the half widths at the nodes."""
    from scipy.special import ndtr

    error = np.where(error > 0, error, np.nan)[..., None]
    found = ndtr((gain[..., None] - half_widths) / error) + ndtr((-gain[..., None] - half_widths) / error)
    return np.asarray(found @ on_unit_interval(NODES)[1])
