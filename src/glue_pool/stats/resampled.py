"""Scores on the dev examples as they are, and on examples drawn from them again and again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from glue_pool import metrics

Metric = Callable[[np.ndarray, np.ndarray], float]  # labels and predictions, both (examples,), to a score

RESAMPLES = 500  # the verdict errs as said from 200 on (tests/test_stats.py)
CHUNK = 2_000_000  # weights of resampled examples held at once: 8 MB


@dataclass(frozen=True)
class Scores:
    """One method's scores on one dev set; entry s is that of seed s."""

    actual: np.ndarray  # (runs,), NaN for a run that has none: non-finite outputs, or a constant in a correlation
    resampled: np.ndarray  # (resamples, runs): on resampled examples, the same for all runs
    examples: int  # that were drawn independently: the groups, where rows form some; degrees of freedom are one fewer

    def of(self, runs: np.ndarray | Sequence[int]) -> "Scores":
        """Return the scores of these runs, given by their indices, in that order."""
        return Scores(self.actual[runs], self.resampled[:, runs], self.examples)


def resample(
    labels: np.ndarray,
    outputs: np.ndarray,
    metric: str | Metric,
    *,
    positive: int = 1,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score runs on the examples as they are, and on as many drawn with replacement, again and again.

    labels: `(examples,)`, or `(examples, labels)` of 0 and 1. outputs: `(runs, examples)` classes or scores, or
    `(runs, examples, outputs)` logits, in the labels' order; a metric of probabilities or label sets takes logits.
    metric: a name in `glue_pool.metrics.METRICS`, whose positive class is as told, or a callable. groups: `(examples,)`
    whole numbers, equal where examples belong together, as rows on one premise do; they are drawn as one, so a resample
    may have more or fewer examples. None takes all for independent. The seed decides on the examples drawn: the same
    for what is to be compared, another for each task of an `average`. Fastest with all runs of all methods at once,
    `Scores.of` then takes one method's.
    """
    if outputs.ndim < 2 or outputs.shape[1] != len(labels):
        raise ValueError(f"outputs are (runs, examples, …): {outputs.shape} for {len(labels)} labels")
    if groups is not None and groups.shape != (len(labels),):
        raise ValueError(f"groups are one for each example: {groups.shape} for {len(labels)} labels")
    together = np.arange(len(labels)) if groups is None else _in_order(groups)
    finite = np.flatnonzero(np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))
    runs = _predictions(labels, outputs[finite], metric)
    actual, resampled = np.full(len(outputs), np.nan), np.full((resamples, len(outputs)), np.nan)
    actual[finite] = _score(metric, labels, runs, np.ones((1, len(labels))), positive)[0]
    done = 0
    for weights in _weights(together, resamples, seed):
        resampled[done : done + len(weights), finite] = _score(metric, labels, runs, weights, positive)
        done += len(weights)
    return Scores(actual, resampled, int(together.max()) + 1)


def average(of_tasks: Sequence[Scores]) -> Scores:
    """Return the mean over tasks of scores whose runs are aligned, each task resampled with a seed of its own.

    A run needs a score in every task. The examples are the smallest task's: no more degrees of freedom than it has.
    """
    actual = np.mean([task.actual for task in of_tasks], axis=0)
    resampled = np.mean([task.resampled for task in of_tasks], axis=0)
    return Scores(actual, resampled, min(task.examples for task in of_tasks))


def _predictions(labels: np.ndarray, outputs: np.ndarray, metric: str | Metric) -> np.ndarray:
    """Return what the metric takes; a callable takes what accuracy or a correlation does."""
    named = metrics.METRICS[metric if isinstance(metric, str) else "accuracy"]
    if outputs.ndim == 2:
        if labels.ndim == 2 or named.takes == "probabilities":
            raise ValueError(f"probabilities and label sets are of logits (runs, examples, outputs): {outputs.shape}")
        return outputs
    return metrics.taken(named, outputs, metrics.kind_of(labels, outputs))


def _score(
    metric: str | Metric, labels: np.ndarray, runs: np.ndarray, weights: np.ndarray, positive: int
) -> np.ndarray:
    """Score the runs on examples repeated as the weights `(resamples, examples)` say: `(resamples, runs)`."""
    if isinstance(metric, str):
        return metrics.METRICS[metric].weighted(labels, runs, weights, positive)
    drawn = [np.repeat(np.arange(len(labels)), row.astype(int)) for row in weights]
    scores = [[metric(labels[rows], run[rows]) for run in runs] for rows in drawn]
    return np.array(scores).reshape(len(weights), len(runs))


def _in_order(groups: np.ndarray) -> np.ndarray:
    """Number the groups from 0 in the order that they come in: groups of one are drawn as examples are."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[which])


def _weights(groups: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each example's group is drawn, `(some resamples, examples)` at a time; as many as there are."""
    draw = np.random.default_rng(seed)
    n = int(groups.max()) + 1
    left, most = resamples, max(1, CHUNK // len(groups))
    while left:
        rows = min(left, most)
        drawn = draw.integers(n, size=(rows, n))
        yield np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float32)[:, groups]
        left -= rows
