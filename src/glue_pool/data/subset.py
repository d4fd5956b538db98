"""Subsets of the train split, stratified and nested, and the dev rows that are held out of it."""

from collections.abc import Sequence

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.errors import UserError
from glue_pool.tasks import TaskConfig

BINS = 5  # strata of scores
SMALL = 20  # bins of fewer than one row in so many are joined with the next
RARE = 50  # a label set that fewer than one row in so many has is pooled with the other rare ones


def draw(
    labels: np.ndarray,
    size: int | None,
    seed: int,
    *,
    score_range: Sequence[float] | None = None,
    held_out: bool = False,
) -> np.ndarray:
    """Draw `size` row positions, int64, in the order drawn; None takes all rows in their order.

    labels: `(rows,)` class ids or scores, or `(rows, labels)` of 0 and 1. held_out: from another stream of the seed.
    Strata are those of `strata`. For one seed there is one order of all rows, of which a subset is the first `size`, so
    the smaller subset is the beginning of the larger one. Every stratum is in it as soon as `size` is at least the
    number of strata. No stratum has a whole row more than its proportional share, and none a whole row less once every
    stratum's share is a row (with two strata: at any size).

    Raises UserError where size is below 1 or above the number of rows.
    """
    check(len(labels), size)
    if size is None:
        return np.arange(len(labels))
    of_rows = strata(labels, score_range)
    members = [_shuffled(np.flatnonzero(of_rows == s), [seed, int(s), *[1] * held_out]) for s in np.unique(of_rows)]
    turns = _turns([len(positions) for positions in members], size)
    drawn = np.empty(size, dtype=np.int64)
    for stratum, positions in enumerate(members):
        places = np.flatnonzero(turns == stratum)
        drawn[places] = positions[: len(places)]
    return drawn


def strata(labels: np.ndarray, score_range: Sequence[float] | None = None) -> np.ndarray:
    """Return each row's stratum, `(rows,)` whole numbers.

    Classes are strata. Scores have `BINS` of equal width in their range, or of equally many rows without one, those
    with few rows joined with the next. Label sets are strata by themselves, but rare ones are one together (ours).
    """
    if labels.ndim == 2:
        _, which, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
        which = which.reshape(-1)
        return np.where(counts[which] * RARE < len(labels), len(counts), which)
    if labels.dtype.kind != "f":
        return labels
    if score_range is None:
        edges = np.unique(np.quantile(labels, np.linspace(0, 1, BINS + 1)[1:-1]))
        below, above = np.searchsorted(edges, labels), np.searchsorted(edges, labels, side="right")
        return _joined(below + above, 2 * len(edges) + 1)  # a score that many rows have is a bin by itself
    low, high = score_range
    return _joined(np.minimum(((labels - low) / (high - low) * BINS).astype(int), BINS - 1), BINS)


def _joined(bins: np.ndarray, n: int) -> np.ndarray:
    """Join neighbouring ones of n bins until each has one row in `SMALL`."""
    counts = np.bincount(bins, minlength=n)
    least = len(bins) / SMALL
    joined, first, rows = np.arange(n), 0, 0
    for i in range(n):
        joined[i] = first
        rows += counts[i]
        if rows >= least and counts[i + 1 :].sum() >= least:
            first, rows = i + 1, 0
    return np.asarray(joined[bins])


def hold_out(rows: Rows, task: TaskConfig) -> tuple[Rows, Rows]:
    """Return what is left to train on of a train split, and the task's stratified dev share; both in their order.

    Raises UserError where one of them would be empty.
    """
    assert task.dev_share is not None
    size = round(task.dev_share * len(rows))
    if not 0 < size < len(rows):
        raise UserError(
            f"task.dev_share={task.dev_share:g}: of {len(rows)} rows that is {size}; a run needs rows to train on and "
            "to evaluate",
            key="task.dev_share",
        )
    drawn = np.sort(draw(rows.labels, size, task.dev_seed, score_range=task.score_range, held_out=True))
    return rows.select(np.setdiff1d(np.arange(len(rows)), drawn)), rows.select(drawn)


def check(rows: int, size: int | None) -> None:
    """Raise UserError where a subset of this size can't be drawn from so many rows."""
    if size is not None and not 1 <= size <= rows:
        raise UserError(f"subset.size={size}: the train split has {rows} rows to draw from")


def _shuffled(positions: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    # raw bits are the one stream that NumPy promises never to change
    bits = np.random.PCG64(list(seed)).random_raw(len(positions))
    return positions[np.argsort(bits, kind="stable")]


def _turns(counts: Sequence[int], size: int) -> np.ndarray:
    """Say which stratum gives each of the first `size` rows: `(size,)` indices into counts.

    A stratum's i-th row may come once its share of the turns exceeds i - 1 rows and is due before
    the share exceeds i; the row that is due first is next. That keeps every stratum within a row
    of its share (Tijdeman's chairman assignment, 1980), except that each stratum's first row
    comes before any second one.
    """
    total = sum(counts)
    strata = range(len(counts))
    given = [0] * len(counts)
    turns = np.empty(size, dtype=np.int64)
    unseen = sorted(strata, key=lambda s: -counts[s])
    for turn in range(size):
        if turn < len(unseen):
            chosen = unseen[turn]
        else:
            allowed = (s for s in strata if given[s] * total < (turn + 1) * counts[s])
            chosen = min(allowed, key=lambda s: (given[s] + 1) / counts[s])
        given[chosen] += 1
        turns[turn] = chosen
    return turns
