"""Every pair of rows on one task: the difference, and the other ways to look at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from glue_pool import stats
from glue_pool.report.panels import Row
from glue_pool.stats import Difference, Scores

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
    of_rows: Mapping[Row, OfSeeds], paired: Callable[[Row, Row], Pair | None] | None = None
) -> list[Comparison]:
    """Compare every two rows of a column; paired: what pairs two of them, if not the seeds that both have."""
    order = stats.almost_stochastic_order([scores.actual for _, scores in of_rows.values()])
    found = [
        (m, n, baseline, method, both, both.difference())
        for (m, baseline), (n, method) in combinations(enumerate(of_rows), 2)
        if (both := paired(baseline, method) if paired else pair(of_rows[baseline], of_rows[method]))
    ]
    corrected = stats.family([difference for *_, difference in found], [0] * len(found))
    return [
        Comparison(
            baseline,
            method,
            difference,
            float(p),
            *_otherwise(both),
            float(order.violation[m, n]),
            float(order.std[m, n]),
        )
        for (m, n, baseline, method, both, difference), p in zip(found, corrected, strict=True)
    ]


def _otherwise(pair: Pair) -> tuple[Difference, Difference, float, stats.WinsTiesLosses, float]:
    baseline, method = pair.baseline.actual, pair.method.actual
    return (
        stats.difference_over_seeds(baseline, method),
        stats.multi_bootstrap(pair.baseline, pair.method),
        stats.permutation_p(baseline, method),
        stats.wins_ties_losses(baseline, method),
        float((1 + np.sign(method[:, None] - baseline[None]).mean()) / 2),
    )
