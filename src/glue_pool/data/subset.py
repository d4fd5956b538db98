"""Subsets of the train split: stratified, nested, and the same for every method."""

from collections.abc import Sequence

import numpy as np

from glue_pool.errors import UserError


def draw(
    labels: np.ndarray,
    size: int | None,
    seed: int,
    *,
    score_range: Sequence[float] | None = None,
    bins: int = 5,
) -> np.ndarray:
    """Draw `size` row positions, int64, in the order drawn; None takes all rows in their order.

    labels: `(rows,)`, class ids or scores.
    Strata are the classes or, given `score_range`, `bins` equal-width bins of the score. For one
    seed there is one order of all rows, of which a subset is the first `size`, so the smaller
    subset is the beginning of the larger one. Every stratum is in it as soon as `size` is at least
    the number of strata. No stratum has a whole row more than its proportional share, and none a
    whole row less once every stratum's share is a row (with two strata: at any size).

    Raises UserError where size is below 1 or above the number of rows.
    """
    check(len(labels), size)
    if size is None:
        return np.arange(len(labels))
    strata = labels
    if score_range is not None:
        low, high = score_range
        strata = np.minimum(((labels - low) / (high - low) * bins).astype(int), bins - 1)
    members = [_shuffled(np.flatnonzero(strata == s), seed, int(s)) for s in np.unique(strata)]
    turns = _turns([len(positions) for positions in members], size)
    drawn = np.empty(size, dtype=np.int64)
    for stratum, positions in enumerate(members):
        places = np.flatnonzero(turns == stratum)
        drawn[places] = positions[: len(places)]
    return drawn


def check(rows: int, size: int | None) -> None:
    """Raise UserError where a subset of this size can't be drawn from so many rows."""
    if size is not None and not 1 <= size <= rows:
        raise UserError(f"subset.size={size}: the train split has {rows} rows to draw from")


def _shuffled(positions: np.ndarray, seed: int, stratum: int) -> np.ndarray:
    # raw bits are the one stream that NumPy promises never to change
    bits = np.random.PCG64([seed, stratum]).random_raw(len(positions))
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
