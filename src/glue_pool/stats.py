"""Statistics over seeds: how scores spread, what the difference of two methods is worth, how many seeds it takes.

Plain functions on NumPy arrays. Scores may be fractions or points; a difference is method minus baseline in the same
unit. Arrays of two methods are aligned: entry s of both is the same seed. A run without a score is NaN: it is left out
and counted, never dropped in silence.

`difference` is the verdict: it speaks of new seeds and new dev examples, and keeps what its interval and p promise from
5 seeds on, and errs on the safe side with fewer (tests/test_stats.py). What does not is only to be shown with its
MEASURED_COVERAGE. For many methods, `resample` all runs of a dev set once: `compare` is the same verdict on any two.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]  # labels and predictions, both (examples,), to a score
Numbers = float | np.ndarray

CONFIDENCE = 0.95
ALPHA = 0.05
RESAMPLES = 500  # the verdict errs as said from 200 on (tests/test_stats.py)
CLAIM_BELOW = 0.2  # Almost Stochastic Order: the method counts as better where the bound is below it
FEW_SEEDS = 5  # with fewer, the verdict's interval is a more careful one
MOST_SEEDS = 1_000_000
SAME = 1e-12  # numbers closer than this, relative to the scores, are equal
CHUNK = 2_000_000  # weights of resampled examples held at once: 8 MB
IN_CACHE = 32_000  # numbers that a loop goes over again and again

# How often 95 % intervals hold the true value, by number of runs: of one task, normal scores, where seeds dominate, the
# multi-bootstrap's worst case.
MEASURED_COVERAGE = {"multi_bootstrap": {5: 0.87, 20: 0.94}}

# A report has to start fast: scipy.special takes 0.15 s to import, so on use; scipy.stats 0.9 s and statsmodels 1 s, so
# not at all.


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
class Scores:
    """One method's scores on one dev set; entry s is that of seed s."""

    actual: np.ndarray  # (runs,), NaN for a run that has none: non-finite outputs, or a constant in a correlation
    resampled: np.ndarray  # (resamples, runs): on resampled examples, the same for all runs
    examples: int

    def of(self, runs: np.ndarray | Sequence[int]) -> "Scores":
        """Return the scores of these runs, given by their indices, in that order."""
        return Scores(self.actual[runs], self.resampled[:, runs], self.examples)


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
    """How far each method (column) is from being stochastically larger than each baseline (row).

    NaN on the diagonal, and where either has fewer than two runs.
    """

    violation: np.ndarray  # (methods, methods), the samples' own: 0 is dominance, 1 dominance by the baseline
    std: np.ndarray  # (methods, methods), over its bootstrap


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


# Scores on resampled examples


def resample(
    labels: np.ndarray, outputs: np.ndarray, metric: str | Metric, *, resamples: int = RESAMPLES, seed: int = 0
) -> Scores:
    """Score runs on the examples as they are, and on as many drawn with replacement, again and again.

    labels: `(examples,)`. outputs: `(runs, examples)` classes or scores, or `(runs, examples, outputs)` logits, in the
    labels' order. metric: a name in `glue_pool.metrics.METRICS`, or a callable. The seed decides on the examples drawn:
    the same for what is to be compared, another for each task of an `average`. Fastest with all runs of all methods at
    once, `Scores.of` then takes one method's.
    """
    if outputs.ndim < 2 or outputs.shape[1] != len(labels):
        raise ValueError(f"outputs are (runs, examples, …): {outputs.shape} for {len(labels)} labels")
    finite = np.flatnonzero(np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))
    runs = _predictions(outputs[finite])
    actual, resampled = np.full(len(outputs), np.nan), np.full((resamples, len(outputs)), np.nan)
    actual[finite] = _weighted(metric, labels, runs, np.ones((1, len(labels))))[0]
    done = 0
    for weights in _weights(len(labels), resamples, seed):
        resampled[done : done + len(weights), finite] = _weighted(metric, labels, runs, weights)
        done += len(weights)
    return Scores(actual, resampled, len(labels))


def average(of_tasks: Sequence[Scores]) -> Scores:
    """Return the mean over tasks of scores whose runs are aligned, each task resampled with a seed of its own.

    A run needs a score in every task. The examples are the smallest task's: no more degrees of freedom than it has.
    """
    actual = np.mean([task.actual for task in of_tasks], axis=0)
    resampled = np.mean([task.resampled for task in of_tasks], axis=0)
    return Scores(actual, resampled, min(task.examples for task in of_tasks))


def _predictions(outputs: np.ndarray) -> np.ndarray:
    if outputs.ndim == 2:
        return outputs
    return np.asarray(outputs.argmax(axis=2) if outputs.shape[2] > 1 else outputs[:, :, 0])


def _weights(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each example is drawn, `(some resamples, examples)` at a time; rows sum to the examples."""
    draw = np.random.default_rng(seed)
    left, most = resamples, max(1, CHUNK // examples)
    while left:
        rows = min(left, most)
        drawn = draw.integers(examples, size=(rows, examples))
        yield np.stack([np.bincount(row, minlength=examples) for row in drawn]).astype(np.float32)
        left -= rows


# Differences


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

    No method knows of what has not happened yet. Where both methods collapse in some runs, 5 seeds raise 2 % false
    alarms; where one does, in a tenth of its runs, the interval of 5 seeds misses the true mean 26 % of the time,
    mostly because none has collapsed so far, and that of 20 seeds 13 %. Show the collapsed runs beside it.
    """
    paired, resampled, missing = _aligned(baseline, method)
    pairs, examples = len(paired), baseline.examples
    if pairs < 2 or examples < 2:
        return _over_seeds(paired, missing, confidence)
    off = resampled - resampled.mean(axis=0)
    total = off.sum(axis=1)  # the covariances of all pairs of seeds add up to its variance
    shared = float((total @ total - np.vdot(off, off)) / ((len(off) - 1) * pairs * (pairs - 1)))
    if shared <= 0:
        return _over_seeds(paired, missing, confidence)
    return _interval(paired, _std(paired), missing, confidence, shared, examples)


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
    """Return `compare`'s verdict on outputs `(seeds, examples[, outputs])`, arguments as `resample`'s."""
    both = [resample(labels, outputs, metric, resamples=resamples, seed=seed) for outputs in (baseline, method)]
    return compare(*both, confidence=confidence)


def difference_over_seeds(baseline: np.ndarray, method: np.ndarray, *, confidence: float = CONFIDENCE) -> Difference:
    """Return the paired t-test over seeds: scores are `(seeds,)`.

    It speaks of new seeds on these very dev examples. On new examples too, it is called significant too often, unless
    what a seed does to an example outweighs what the examples do to both methods.
    """
    paired, missing = _pairs(baseline, method)
    return _over_seeds(paired, missing, confidence)


def _aligned(baseline: Scores, method: Scores) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the differences of the seeds that both have, `(pairs,)` and resampled, and how many lack one."""
    if baseline.examples != method.examples or len(baseline.resampled) != len(method.resampled):
        raise ValueError(
            f"{len(baseline.resampled)} resamples of {baseline.examples} examples for {len(method.resampled)} of "
            f"{method.examples}: both methods are scored on the same"
        )
    paired, missing = _pairs(baseline.actual, method.actual)
    resampled = method.resampled - baseline.resampled
    if missing:
        resampled = resampled[:, np.isfinite(baseline.actual) & np.isfinite(method.actual)]
    return paired, resampled, missing


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
    if (std := _std(paired)) > 0:
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
    return Difference(estimate, estimate - half, estimate + half, p, n, missing, std, math.sqrt(shared))


def _half_width(p: float, pairs: int, of_seeds: float, shared: float, examples: float) -> float:
    """Return that of the interval that misses p of the time, from both parts of the squared standard error."""
    from scipy.special import stdtrit

    if pairs < FEW_SEEDS:
        quantiles = stdtrit(pairs - 1, p / 2), stdtrit(_most(examples), p / 2)
        return math.sqrt(quantiles[0] ** 2 * of_seeds + quantiles[1] ** 2 * shared)
    return float(-stdtrit(_freedom(pairs, of_seeds, shared, examples), p / 2) * math.sqrt(of_seeds + shared))


def _p(size: float, pairs: int, of_seeds: float, shared: float, examples: float) -> float:
    """Return the p whose interval is so wide."""
    from scipy.special import stdtr

    t = size / math.sqrt(of_seeds + shared)
    if pairs >= FEW_SEEDS or shared == 0 or math.isnan(t):
        return float(2 * stdtr(_freedom(pairs, of_seeds, shared, examples), -t))
    # Howe's quantile lies between those of Student's t with either part's degrees of freedom
    ends = 2 * stdtr([pairs - 1, _most(examples)], -t)
    low, high = np.log(np.maximum([ends.min(), ends.max()], 1e-300)).tolist()
    while high - low > SAME:
        middle = (low + high) / 2
        wide = _half_width(math.exp(middle), pairs, of_seeds, shared, examples) > size
        low, high = (middle, high) if wide else (low, middle)
    return math.exp((low + high) / 2)


def _freedom(pairs: int, of_seeds: float, shared: float, examples: float) -> float:
    """Return Satterthwaite's degrees of freedom of both parts' sum."""
    share = of_seeds / (of_seeds + shared)
    return float(1 / (share**2 / (pairs - 1) + (1 - share) ** 2 / _most(examples)))


def _most(examples: float) -> float:
    return min(examples - 1, 1e9)


def _std(paired: np.ndarray) -> float:
    """Return the standard deviation, 0 where only rounding differs."""
    return 0.0 if np.ptp(paired) <= SAME * max(1.0, np.abs(paired).max()) else float(paired.std(ddof=1))


def multi_bootstrap(baseline: Scores, method: Scores, *, confidence: float = CONFIDENCE, seed: int = 0) -> Difference:
    """Return the percentile interval of the multi-bootstrap (MultiBERTs, arXiv 2106.16163); arguments as `compare`'s.

    Every resample draws seeds, the same for both methods, and examples, the same for all runs. That takes the seeds'
    variance for S/(S-1) times too small and the interaction's for up to three times too large (Owen 2007, "The
    pigeonhole bootstrap"). So it is no verdict: of null experiments with 5 seeds it calls 14 % significant where seeds
    dominate and 2 % where the examples decide about both methods alike; with 20 seeds 6 % and 2 %.
    """
    paired, resampled, missing = _aligned(baseline, method)
    pairs, resamples = len(paired), len(resampled)
    if pairs < 2:
        return _over_seeds(paired, missing, confidence)
    means = np.vecdot(resampled, _drawn_seeds(pairs, resamples, seed)) / pairs
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * float(tail + 1) / (resamples + 1))
    return Difference(float(paired.mean()), float(low), float(high), p, pairs, missing, _std(paired))


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
    paired, _ = _pairs(baseline, method)
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
    paired, missing = _pairs(baseline, method)
    return WinsTiesLosses(int((paired > 0).sum()), int((paired == 0).sum()), int((paired < 0).sum()), missing)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values `(tests,)` adjusted for all of them (Holm 1979).

    A NaN stays NaN and counts as a test.
    """
    order = np.argsort(p)  # a NaN is the last
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def almost_stochastic_order(
    scores: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0
) -> StochasticOrder:
    """Test which methods are almost stochastically larger than which (Dror et al. 2019; del Barrio et al. 2018).

    scores: each method's, `(runs,)`, not paired. The violation ratio is the share of the squared distance between the
    quantile functions that lies where the method's is the lower one, 1/2 where they are the same. eps_min is

        violation + z(1 - alpha/M) * its bootstrap standard deviation,

    cut to [0, 1], with M comparisons made; Dror et al. call the method better if it is below 1/2, and 0.2 is the
    stricter rule here. All comparisons of a method share the bootstrap of its runs.

    Its confidence is asymptotic. Of two methods with the same normal scores, one is claimed to be better in 8, 5, 3 and
    3 % of experiments with 3, 5, 10 and 20 runs (below 1/2: in 21, 20, 18 and 17 %); a gain of one standard deviation
    in 38, 46, 64 and 86 %. It speaks of runs on these dev examples.
    """
    draw = np.random.default_rng(seed)
    runs = [of[np.isfinite(of)] for of in scores]
    drawn = [of[draw.integers(len(of), size=(resamples, len(of)))] if len(of) > 1 else None for of in runs]
    ordered = [
        None if of is None else np.sort(np.vstack([of_runs, of])) for of_runs, of in zip(runs, drawn, strict=True)
    ]
    violation, std = np.full((2, len(runs), len(runs)), np.nan)
    for m, method in enumerate(ordered):
        for b, baseline in enumerate(ordered[:m]):
            if baseline is not None and method is not None:
                ratios = _violation(baseline, method)  # the first of the runs themselves
                violation[b, m], violation[m, b] = ratios[0], 1 - ratios[0]
                std[b, m] = std[m, b] = ratios[1:].std(ddof=1)
    return StochasticOrder(violation, std)


def _violation(baseline: np.ndarray, method: np.ndarray) -> np.ndarray:
    """Return the violation ratio of each row of sorted scores, by exact integrals: `(rows, n or m)` to `(rows,)`."""
    width, of_baseline, of_method = _steps(baseline.shape[1], method.shape[1])
    gap = method.take(of_method, axis=1) - baseline.take(of_baseline, axis=1)
    distance = gap**2 @ width
    violated = np.minimum(gap, 0) ** 2 @ width
    return _ratio(violated, distance, 0.5)


@cache
def _steps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the widths of the steps of two quantile functions, in units of 1/(nm), and which of n and m is there."""
    steps = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))
    return np.diff(steps).astype(float), steps[:-1] // m, steps[:-1] // n


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


# Metrics of weighted examples


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
    n = weights.sum(axis=1, keepdims=True, dtype=float)
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
    shares = weights / weights.sum(axis=1, keepdims=True, dtype=float)
    y, x = _standardised(labels[None]), _standardised(runs)
    mean_y, mean_x = _sums(shares, y), _sums(shares, x)
    var_y, var_x = _sums(shares, y**2) - mean_y**2, _sums(shares, x**2) - mean_x**2
    return _correlation(_sums(shares, x * y) - mean_x * mean_y, var_x, var_y)


def _spearmanr(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks that the repeated examples have, ties sharing their mean rank.

    Walk through the examples from a run's lowest score to its highest, x the weight and y the labels' centred ranks so
    far. A group of ties is one step, its mean rank is the middle of its x plus 1/2, and y ends where it starts, at 0:
    the covariance of the ranks is the area between walk and axis, by the shoelace formula a sum of cross products.
    """
    weights = weights.astype(float)
    n = weights.sum(axis=1)
    ranks = _ranks(labels, weights)
    steps = weights + 1j * weights * (ranks - (n[:, None] + 1) / 2)
    groups = [_groups(run) for run in runs]
    untied = _rank_variance(weights)
    xy, var_x = np.empty((len(weights), len(runs))), np.empty((len(weights), len(runs)))
    rows = max(1, IN_CACHE // len(labels))
    walk = np.empty((rows, len(labels)), complex)
    for start in range(0, len(weights), rows):
        chunk = slice(start, start + rows)
        of_chunk = steps[chunk]
        for r, (order, ends) in enumerate(groups):
            at = walk[: len(of_chunk)]
            np.take(of_chunk, order, axis=1, out=at, mode="clip")
            np.cumsum(at, axis=1, out=at)
            if len(ends) < len(order):
                at = at.take(ends, axis=1)
                var_x[chunk, r] = _rank_variance(np.diff(at.real, axis=1, prepend=0.0))
            else:
                var_x[chunk, r] = untied[chunk]
            xy[chunk, r] = np.vecdot(at[:, :-1], at[:, 1:]).imag / 2
    var_y = _rank_variance(_counts(labels, weights))
    return _correlation(xy / n[:, None] ** 3, var_x, var_y[:, None])


def _corr(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((_pearson(labels, runs, weights) + _spearmanr(labels, runs, weights)) / 2)


def _sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weighted sums, in 32 bits where the weights are: exact for counts of up to 16 million examples."""
    return np.asarray(weights @ values.T.astype(weights.dtype), dtype=float)


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


def _groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values' order, and where in it each group of ties ends."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))


def _counts(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how often each distinct value comes, in their order: `(resamples, distinct values)`."""
    order, ends = _groups(values)
    return np.diff(np.cumsum(weights[:, order], axis=1)[:, ends], axis=1, prepend=0.0)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean rank of each value among the repeated examples, `(resamples, examples)`."""
    counts = _counts(values, weights)
    _, which = np.unique(values, return_inverse=True)
    return np.asarray((np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, which])


def _rank_variance(counts: np.ndarray) -> np.ndarray:
    """Return that of the ranks over n^2, where the ties are so many: `(resamples, groups)` to `(resamples,)`."""
    return np.asarray((1 - np.vecdot(counts**2, counts) / counts.sum(axis=1) ** 3) / 12)


WEIGHTED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "acc_and_f1": _acc_and_f1,
    "matthews_correlation": _matthews_correlation,
    "pearson": _pearson,
    "spearmanr": _spearmanr,
    "corr": _corr,
}
