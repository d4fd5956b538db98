"""Statistics over seeds: how scores spread, what the difference of two methods is worth, how many seeds it takes.

Plain functions on NumPy arrays. Scores may be fractions or points; a difference is method minus baseline in the same
unit. Arrays of two methods are aligned: entry s of both is the same seed. A run without a score is NaN: it is left out
and counted, never dropped in silence.

`difference` is the verdict: it speaks of new seeds and new dev examples, and keeps what its interval and p promise from
5 seeds on, and errs on the safe side with fewer (tests/test_stats.py). What does not is only to be shown with its
MEASURED_COVERAGE.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]  # labels and predictions, both (examples,), to a score

CONFIDENCE = 0.95
ALPHA = 0.05
RESAMPLES = 1000
CLAIM_BELOW = 0.2  # Almost Stochastic Order: the method counts as better where the bound is below it
FEW_SEEDS = 5  # with fewer, the verdict's interval is a more careful one
MOST_SEEDS = 1_000_000
SAME = 1e-12  # numbers closer than this, relative to the scores, are equal
CHUNK = 2_000_000  # weights of resampled examples held at once: 16 MB

# How often 95 % intervals hold the true value, by number of runs: of one task, normal scores; multi_bootstrap's where
# seeds dominate, its worst case.
MEASURED_COVERAGE = {
    "multi_bootstrap": {5: 0.87, 20: 0.94},
    "interquartile_mean": {5: 0.90, 20: 0.93},
    "probability_of_improvement": {5: 0.91, 20: 0.94},
}

# scipy.stats takes a second to import and statsmodels another: on use.


@dataclass(frozen=True)
class Summary:
    """The scores of one method; all but the counts are over the runs that have a score, NaN where there are none."""

    n: int  # runs with a score
    failed: int  # runs without one
    collapsed: int  # runs that predict one class, or one score, for every example
    mean: float
    std: float  # over runs, n - 1 in the denominator; NaN for one run
    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap confidence interval."""

    value: float
    low: float
    high: float
    n: int  # runs behind it
    missing: int  # runs left out because they have no score


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


@dataclass(frozen=True)
class StochasticOrder:
    """How far the method is from being stochastically larger than the baseline."""

    violation: float  # the samples' own violation ratio: 0 is dominance, 1 dominance by the baseline
    bound: float  # eps_min, its upper confidence bound
    confidence: float  # of the bound, after the correction for several comparisons

    @property
    def claimed(self) -> bool:
        """Whether the bound is low enough to call the method better."""
        return self.bound < CLAIM_BELOW


@dataclass(frozen=True)
class WinsTiesLosses:
    """How often the method is above, level with and below the baseline; `missing` pairs lack a score."""

    wins: int
    ties: int
    losses: int
    missing: int


def summarise(scores: np.ndarray, collapsed: Sequence[bool] = ()) -> Summary:
    """Summarise one method's `scores`, `(runs,)` with NaN for failed runs; collapsed: for each run, whether it did."""
    there = scores[np.isfinite(scores)]
    n = len(there)
    numbers = [float(of(there)) if n else math.nan for of in (np.mean, np.median, np.min, np.max)]
    mean, median, low, high = numbers
    std = float(there.std(ddof=1)) if n > 1 else math.nan
    return Summary(n, len(scores) - n, int(sum(collapsed)), mean, std, median, low, high)


def interquartile_mean(
    tasks: Sequence[np.ndarray], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return the mean of the middle half of all runs of all tasks, as rliable does (arXiv 2108.13264).

    tasks: each task's scores, `(runs,)`. The percentile interval is from a bootstrap stratified by task: runs are drawn
    within theirs. With few runs it is too narrow: MEASURED_COVERAGE.
    """
    from scipy.stats import trim_mean

    def over_runs(drawn: list[np.ndarray]) -> np.ndarray:
        return np.asarray(trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1))

    return _stratified_bootstrap([tasks], lambda groups: over_runs(groups[0]), confidence, resamples, seed)


def probability_of_improvement(
    baseline: Sequence[np.ndarray],
    method: Sequence[np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the chance that a run of the method beats one of the baseline, a tie being half, averaged over tasks.

    baseline, method: each task's scores, `(runs,)`; pairs of seeds are not used. With the percentile interval of a
    bootstrap stratified by task and method (arXiv 2108.13264), too narrow with few runs: MEASURED_COVERAGE.
    """

    def over_pairs(groups: list[list[np.ndarray]]) -> np.ndarray:
        of_tasks = [
            np.mean((m[:, :, None] > b[:, None, :]) + 0.5 * (m[:, :, None] == b[:, None, :]), axis=(1, 2))
            for b, m in zip(*groups, strict=True)
        ]
        return np.asarray(np.mean(of_tasks, axis=0))

    return _stratified_bootstrap([baseline, method], over_pairs, confidence, resamples, seed)


def _stratified_bootstrap(
    groups: Sequence[Sequence[np.ndarray]],
    statistic: Callable[[list[list[np.ndarray]]], np.ndarray],
    confidence: float,
    resamples: int,
    seed: int,
) -> Estimate:
    """Bootstrap a statistic of groups (methods) of strata (tasks) of runs, each stratum resampled by itself.

    The statistic takes strata of `(resamples, runs)` and returns `(resamples,)`.
    """
    runs = [[scores[np.isfinite(scores)] for scores in strata] for strata in groups]
    counts = [len(scores) for strata in runs for scores in strata]
    missing = sum(len(scores) for strata in groups for scores in strata) - sum(counts)
    if not counts or min(counts) < 1:
        return Estimate(math.nan, math.nan, math.nan, sum(counts), missing)
    value = float(statistic([[scores[None] for scores in strata] for strata in runs])[0])
    if min(counts) < 2:
        return Estimate(value, math.nan, math.nan, sum(counts), missing)
    draw = np.random.default_rng(seed)
    drawn = [[s[draw.integers(len(s), size=(resamples, len(s)))] for s in strata] for strata in runs]
    low, high = np.quantile(statistic(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), sum(counts), missing)


# Differences


def difference(
    labels: np.ndarray,
    baseline: np.ndarray,
    method: np.ndarray,
    metric: str | Metric,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Return the verdict on two methods: the mean difference of paired seeds, for new seeds and new dev examples.

    labels: `(examples,)`. baseline, method: `(seeds, examples)` classes or scores, or `(seeds, examples, outputs)`
    logits, rows in the labels' order. metric: a name in `glue_pool.metrics.METRICS`, or a callable.

    Scores d_s = theta + seed_s + examples + interaction_s are crossed random effects: all seeds share the examples.
    With S seeds, the squared standard error is

        var_s(d_s) / S  +  mean over s != t of cov*(d_s, d_t)

    where cov* is over resamples of the N examples, in each of which the metric is computed anew. The first term holds
    what seeds and the interaction add; the second, no less than 0, what seeds share and more seeds do not reduce. They
    are known with S - 1 and N - 1 degrees of freedom: together, by Satterthwaite, with those of Student's t here; with
    fewer than 5 seeds that raises up to 12 % false alarms, and the half width is Howe's (1974, JASA 69:789), which
    raises 1 to 5 %. Where seeds share nothing, this is the paired t-test over seeds.

    No method knows of what has not happened yet. Where both methods collapse in some runs, 5 seeds raise 2 % false
    alarms; where one does, in a tenth of its runs, the interval of 5 seeds misses the true mean 26 % of the time,
    mostly because none has collapsed so far, and that of 20 seeds 13 %. Show the collapsed runs beside it.
    """
    table = _resampled(labels, baseline, method, metric, resamples, seed)
    by_seeds = _over_seeds(table.differences, table.missing, confidence)
    pairs = by_seeds.pairs
    if pairs < 2 or len(labels) < 2:
        return by_seeds
    covariance = np.cov(table.resampled.T)
    shared = float(np.maximum((covariance.sum() - np.trace(covariance)) / (pairs * (pairs - 1)), 0.0))
    return by_seeds if shared == 0 else _interval(table.differences, table.missing, confidence, shared, len(labels))


def difference_over_seeds(baseline: np.ndarray, method: np.ndarray, *, confidence: float = CONFIDENCE) -> Difference:
    """Return the paired t-test over seeds: scores are `(seeds,)`.

    It speaks of new seeds on these very dev examples. On new examples too, it is called significant too often, unless
    what a seed does to an example outweighs what the examples do to both methods.
    """
    paired, missing = _pairs(baseline, method)
    return _over_seeds(paired, missing, confidence)


def _pairs(baseline: np.ndarray, method: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the differences of the seeds that both have, with what only rounding tells from 0 set to it."""
    if len(baseline) != len(method):
        raise ValueError(f"{len(baseline)} scores of the baseline for {len(method)} of the method: seeds are paired")
    both = np.isfinite(baseline) & np.isfinite(method)
    paired = method[both] - baseline[both]
    size = np.abs(np.concatenate([baseline[both], method[both]])).max(initial=0.0)
    return np.where(np.abs(paired) <= SAME * size, 0.0, paired), int((~both).sum())


def _over_seeds(paired: np.ndarray, missing: int, confidence: float) -> Difference:
    n = len(paired)
    if n < 2:
        estimate = float(paired[0]) if n else math.nan
        return Difference(estimate, math.nan, math.nan, math.nan, n, missing, math.nan)
    if _std(paired) > 0:
        return _interval(paired, missing, confidence)
    if (paired == 0).all():
        return Difference(0.0, 0.0, 0.0, 1.0, n, missing, 0.0)
    return Difference(float(paired.mean()), math.nan, math.nan, math.nan, n, missing, 0.0)


def _interval(
    paired: np.ndarray, missing: int, confidence: float, shared: float = 0.0, examples: float = math.inf
) -> Difference:
    """Give the pairs' mean an interval and p; shared: the variance that seeds share through so many examples."""
    from scipy.optimize import brentq

    n, std, estimate, least = len(paired), _std(paired), float(paired.mean()), 1e-100

    def half_width(p: float) -> float:
        return float(_half_width(p, n, std**2 / n, shared, examples))

    half = half_width(1 - confidence)
    if abs(estimate) < half_width(least):
        p = math.exp(brentq(lambda log_p: half_width(math.exp(log_p)) - abs(estimate), math.log(least), 0.0))
    else:
        p = math.nan if math.isnan(half) else 0.0
    return Difference(estimate, estimate - half, estimate + half, p, n, missing, std, math.sqrt(shared))


def _half_width(p: float, pairs: int, of_seeds: float | np.ndarray, shared: float, examples: float) -> np.ndarray:
    """Return that of the interval that misses p of the time, from both parts of the squared standard error."""
    from scipy.special import stdtrit

    variance, most = of_seeds + shared, min(examples - 1, 1e9)
    if pairs < FEW_SEEDS:
        return np.asarray(np.sqrt(stdtrit(pairs - 1, p / 2) ** 2 * of_seeds + stdtrit(most, p / 2) ** 2 * shared))
    df = variance**2 / (of_seeds**2 / (pairs - 1) + shared**2 / most)
    return np.asarray(-stdtrit(df, p / 2) * np.sqrt(variance))


def _std(paired: np.ndarray) -> float:
    """Return the standard deviation, 0 where only rounding differs."""
    return 0.0 if np.ptp(paired) <= SAME * max(1.0, np.abs(paired).max()) else float(paired.std(ddof=1))


def multi_bootstrap(
    labels: np.ndarray,
    baseline: np.ndarray,
    method: np.ndarray,
    metric: str | Metric,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Return the percentile interval of the multi-bootstrap (MultiBERTs, arXiv 2106.16163); shapes as `difference`.

    Every resample draws seeds, the same for both methods, and examples, the same for all runs. That takes the seeds'
    variance for S/(S-1) times too small and the interaction's for up to three times too large (Owen 2007, "The
    pigeonhole bootstrap"). So it is no verdict: of null experiments with 5 seeds it calls 14 % significant where seeds
    dominate and 2 % where the examples decide about both methods alike; with 20 seeds 6 % and 2 %.
    """
    table = _resampled(labels, baseline, method, metric, resamples, seed)
    plain = _over_seeds(table.differences, table.missing, confidence)
    pairs = plain.pairs
    if pairs < 2:
        return plain
    drawn = np.random.default_rng([seed, 1]).multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples)
    means = (table.resampled * drawn).sum(axis=1) / pairs
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * float(tail + 1) / (resamples + 1))
    return Difference(plain.estimate, float(low), float(high), p, pairs, table.missing, plain.seed_std)


def permutation_p(baseline: np.ndarray, method: np.ndarray, *, resamples: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p of the paired permutation test: every way to flip the differences' signs, or drawn ones.

    Scores are `(seeds,)`. It speaks of seeds alone, as `difference_over_seeds`. n pairs have 2^n flips, so p is at
    least 2/2^n: 2/32 with 5 seeds, which is never below 0.05; 6 seeds are the fewest for that. NaN without a pair.
    """
    from scipy.stats import permutation_test

    paired, _ = _pairs(baseline, method)
    if len(paired) < 1:
        return math.nan
    if len(paired) == 1:
        return 1.0
    test = permutation_test(
        (paired,), np.mean, permutation_type="samples", vectorized=True, n_resamples=resamples, rng=seed
    )
    return float(test.pvalue)


def wins_ties_losses(baseline: np.ndarray, method: np.ndarray) -> WinsTiesLosses:
    """Count over pairs of scores, `(pairs,)`: the same seed's, or the same task's."""
    paired, missing = _pairs(baseline, method)
    return WinsTiesLosses(int((paired > 0).sum()), int((paired == 0).sum()), int((paired < 0).sum()), missing)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values `(tests,)` adjusted for all of them (Holm 1979).

    A NaN stays NaN and counts as a test.
    """
    from statsmodels.stats.multitest import multipletests

    unknown = np.isnan(p)
    if unknown.all():
        return p.copy()
    adjusted = multipletests(np.where(unknown, 1.0, p), method="holm")[1]
    return np.where(unknown, np.nan, adjusted)


def almost_stochastic_order(
    baseline: np.ndarray,
    method: np.ndarray,
    *,
    comparisons: int = 1,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StochasticOrder:
    """Test whether the method is almost stochastically larger (Dror et al. 2019; del Barrio et al. 2018).

    Scores are `(runs,)` of each, not paired. The violation ratio is the share of the squared distance between the
    quantile functions that lies where the method's is the lower one, 1/2 where they are the same. eps_min is

        violation + z(1 - alpha/M) * its bootstrap standard deviation,

    cut to [0, 1], with M comparisons made; Dror et al. call the method better if it is below 1/2, and 0.2 is the
    stricter rule here. NaN with fewer than two runs of either.

    Its confidence is asymptotic. Of two methods with the same normal scores, one is claimed to be better in 8, 5, 3 and
    3 % of experiments with 3, 5, 10 and 20 runs (below 1/2: in 21, 20, 18 and 17 %); a gain of one standard deviation
    in 38, 46, 64 and 86 %. It speaks of runs on these dev examples.
    """
    from scipy.stats import norm

    confidence = 1 - alpha / comparisons
    low, high = (scores[np.isfinite(scores)] for scores in (baseline, method))
    if min(len(low), len(high)) < 2:
        return StochasticOrder(math.nan, math.nan, confidence)
    draw = np.random.default_rng(seed)
    violation = float(_violation(low[None], high[None])[0])
    drawn = _violation(*(s[draw.integers(len(s), size=(resamples, len(s)))] for s in (low, high)))
    bound = violation + float(norm.ppf(confidence)) * float(drawn.std(ddof=1))
    return StochasticOrder(violation, min(1.0, max(0.0, bound)), confidence)


def _violation(baseline: np.ndarray, method: np.ndarray) -> np.ndarray:
    """Return the violation ratio of each row, by exact integrals: `(resamples, n or m)` to `(resamples,)`."""
    n, m = baseline.shape[1], method.shape[1]
    steps = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))  # of both, in units of 1/(nm)
    width, at = np.diff(steps), steps[:-1]
    gap = np.sort(method, axis=1)[:, at // n] - np.sort(baseline, axis=1)[:, at // m]
    squared = width * gap**2
    distance = squared.sum(axis=1)
    violated = (squared * (gap < 0)).sum(axis=1)
    return _ratio(violated, distance, 0.5)


def expected_validation_performance(scores: np.ndarray) -> np.ndarray:
    """Return the expected best of 1, 2, … N runs drawn with replacement from these N, `(runs,)` (arXiv 1909.03004).

    Runs without a score are left out: the answer is as long as there are scores.
    """
    ordered = np.sort(scores[np.isfinite(scores)])
    n = len(ordered)
    rank = np.arange(1, n + 1)
    budget = rank[:, None]
    return np.asarray(((rank / n) ** budget - ((rank - 1) / n) ** budget) @ ordered)


# Power


def power(gain: float, seeds: int, seed_std: float, example_std: float = 0.0, *, alpha: float = ALPHA) -> float:
    """Return the chance that `difference` calls a true gain significant with so many paired seeds.

    seed_std, example_std: as in a `Difference`, in the gain's unit; without the latter it is the power of the paired
    t-test. Averaged over the spreads that so many seeds may show, chi-squared as normal differences have them. A spread
    measured on few seeds is itself uncertain: from 5, a 95 % interval of the true one is 0.6 to 2.9 times as large.
    """
    from scipy.special import chdtri, ndtr

    if seeds < 2:
        return math.nan
    error = math.sqrt(seed_std**2 / seeds + example_std**2)
    if error == 0:
        return 1.0 if gain else alpha
    nodes, weights = np.polynomial.legendre.leggauss(100)
    measured = seed_std**2 / seeds * chdtri(seeds - 1, (1 - nodes) / 2) / (seeds - 1)  # quantiles of what it may seem
    half_width = _half_width(alpha, seeds, measured, example_std**2, math.inf)
    found = ndtr((gain - half_width) / error) + ndtr((-gain - half_width) / error)
    return float(weights @ found) / 2


def seeds_needed(
    gain: float, seed_std: float, example_std: float = 0.0, *, chance: float = 0.8, alpha: float = ALPHA
) -> float:
    """Return the fewest paired seeds with which a true gain is found significant with this chance, at least 2.

    Infinity if a million are not enough, since the dev examples are too few; NaN if a deviation is. Arguments as
    `power`'s.
    """
    if not gain > 0:
        raise ValueError(f"gain is {gain}; it has to be positive")
    if math.isnan(seed_std + example_std):
        return math.nan

    def enough(seeds: int) -> bool:
        return power(gain, seeds, seed_std, example_std, alpha=alpha) >= chance

    if not enough(MOST_SEEDS):
        return math.inf
    too_few, fewest = 1, MOST_SEEDS
    while fewest - too_few > 1:
        middle = (too_few + fewest) // 2
        too_few, fewest = (too_few, middle) if enough(middle) else (middle, fewest)
    return fewest


def detectable_gain(
    seeds: int, seed_std: float, example_std: float = 0.0, *, chance: float = 0.8, alpha: float = ALPHA
) -> float:
    """Return the smallest true gain that so many paired seeds find significant with this chance.

    In the unit of the standard deviations; NaN with fewer than two seeds. Arguments as `power`'s.
    """
    from scipy.optimize import brentq

    error = math.sqrt(seed_std**2 / seeds + example_std**2) if seeds > 1 else math.nan
    if not error > 0:
        return error
    most = 4 * error
    while power(most, seeds, seed_std, example_std, alpha=alpha) < chance:
        most *= 2
    return float(brentq(lambda g: power(g, seeds, seed_std, example_std, alpha=alpha) - chance, 0.0, most))


# Resampled examples


@dataclass(frozen=True)
class _Resampled:
    """Differences of the pairs that have a score: on the examples as they are, and on resampled ones."""

    differences: np.ndarray  # (pairs,)
    resampled: np.ndarray  # (resamples, pairs)
    missing: int


def _resampled(
    labels: np.ndarray, baseline: np.ndarray, method: np.ndarray, metric: str | Metric, resamples: int, seed: int
) -> _Resampled:
    if baseline.shape[:2] != method.shape[:2] or baseline.shape[1] != len(labels):
        raise ValueError(
            f"predictions are (seeds, examples, …) of the same seeds and examples: {baseline.shape} of the baseline, "
            f"{method.shape} of the method, {len(labels)} labels"
        )
    finite = _finite(baseline) & _finite(method)
    runs = np.stack([_predictions(baseline)[finite], _predictions(method)[finite]])  # (2, seeds, examples)

    def scores(weights: np.ndarray) -> np.ndarray:
        of_runs = _weighted(metric, labels, runs.reshape(-1, len(labels)), weights)
        return of_runs.reshape(len(weights), *runs.shape[:2])

    as_they_are = scores(np.ones((1, len(labels))))[0]
    scored = np.isfinite(as_they_are).all(axis=0)  # a constant has no correlation
    runs = runs[:, scored]
    again = np.concatenate([scores(weights) for weights in _weights(len(labels), resamples, seed)])
    differences, _ = _pairs(*as_they_are[:, scored])
    return _Resampled(differences, again[:, 1] - again[:, 0], len(baseline) - len(differences))


def _predictions(outputs: np.ndarray) -> np.ndarray:
    if outputs.ndim == 2:
        return outputs
    return np.asarray(outputs.argmax(axis=2) if outputs.shape[2] > 1 else outputs[:, :, 0])


def _finite(outputs: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))


def _weights(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each example is drawn, `(some resamples, examples)` at a time; rows sum to the examples."""
    draw = np.random.default_rng(seed)
    left, most = resamples, max(1, CHUNK // examples)
    while left:
        rows = min(left, most)
        drawn = draw.integers(examples, size=(rows, examples)) + examples * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples).astype(float)
        left -= rows


def _weighted(metric: str | Metric, labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score `(runs, examples)` on examples repeated as the weights `(resamples, examples)` say: `(resamples, runs)`."""
    if isinstance(metric, str):
        return WEIGHTED[metric](labels, runs, weights)
    drawn = [np.repeat(np.arange(len(labels)), row.astype(int)) for row in weights]
    scores = [[metric(labels[rows], run[rows]) for run in runs] for rows in drawn]
    return np.array(scores).reshape(len(weights), len(runs))


# The metrics of `glue_pool.metrics` for all runs and resamples at once; arguments and result as `_weighted`'s.


def _accuracy(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(_sums(weights, runs == labels) / weights.sum(axis=1, keepdims=True))


def _f1(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    positive, predicted = labels == 1, runs == 1
    hits = _sums(weights, predicted & positive)
    either = _sums(weights, predicted) + _sums(weights, positive[None])
    return _ratio(2 * hits, either, 0.0)


def _acc_and_f1(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((_accuracy(labels, runs, weights) + _f1(labels, runs, weights)) / 2)


def _matthews_correlation(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For any number of classes (Gorodkin 2004), as scikit-learn does; 0 where all predictions or labels are one."""
    n = weights.sum(axis=1, keepdims=True)
    correct = _sums(weights, runs == labels)
    by_chance, of_labels, of_runs = np.zeros_like(correct), np.zeros_like(n), np.zeros_like(correct)
    for k in np.union1d(labels, runs):
        true, predicted = _sums(weights, (labels == k)[None]), _sums(weights, runs == k)
        by_chance += true * predicted
        of_labels += true**2
        of_runs += predicted**2
    scale = np.sqrt((n**2 - of_labels) * (n**2 - of_runs))
    return _ratio(correct * n - by_chance, scale, 0.0)


def _pearson(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    shares = weights / weights.sum(axis=1, keepdims=True)
    y, x = _standardised(labels[None]), _standardised(runs)
    mean_y, mean_x = _sums(shares, y), _sums(shares, x)
    var_y, var_x = _sums(shares, y**2) - mean_y**2, _sums(shares, x**2) - mean_x**2
    return _correlation(_sums(shares, x * y) - mean_x * mean_y, var_x, var_y)


def _spearmanr(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks that the repeated examples have, ties sharing their mean rank."""
    n = weights.sum(axis=1)
    middle = (n[:, None] + 1) / 2
    y = _ranks(labels, weights) - middle
    var_y = (weights * y**2).sum(axis=1) / n**3
    result = np.empty((len(weights), len(runs)))
    for r, run in enumerate(runs):
        x = _ranks(run, weights) - middle
        weighted = weights * x
        xy, var_x = ((weighted * other).sum(axis=1) / n**3 for other in (y, x))
        result[:, r] = _correlation(xy, var_x, var_y)
    return result


def _corr(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((_pearson(labels, runs, weights) + _spearmanr(labels, runs, weights)) / 2)


def _sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(weights @ values.T.astype(float))


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    """Return above / below, and `otherwise` where below is 0."""
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0))


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return rows of mean 0 and deviation 1, which keeps the moments accurate; a constant row is zeros."""
    values = values.astype(float)
    constant = np.ptp(values, axis=1, keepdims=True) == 0
    std = values.std(axis=1, keepdims=True)
    return np.where(constant, 0.0, (values - values.mean(axis=1, keepdims=True)) / np.where(constant, 1.0, std))


def _correlation(xy: np.ndarray, var_x: np.ndarray, var_y: np.ndarray) -> np.ndarray:
    """Return xy / sqrt(var_x var_y), NaN where either is a constant; the variances of what is not are of order 1."""
    varies = (var_x > SAME) & (var_y > SAME)
    return _ratio(xy, np.sqrt(np.where(varies, var_x * var_y, 0.0)), math.nan)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean rank of each value among the repeated examples, `(resamples, examples)`."""
    distinct, which = np.unique(values, return_inverse=True)
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(len(distinct)))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    return np.asarray((np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, which])


WEIGHTED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "acc_and_f1": _acc_and_f1,
    "matthews_correlation": _matthews_correlation,
    "pearson": _pearson,
    "spearmanr": _spearmanr,
    "corr": _corr,
}
