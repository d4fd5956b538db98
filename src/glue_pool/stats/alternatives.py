"""Other ways to look at paired seeds, each with what it speaks of: none of them is a verdict."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from glue_pool.metrics.weighted import SAME
from glue_pool.stats.differences import CONFIDENCE, Difference, aligned, over_seeds, pairs_of, spread
from glue_pool.stats.resampled import Scores

# How often 95 % intervals hold the true value, by number of runs: of one task, normal scores, where seeds dominate, the
# multi-bootstrap's worst case.
MEASURED_COVERAGE = {"multi_bootstrap": {5: 0.87, 20: 0.94}}


@dataclass(frozen=True)
class WinsTiesLosses:
    """How often the method is above, level with and below the baseline; `missing` pairs lack a score."""

    wins: int
    ties: int
    losses: int
    missing: int


def multi_bootstrap(baseline: Scores, method: Scores, *, confidence: float = CONFIDENCE, seed: int = 0) -> Difference:
    """Return the percentile interval of the multi-bootstrap (MultiBERTs, arXiv 2106.16163); arguments as `compare`'s.

    Every resample draws seeds, the same for both methods, and examples, the same for all runs. That takes the seeds'
    variance for S/(S-1) times too small and the interaction's for up to three times too large (Owen 2007, "The
    pigeonhole bootstrap"). So it is no verdict: of null experiments with 5 seeds it calls 14 % significant where seeds
    dominate and 2 % where the examples decide about both methods alike; with 20 seeds 6 % and 2 %.
    """
    paired, resampled, missing = aligned(baseline, method)
    pairs, resamples = len(paired), len(resampled)
    if pairs < 2:
        return over_seeds(paired, missing, confidence)
    means = np.vecdot(resampled, _drawn_seeds(pairs, resamples, seed)) / pairs
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * float(tail + 1) / (resamples + 1))
    return Difference(float(paired.mean()), float(low), float(high), p, pairs, missing, spread(paired))


@lru_cache(maxsize=8)
def _drawn_seeds(pairs: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each pair of seeds is drawn, `(resamples, pairs)`: the same for every comparison of so many."""
    drawn = np.random.default_rng([seed, 1]).multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples)
    return np.asarray(drawn, dtype=float)


def permutation_p(baseline: np.ndarray, method: np.ndarray, *, resamples: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p of the paired permutation test: every way to flip the differences' signs, or drawn ones.

    Scores are `(seeds,)`. It speaks of seeds alone, as `difference_over_seeds`. n pairs have 2^n flips, so p is at
    least 2/2^n: 2/32 with 5 seeds, which is never below 0.05; 6 seeds are the fewest for that. NaN without a pair.
    """
    paired, _ = pairs_of(baseline, method)
    n = len(paired)
    if n < 1:
        return math.nan
    drawn = 2**n > resamples  # and the differences as they are count as one draw more
    flips = _flips(n, resamples if drawn else None, seed)
    sums = np.abs(flips @ paired)
    as_far = int((sums >= abs(paired.sum()) - SAME * np.abs(paired).sum()).sum())
    return float((as_far + drawn) / (len(flips) + drawn))


@lru_cache(maxsize=8)
def _flips(n: int, resamples: int | None, seed: int) -> np.ndarray:
    """Return signs for n differences, `(flips, n)`: all there are, or so many drawn."""
    if resamples is None:
        flips = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        flips = np.random.default_rng(seed).integers(2, size=(resamples, n))
    return 2.0 * flips - 1


def wins_ties_losses(baseline: np.ndarray, method: np.ndarray) -> WinsTiesLosses:
    """Count over pairs of scores, `(pairs,)`: the same seed's, or the same task's."""
    paired, missing = pairs_of(baseline, method)
    return WinsTiesLosses(int((paired > 0).sum()), int((paired == 0).sum()), int((paired < 0).sum()), missing)
