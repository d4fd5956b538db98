"""What the difference of two methods is worth: the verdict on paired seeds."""

import math
from dataclasses import dataclass

import numpy as np

from glue_pool.metrics.weighted import SAME
from glue_pool.stats.resampled import RESAMPLES, Metric, Scores, resample

CONFIDENCE = 0.95
ALPHA = 0.05
FEW_SEEDS = 5  # with fewer, the verdict's interval is a more careful one


@dataclass(frozen=True)
class Difference:
    """Method minus baseline, its two-sided confidence interval and the p-value of no difference.

    Interval and p are NaN where there is nothing to take them from: fewer than two pairs, or pairs without any spread.
    """

    estimate: float
    low: float
    high: float
    p: float
    pairs: int  # seeds for which both methods have a score
    missing: int  # seeds left out because one has none
    seed_std: float  # of the pairs' differences
    example_std: float = 0.0  # the part of the estimate's standard error that stays however many seeds there are
    examples: float = math.inf  # independent ones, which example_std is known from

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval of another confidence; as `low` and `high`, NaN where there is none."""
        if not self.seed_std > 0:
            return self.low, self.high
        half = _half_width(
            1 - confidence, self.pairs, self.seed_std**2 / self.pairs, self.example_std**2, self.examples
        )
        return self.estimate - half, self.estimate + half

    def equivalent(self, margin: float) -> bool:
        """Whether it is shown to lie within +- margin: two one-sided tests at 5 % (Schuirmann 1987).

        That is the 90 % interval within them. Of true differences of just the margin, 5 % are called equivalent.
        """
        low, high = self.interval(1 - 2 * ALPHA)
        return -margin < low and high < margin


def compare(baseline: Scores, method: Scores, *, confidence: float = CONFIDENCE) -> Difference:
    """Return the verdict on two methods: the mean difference of paired seeds, for new seeds and new dev examples.

    Both are of the same seeds, scored on the same resampled examples.

    Scores d_s = theta + seed_s + examples + interaction_s are crossed random effects: all seeds share the examples.
    With S seeds, the squared standard error is

        var_s(d_s) / S  +  mean over s != t of cov*(d_s, d_t)

    where cov* is over resamples of the N examples, in each of which the metric is computed anew. The first term holds
    what seeds and the interaction add; the second, no less than 0, what seeds share and more seeds do not reduce. They
    are known with S - 1 and N - 1 degrees of freedom: together, by Satterthwaite, with those of Student's t here; with
    fewer than 5 seeds that raises up to 12 % false alarms, and the half width is Howe's (1974, JASA 69:789), which
    raises 1 to 5 %. Where seeds share nothing, this is the paired t-test over seeds.

    No method knows of what has not happened yet. Where a tenth of one method's runs collapses, to ten standard
    deviations below the others, intervals of 3, 5, 10 and 20 seeds miss the true mean 9, 14, 18 and 11 % of the time,
    nearly always because too few have collapsed so far, and flatter that method; at twenty standard deviations 21, 39,
    34 and 12 %. Where one has collapsed in the runs at hand, 1 % or less. `cautions` tells.
    """
    paired, resampled, missing = aligned(baseline, method)
    pairs, examples = len(paired), baseline.examples
    if pairs < 2 or examples < 2:
        return over_seeds(paired, missing, confidence)
    off = resampled - resampled.mean(axis=0)
    total = off.sum(axis=1)  # the covariances of all pairs of seeds add up to its variance
    shared = float((total @ total - np.vdot(off, off)) / ((len(off) - 1) * pairs * (pairs - 1)))
    if shared <= 0:
        return over_seeds(paired, missing, confidence)
    return _interval(paired, spread(paired), missing, confidence, shared, examples)


def difference(
    labels: np.ndarray,
    baseline: np.ndarray,
    method: np.ndarray,
    metric: str | Metric,
    *,
    positive: int = 1,
    groups: np.ndarray | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Return `compare`'s verdict on outputs `(seeds, examples[, outputs])`, arguments as `resample`'s."""
    both = [
        resample(labels, outputs, metric, positive=positive, groups=groups, resamples=resamples, seed=seed)
        for outputs in (baseline, method)
    ]
    return compare(*both, confidence=confidence)


def difference_over_seeds(baseline: np.ndarray, method: np.ndarray, *, confidence: float = CONFIDENCE) -> Difference:
    """Return the paired t-test over seeds: scores are `(seeds,)`.

    It speaks of new seeds on these very dev examples. On new examples too, it is called significant too often, unless
    what a seed does to an example outweighs what the examples do to both methods.
    """
    paired, missing = pairs_of(baseline, method)
    return over_seeds(paired, missing, confidence)


def aligned(baseline: Scores, method: Scores) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the differences of the seeds that both have, `(pairs,)` and resampled, and how many lack one.

    A resample in which a score is NaN, such as the area under the curve of a class that isn't drawn, is left out.
    """
    if baseline.examples != method.examples or len(baseline.resampled) != len(method.resampled):
        raise ValueError(
            f"{len(baseline.resampled)} resamples of {baseline.examples} examples for {len(method.resampled)} of "
            f"{method.examples}: both methods are scored on the same"
        )
    paired, missing = pairs_of(baseline.actual, method.actual)
    resampled = method.resampled - baseline.resampled
    if missing:
        resampled = resampled[:, np.isfinite(baseline.actual) & np.isfinite(method.actual)]
    there = np.isfinite(resampled).all(axis=1)
    return paired, resampled[there] if there.sum() > 1 else resampled, missing


def pairs_of(baseline: np.ndarray, method: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the differences of the seeds that both have, with what only rounding tells from 0 set to it."""
    if len(baseline) != len(method):
        raise ValueError(f"{len(baseline)} scores of the baseline for {len(method)} of the method: seeds are paired")
    both = np.isfinite(baseline) & np.isfinite(method)
    paired = method[both] - baseline[both]
    size = np.abs(np.concatenate([baseline[both], method[both]])).max(initial=0.0)
    return np.where(np.abs(paired) <= SAME * size, 0.0, paired), int((~both).sum())


def over_seeds(paired: np.ndarray, missing: int, confidence: float) -> Difference:
    """Return `difference_over_seeds` of differences, `(pairs,)`."""
    n = len(paired)
    if n < 2:
        estimate = float(paired[0]) if n else math.nan
        return Difference(estimate, math.nan, math.nan, math.nan, n, missing, math.nan)
    if (std := spread(paired)) > 0:
        return _interval(paired, std, missing, confidence)
    if (paired == 0).all():
        return Difference(0.0, 0.0, 0.0, 1.0, n, missing, 0.0)
    return Difference(float(paired.mean()), math.nan, math.nan, math.nan, n, missing, 0.0)


def _interval(
    paired: np.ndarray, std: float, missing: int, confidence: float, shared: float = 0.0, examples: float = math.inf
) -> Difference:
    """Give the pairs' mean an interval and p; shared: the variance that seeds share through so many examples."""
    n, estimate = len(paired), float(paired.mean())
    of_seeds = std**2 / n
    half = _half_width(1 - confidence, n, of_seeds, shared, examples)
    p = _p(abs(estimate), n, of_seeds, shared, examples)
    return Difference(estimate, estimate - half, estimate + half, p, n, missing, std, math.sqrt(shared), examples)


def _half_width(p: float, pairs: int, of_seeds: float, shared: float, examples: float) -> float:
    """Return that of the interval that misses p of the time, from both parts of the squared standard error."""
    from scipy.special import stdtrit

    if pairs < FEW_SEEDS:
        quantiles = stdtrit(pairs - 1, p / 2), stdtrit(of_examples(examples), p / 2)
        return math.sqrt(quantiles[0] ** 2 * of_seeds + quantiles[1] ** 2 * shared)
    return float(-stdtrit(_freedom(pairs, of_seeds, shared, examples), p / 2) * math.sqrt(of_seeds + shared))


def _p(size: float, pairs: int, of_seeds: float, shared: float, examples: float) -> float:
    """Return the p whose interval is so wide."""
    from scipy.special import stdtr

    t = size / math.sqrt(of_seeds + shared)
    if pairs >= FEW_SEEDS or shared == 0 or math.isnan(t):
        return float(2 * stdtr(_freedom(pairs, of_seeds, shared, examples), -t))
    # Howe's quantile lies between those of Student's t with either part's degrees of freedom
    ends = 2 * stdtr([pairs - 1, of_examples(examples)], -t)
    low, high = np.log(np.maximum([ends.min(), ends.max()], 1e-300)).tolist()
    while high - low > SAME:
        middle = (low + high) / 2
        wide = _half_width(math.exp(middle), pairs, of_seeds, shared, examples) > size
        low, high = (middle, high) if wide else (low, middle)
    return math.exp((low + high) / 2)


def _freedom(pairs: int, of_seeds: float, shared: float, examples: float) -> float:
    """Return Satterthwaite's degrees of freedom of both parts' sum."""
    share = of_seeds / (of_seeds + shared)
    return float(1 / (share**2 / (pairs - 1) + (1 - share) ** 2 / of_examples(examples)))


def of_examples(examples: float) -> float:
    """Return the degrees of freedom that so many independent examples leave: never infinitely many."""
    return min(examples - 1, 1e9)


def spread(paired: np.ndarray) -> float:
    """Return the standard deviation, 0 where only rounding differs."""
    return 0.0 if np.ptp(paired) <= SAME * max(1.0, np.abs(paired).max()) else float(paired.std(ddof=1))
