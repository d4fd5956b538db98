"""What the verdicts of one table say together: p-values that hold for all of it, and ranks."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from glue_pool.stats.differences import ALPHA, Difference, of_examples
from glue_pool.stats.nodes import chi_squared

NODES = 24  # a p-value to 1 % of itself where it is 1e-4

ALIKE = (
    0.25  # the correlation of two rows' spreads over seeds, where the baseline is half of each difference's variance
)


def family(differences: Sequence[Difference], columns: Sequence[Hashable]) -> np.ndarray:
    """Return p-values `(differences,)` adjusted for all of them: below 5 %, wrongly, in at most some 5 % of tables.

    Holm's correction (1979) of `true_p`, whose arguments these are.
    """
    return holm(true_p(differences, columns))


def true_p(differences: Sequence[Difference], columns: Sequence[Hashable]) -> np.ndarray:
    """Return p-values `(differences,)`, not adjusted, that stay true far below 5 %, as a correction needs them.

    columns: of each difference the task, or whatever its spread over seeds may be likened to others' in.

    The verdict's own, by Satterthwaite, do not stay true: of 5 seeds, some of many spreads come out small by chance,
    and their differences large. The statistic is the verdict's own t, the estimate over its standard error. Under no
    difference and with a share a of the true variance that is the seeds',

        P(|t| > T) = E 2 Phi(-T sqrt(a q + 1 - a)),  q ~ chi-squared(S - 1) / (S - 1).

    For a, the seeds' variance is taken for the larger of a difference's own and the mean of the column's others, which
    is known with as many degrees of freedom as they have together, less what the same baseline makes alike. A
    difference that is alone in its column has Behrens and Fisher's p, E 2 Phi(-|d| / sqrt(s^2/(S q) + e^2)), which
    errs on the safe side (Robinson 1976, Ann. Stat. 4:963). One difference by itself keeps its p.

    A NaN p stays NaN, and differences that are all 0 have a p of 1. This way to take a is ours.
    """
    p = np.array([of.p for of in differences])
    if len(p) > 1:
        tested = [i for i, of in enumerate(differences) if of.seed_std > 0]
        at: dict[Hashable, list[int]] = defaultdict(list)
        for index in tested:
            at[columns[index]].append(index)
        for indices in at.values():
            p[indices] = _calibrated([differences[index] for index in indices])
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values `(tests,)` adjusted for all of them (Holm 1979).

    A NaN stays NaN and counts as a test.
    """
    order = np.argsort(p)  # a NaN is the last
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def rank_intervals(estimates: np.ndarray, adjusted: np.ndarray) -> np.ndarray:
    """Return the first and the last rank that each row may have, `(rows, 2)`, the best being 1.

    estimates: `(rows, rows)`, row less column, positive where the row is better; adjusted: their p-values, corrected
    for all pairs. A row is behind those that are shown to be better and before those shown to be worse: with 95 %
    confidence that holds of all rows at once (Mogstad et al. 2024, Rev. Econ. Stud. 91:476). A NaN p shows nothing.
    """
    shown = adjusted < ALPHA
    ahead, behind = (shown & (estimates < 0)).sum(axis=1), (shown & (estimates > 0)).sum(axis=1)
    return np.stack([1 + ahead, len(estimates) - behind], axis=1)


def _calibrated(of: Sequence[Difference]) -> np.ndarray:
    """Return the p-values of one column's differences, all of them with a spread."""
    from scipy.special import stdtr

    estimate, pairs, std, shared = (
        np.array([getattr(one, name) for one in of], dtype=float)
        for name in ("estimate", "pairs", "seed_std", "example_std")
    )
    known = np.array([of_examples(one.examples) for one in of])[:, None]
    variance, shared = std**2, shared**2
    t = np.abs(estimate) / np.sqrt(variance / pairs + shared)
    q, weights = chi_squared(pairs - 1, NODES)
    others = len(of) - 1
    if others == 0:
        size = np.abs(estimate)[:, None] / np.sqrt((variance / pairs)[:, None] / q + shared[:, None])
        return np.asarray(np.minimum(1.0, 2 * stdtr(known, -size) @ weights))
    freedom = (np.sum(pairs - 1) - (pairs - 1)) / (1 + ALIKE * (others - 1))
    true = np.maximum(variance, (variance.sum() - variance) / others)
    seem, chances = chi_squared(freedom, NODES // 3)  # how large the others' spread may seem
    of_seeds = (true / pairs)[:, None] / seem
    share = (of_seeds / (of_seeds + shared[:, None]))[:, :, None]
    tails = stdtr(known[:, :, None], -t[:, None, None] * np.sqrt(share * q[:, None, :] + 1 - share))
    p = np.minimum(1.0, 2 * np.einsum("dij,i,j->d", tails, chances, weights))
    return np.asarray(np.where(shared == 0, 2 * stdtr(pairs - 1, -t), p))
