"""The metrics on weighted examples, for all runs and resamples at once.

Arguments and results are `Metric.weighted`'s: labels, all runs' predictions, weights and the positive class. A run's
values are the same to the last bit whatever runs are beside it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from glue_pool.metrics.plain import all_right, curves

SAME = 1e-12  # numbers closer than this, relative to the scores, are equal
IN_CACHE = 32_000  # numbers that a loop goes over again and again
AT_ONCE = 32  # resamples at least, where each is a column


def accuracy(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The share of rows with the right class or label set."""
    right = all_right(runs == labels, labels)
    return np.asarray(_sums(weights, right) / weights.sum(axis=1, keepdims=True))


def balanced_accuracy(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The mean recall of the classes that are drawn."""
    total, classes = np.zeros((len(weights), len(runs))), np.zeros((len(weights), 1))
    for k in np.unique(labels):
        true = _sums(weights, (labels == k)[None])
        total += ratio(_sums(weights, (runs == k) & (labels == k)), true, 0.0)
        classes += true > 0
    return np.asarray(total / classes)


def f1(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The positive class's F1; 0 where it is neither drawn nor predicted."""
    hits, either = _hits(labels == positive, runs == positive, weights)
    return ratio(2 * hits, either, 0.0)


def f1_macro(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The mean F1 of the classes that are drawn or predicted, in each resample and run its own, or of every label."""
    total, classes = np.zeros((2, len(weights), len(runs)))
    every = labels.ndim == 2
    for k in range(labels.shape[1]) if every else np.union1d(labels, runs):
        of_k = (labels[:, k] == 1, runs[..., k] == 1) if every else (labels == k, runs == k)
        hits, either = _hits(*of_k, weights)
        total += ratio(2 * hits, either, 0.0)
        classes += every or either > 0
    return np.asarray(total / classes)


def f1_micro(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The F1 of all decisions together: of classes the accuracy."""
    if labels.ndim == 1:
        return accuracy(labels, runs, weights)
    hits = _sums(weights, ((runs == 1) & (labels == 1)).sum(axis=-1))
    either = _sums(weights, runs.sum(axis=-1)) + _sums(weights, labels.sum(axis=-1)[None])
    return ratio(2 * hits, either, 0.0)


def acc_and_f1(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The mean of accuracy and F1."""
    return np.asarray((accuracy(labels, runs, weights) + f1(labels, runs, weights, positive)) / 2)


def acc_and_f1_macro(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The mean of accuracy and macro F1."""
    return np.asarray((accuracy(labels, runs, weights) + f1_macro(labels, runs, weights)) / 2)


def matthews_correlation(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """Of any number of classes (Gorodkin 2004), as in scikit-learn; 0 where all predictions or labels are one."""
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


def roc_auc(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The share of pairs with and without the class that are in order, ties half, averaged as `plain.roc_auc`."""
    return _of_curves(_Walk.area, labels, runs, weights, positive)


def average_precision(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The mean precision at the scores of the rows with the class, averaged as `plain.average_precision`."""
    return _of_curves(_Walk.precision, labels, runs, weights, positive)


def log_loss(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The cross-entropy, of probabilities cut as scikit-learn does."""
    eps, losses = np.finfo(runs.dtype).eps, np.empty((len(runs), len(labels)))
    for run, of_run in zip(runs, losses, strict=True):  # one at a time, for less memory
        if labels.ndim == 2:
            cut = np.clip(np.where(labels == 1, run, 1 - run), eps, 1 - eps)
            of_run[:] = -np.log(cut).mean(axis=-1)
        else:
            of_run[:] = -np.log(np.clip(run[np.arange(len(labels)), labels], eps, 1 - eps))
    return _means(weights, losses)


def mean_squared_error(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """The mean squared difference of the scores."""
    return _means(weights, (runs.astype(float) - labels) ** 2)


def pearson(labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int = 1) -> np.ndarray:
    """Pearson's correlation; NaN with a constant."""
    shares = weights / weights.sum(axis=1, keepdims=True, dtype=float)
    y = _standardised(labels[None])
    mean_y, square_y = (shares @ np.concatenate([y, y**2]).T).T[:, :, None]
    moments = np.empty((3, len(weights), len(runs)))
    for run, x in enumerate(_standardised(runs)[:, None]):  # one at a time: see above
        moments[..., run] = (shares @ np.concatenate([x, x**2, x * y]).T).T
    mean_x, square_x, xy = moments
    return _correlation(xy - mean_x * mean_y, square_x - mean_x**2, square_y - mean_y**2)


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
    """The mean of both correlations."""
    return np.asarray((pearson(labels, runs, weights) + spearmanr(labels, runs, weights)) / 2)


def _sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weighted sums, in 32 bits where the weights are: exact for counts of up to 16 million examples."""
    return np.asarray(weights @ values.T.astype(weights.dtype), dtype=float)


def _means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the weighted means of values that are no counts, in 64 bits, one run at a time: see above."""
    weights, sums = weights.astype(float), np.empty((len(weights), len(values)))
    for run, of_run in enumerate(values):
        sums[:, run] = weights @ of_run
    return np.asarray(sums / weights.sum(axis=1, keepdims=True))


def _hits(true: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how often a class is rightly predicted, and how often it is predicted plus how often it is true."""
    return _sums(weights, predicted & true), _sums(weights, predicted) + _sums(weights, true[None])


def _of_curves(
    of: Callable[["_Walk", np.ndarray, np.ndarray], np.ndarray],
    labels: np.ndarray,
    runs: np.ndarray,
    weights: np.ndarray,
    positive: int,
) -> np.ndarray:
    """Return the mean over the curves that have rows with and without in a resample; NaN where there is none."""
    total, drawn = np.zeros((len(weights), len(runs))), np.zeros((len(weights), 1))
    at_once = max(AT_ONCE, IN_CACHE // len(labels))
    for true, scores in curves(labels, runs, positive):
        if true.all() or not true.any():
            continue
        walks = [_Walk.through(run[true], run[~true]) for run in scores]
        for start in range(0, len(weights), at_once):
            chunk = slice(start, start + at_once)
            rows = weights[chunk].T.astype(float)
            there, others = rows[true], rows[~true]
            both = there.any(axis=0) & others.any(axis=0)
            drawn[chunk, 0] += both
            for r, walk in enumerate(walks):
                total[chunk, r] += np.where(both, of(walk, there, others), 0.0)
    return ratio(total, np.broadcast_to(drawn, total.shape), math.nan)


@dataclass(frozen=True)
class _Walk:
    """From a run's lowest score to its highest: what each row with the class or label meets of the others.

    The others between the same two rows are one step. Weights are `(rows, resamples)`.
    """

    order: np.ndarray  # of the rows with it
    order_of_others: np.ndarray
    steps: np.ndarray  # where in that one starts
    below: np.ndarray  # steps below each row with it
    up_to: np.ndarray  # and those not above it
    rows_below: np.ndarray  # rows with it below it

    @staticmethod
    def through(there: np.ndarray, others: np.ndarray) -> "_Walk":
        """Return that through the scores of the rows with it and of the others, both `(rows,)`."""
        order, order_of_others = np.argsort(there), np.argsort(others)
        there, others = there[order], others[order_of_others]
        between = np.searchsorted(there, others, "left") + np.searchsorted(there, others, "right")
        steps = np.flatnonzero(np.diff(between, prepend=-1))
        below, up_to = (np.searchsorted(others[steps], there, side) for side in ("left", "right"))
        return _Walk(order, order_of_others, steps, below, up_to, np.searchsorted(there, there))

    def area(self, there: np.ndarray, others: np.ndarray) -> np.ndarray:
        passed = self._passed(others)
        twice = passed.take(self.below, axis=0) + passed.take(self.up_to, axis=0)
        in_order = np.einsum("er,er->r", there.take(self.order, axis=0), twice) / 2
        return ratio(in_order, there.sum(axis=0) * others.sum(axis=0), 0.0)

    def precision(self, there: np.ndarray, others: np.ndarray) -> np.ndarray:
        ordered, passed = there.take(self.order, axis=0), self._passed(others)
        true = there.sum(axis=0) - _running(ordered).take(self.rows_below, axis=0)
        false = others.sum(axis=0) - passed.take(self.below, axis=0)
        return ratio(np.einsum("er,er->r", ordered, ratio(true, true + false, 0.0)), there.sum(axis=0), 0.0)

    def _passed(self, others: np.ndarray) -> np.ndarray:
        """Return how many others there are in the first 0, 1, … steps."""
        return _running(np.add.reduceat(others.take(self.order_of_others, axis=0), self.steps, axis=0))


def _running(weights: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, … rows."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    """Return above / below, and `otherwise` where below is 0."""
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0))


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return rows of mean 0 and deviation 1, which keeps the moments accurate; a constant row is zeros."""
    largest = np.abs(values).max(axis=1, keepdims=True).astype(float)
    values = values / np.where(largest > 0, largest, 1.0)  # so that no square is too large or too small for a float
    constant = np.ptp(values, axis=1, keepdims=True) == 0
    centred = values - values.mean(axis=1, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, std))


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
