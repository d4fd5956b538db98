"""The metrics on weighted examples, for all runs and resamples at once."""

import math

import numpy as np

SAME = 1e-12  # numbers closer than this, relative to the scores, are equal
IN_CACHE = 32_000  # numbers that a loop goes over again and again


# Arguments and results as `Metric.weighted`'s.


def accuracy(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    return np.asarray(_sums(weights, runs == labels) / weights.sum(axis=1, keepdims=True))


def f1(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    true, predicted = labels == positive, runs == positive
    hits = _sums(weights, predicted & true)
    either = _sums(weights, predicted) + _sums(weights, true[None])
    return ratio(2 * hits, either, 0.0)


def acc_and_f1(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    return np.asarray((accuracy(labels, runs, weights) + f1(labels, runs, weights, positive)) / 2)


def matthews_correlation(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
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
    return ratio(correct * n - by_chance, scale, 0.0)


def pearson(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    shares = weights / weights.sum(axis=1, keepdims=True, dtype=float)
    y, x = _standardised(labels[None]), _standardised(runs)
    mean_y, mean_x = _sums(shares, y), _sums(shares, x)
    var_y, var_x = _sums(shares, y**2) - mean_y**2, _sums(shares, x**2) - mean_x**2
    return _correlation(_sums(shares, x * y) - mean_x * mean_y, var_x, var_y)


def spearmanr(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
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


def corr(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    return np.asarray((pearson(labels, runs, weights) + spearmanr(labels, runs, weights)) / 2)


def mean_squared_error(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    return _mean(weights, (labels - runs.astype(float)) ** 2)


def log_loss(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    if labels.ndim == 2:
        true = np.where(labels == 1, runs, 1 - runs)
    else:
        true = runs[:, np.arange(len(labels)), labels][..., None]
    return _mean(weights, -np.log(np.clip(true, np.finfo(float).eps, 1)).mean(axis=2))


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(weights.astype(float) @ values.T / weights.sum(axis=1, keepdims=True, dtype=float))


def _sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weighted sums, in 32 bits where the weights are: exact for counts of up to 16 million examples."""
    return np.asarray(weights @ values.T.astype(weights.dtype), dtype=float)


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
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
    return ratio(xy, np.sqrt(np.where(varies, var_x * var_y, 0.0)), math.nan)


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
