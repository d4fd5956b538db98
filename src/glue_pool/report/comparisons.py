"""Every pair of rows on one task: the verdict, and the other ways to look at a difference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from glue_pool import stats
from glue_pool.report.panels import Row
from glue_pool.stats import Difference, Scores

GAIN = 1.25  # points: the average gain that MaxPoolBERT reports
GAINS = (0.5, GAIN, 3.0)  # points that the seeds are reckoned for
COLUMNS = (
    "estimate", "low", "high", "p", "pairs", "missing", "seed_std",
    "example_std", "by_seeds_low", "by_seeds_high", "bootstrap_low", "bootstrap_high", "permutation_p", "wins", "ties",
    "losses", "improvement", "violation", "violation_std", "detectable", "seeds_needed",
)  # fmt: skip


# seeds, rising, and their scores as in a Pair; None for seeds: one run, which is the same whatever the seed
OfSeeds = tuple[list[int] | None, Scores]
Comparison = tuple[Row, Row, list[Any]]  # baseline, method, and a value for each of COLUMNS


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


def all_pairs(of_rows: Mapping[Row, OfSeeds], *, in_points: bool = True) -> list[Comparison]:
    """Compare every two rows, the first being the baseline: what reads this turns them round where it has to.

    in_points: else the seeds that each of GAINS needs are NaN.
    """
    order = stats.almost_stochastic_order([scores.actual for _, scores in of_rows.values()])
    found = [
        ((baseline, method), both, both.difference(), (order.violation[m, n], order.std[m, n]))
        for (m, baseline), (n, method) in combinations(enumerate(of_rows), 2)
        if (both := pair(of_rows[baseline], of_rows[method]))
    ]
    power = _power([verdict for _, _, verdict, _ in found], in_points)
    return [
        (*rows, [*_values(both, verdict), *order_of, *power_of])
        for (rows, both, verdict, order_of), power_of in zip(found, power, strict=True)
    ]


def _values(pair: Pair, verdict: Difference) -> list[Any]:
    baseline, method = pair.baseline.actual, pair.method.actual
    by_seeds = stats.difference_over_seeds(baseline, method)
    bootstrap = stats.multi_bootstrap(pair.baseline, pair.method)
    counts = stats.wins_ties_losses(baseline, method)
    return [
        verdict.estimate, verdict.low, verdict.high, verdict.p, verdict.pairs, verdict.missing,
        verdict.seed_std, verdict.example_std, by_seeds.low, by_seeds.high, bootstrap.low, bootstrap.high,
        stats.permutation_p(baseline, method), counts.wins, counts.ties, counts.losses,
        (1 + np.sign(method[:, None] - baseline[None]).mean()) / 2,
    ]  # fmt: skip


def _power(verdicts: Sequence[Difference], in_points: bool) -> list[tuple[float, list[float]]]:
    """Return the gain that each comparison's seeds detect, and the seeds that each of GAINS needs."""
    of_seeds = np.array([verdict.seed_std or math.nan for verdict in verdicts])  # no spread says nothing of new seeds
    of_examples = np.array([verdict.example_std for verdict in verdicts])
    pairs = np.array([verdict.pairs for verdict in verdicts])
    detectable = stats.detectable_gain(pairs, of_seeds, of_examples)
    needed = np.full((len(verdicts), len(GAINS)), math.nan)
    if in_points:
        needed = stats.seeds_needed(np.array(GAINS), of_seeds[:, None], of_examples[:, None])
    return list(zip(detectable.tolist(), needed.tolist(), strict=True))
