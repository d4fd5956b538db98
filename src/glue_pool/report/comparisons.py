"""Every pair of rows on one task: the difference, and the other ways to look at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import combinations

import numpy as np

from glue_pool import stats
from glue_pool.report.kept import Kept, digest
from glue_pool.report.panels import Row
from glue_pool.stats import Difference, Scores

PARTS, COUNTS = ([field.name for field in fields(of)] for of in (Difference, stats.WinsTiesLosses))
# seeds, rising, and their scores as in a Pair; None for seeds: one run, which is the same whatever the seed
OfSeeds = tuple[list[int] | None, Scores]


@dataclass(frozen=True)
class Pair:
    """A baseline's and a method's scores of the same seeds, as shown, but turned so that higher is better."""

    baseline: Scores
    method: Scores
    lacking: int  # seeds that only one of them has

    def difference(self) -> Difference:
        """Return the verdict: method minus baseline, so that positive is better."""
        difference = stats.compare(self.baseline, self.method)
        return replace(difference, missing=difference.missing + self.lacking)


@dataclass(frozen=True)
class Comparison:
    """Two rows on a column, the first being the baseline: what reads this turns it round where it has to."""

    baseline: Row
    method: Row
    difference: Difference
    pair_p: float  # corrected for all pairs of rows of this column
    by_seeds: Difference
    bootstrap: Difference
    permutation_p: float
    counts: stats.WinsTiesLosses
    improvement: float  # the share of pairs of any of their runs in which the method is better
    violation: float  # of Almost Stochastic Order
    violation_std: float


def pair(baseline: OfSeeds, method: OfSeeds) -> Pair | None:
    """Return both rows' scores of the seeds that both have; None where they have none.

    A row whose one run is the same whatever the seed has every seed that the other has.
    """
    if baseline[0] == method[0]:
        return Pair(baseline[1], method[1], 0)
    common = common_seeds([baseline, method])
    if not common:
        return None
    lacking = [set(of) - set(common) for of, _ in (baseline, method) if of is not None]
    return Pair(of_seeds(baseline, common), of_seeds(method, common), len(set().union(*lacking)))


def common_seeds(rows: Sequence[OfSeeds]) -> list[int] | None:
    """Return the seeds that all rows have, rising; None where every row is the same whatever the seed."""
    named = [set(seeds) for seeds, _ in rows if seeds is not None]
    return sorted(set.intersection(*named)) if named else None


def of_seeds(row: OfSeeds, wanted: Sequence[int] | None) -> Scores:
    """Return a row's scores of these seeds, in their order; None: of its one run."""
    seeds, scores = row
    if wanted is None:
        return scores
    return scores.of([0] * len(wanted) if seeds is None else [seeds.index(seed) for seed in wanted])


def all_pairs(
    of_rows: Mapping[Row, OfSeeds],
    kept: Kept,
    paired: Callable[[Row, Row], Pair | None] | None = None,
    names: Mapping[Row, str] | None = None,
) -> list[Comparison]:
    """Compare every two rows of a column; paired: what pairs two of them, if not the seeds that both have.

    names: of what each row's part in its pairs is made, if not of its seeds and scores.
    """
    actual = [scores.actual for _, scores in of_rows.values()]
    order = kept.numbers(digest("order", actual), lambda: _order(actual)).reshape(2, len(actual), len(actual))
    if names is None:
        names = {row: digest(seeds, of.actual, of.resampled, of.examples) for row, (seeds, of) in of_rows.items()}

    def compared(baseline: Row, method: Row) -> np.ndarray:
        both = paired(baseline, method) if paired else pair(of_rows[baseline], of_rows[method])
        return np.array(_numbers(both) if both else [])

    found = []
    for (m, baseline), (n, method) in combinations(enumerate(of_rows), 2):
        name = digest("pair", names[baseline], names[method])
        if numbers := kept.numbers(name, partial(compared, baseline, method)).tolist():
            found.append((baseline, method, *_of_numbers(numbers), *order[:, m, n].tolist()))
    differences = [difference for _, _, difference, *_ in found]
    corrected = kept.numbers(
        digest("corrected", list(names.values())), lambda: stats.family(differences, [0] * len(differences))
    )
    return [
        Comparison(baseline, method, difference, p, *others)
        for (baseline, method, difference, *others), p in zip(found, corrected.tolist(), strict=True)
    ]


def _order(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return violation and deviation of Almost Stochastic Order, `(2 * rows * rows,)`."""
    order = stats.almost_stochastic_order(scores)
    return np.concatenate([order.violation.ravel(), order.std.ravel()])


def _numbers(both: Pair) -> list[float]:
    """Return what two rows come to in a row of numbers, as `_of_numbers` takes them apart."""
    baseline, method = both.baseline.actual, both.method.actual
    differences = (
        both.difference(),
        stats.difference_over_seeds(baseline, method),
        stats.multi_bootstrap(both.baseline, both.method),
    )
    counts = stats.wins_ties_losses(baseline, method)
    return [
        *(getattr(difference, name) for difference in differences for name in PARTS),
        stats.permutation_p(baseline, method),
        *(getattr(counts, name) for name in COUNTS),
        float((1 + np.sign(method[:, None] - baseline[None]).mean()) / 2),
    ]


def _of_numbers(
    numbers: Sequence[float],
) -> tuple[Difference, Difference, Difference, float, stats.WinsTiesLosses, float]:
    n = len(PARTS)
    difference, by_seeds, bootstrap = (_difference(numbers[at : at + n]) for at in range(0, 3 * n, n))
    permutation_p, *counts, improvement = numbers[3 * n :]
    return difference, by_seeds, bootstrap, permutation_p, stats.WinsTiesLosses(*map(int, counts)), improvement


def _difference(numbers: Sequence[float]) -> Difference:
    estimate, low, high, p, pairs, missing, *others = numbers
    return Difference(estimate, low, high, p, int(pairs), int(missing), *others)
