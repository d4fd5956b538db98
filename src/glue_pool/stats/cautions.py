"""What the verdict's interval does not know of: runs that collapse, or fail, in some seeds and not in most.

An interval over seeds knows the spread that it has seen. A collapse among the runs makes it wide, and it holds; the one
that has not come yet is what it misses, and then it flatters the method that collapses. So a method's other runs tell
of the danger, not those in the comparison. Skewed seeds are alike: an interval of differences that look skewed misses
less often than one of differences that don't, so there is no caution about that. docs/evidence.md has the numbers,
tests/test_cautions.py repeats them.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glue_pool.stats.differences import CONFIDENCE
from glue_pool.stats.resampled import Scores

# How often 95 % intervals miss the true mean, by number of seeds, where the examples add nothing to the spread, one
# method's seeds are normal, and the other's
# - seen, unseen: as normal, but a tenth of its runs collapses to ten standard deviations below; of experiments those in
#   which one has, and those in which none has
# - missing: as normal, but runs that would be among the worst fifth fail, and have no score
# As often they call a difference significant where there is none.
MISSED = {
    "seen": {3: 0.004, 5: 0.002, 10: 0.003, 20: 0.008},
    "unseen": {3: 0.117, 5: 0.230, 10: 0.515, 20: 0.852},
    "missing": {3: 0.055, 5: 0.065, 10: 0.098, 20: 0.173},
}


@dataclass(frozen=True)
class Side:
    """One method's runs in a comparison, entry s that of the same seed as the other's: higher scores are better."""

    scores: np.ndarray  # (seeds,), NaN for a run without one
    collapsed: np.ndarray  # (seeds,) of bool
    elsewhere: tuple[int, int] = (0, 0)  # of the method's runs in other comparisons: collapsed, and all
    chance: float = math.nan  # what predicting the same for every example scores


@dataclass(frozen=True)
class Caution:
    """What a reader has to know of a mark, or of its absence.

    Seen: runs of the method collapsed, and the interval, wide with them, holds: it finds little. (It does not where all
    did and others would not.) Unseen: none did here, but some of its other runs, and the interval does not allow for
    that. Missing: runs have no score, and those that have may be the better ones.
    """

    kind: Literal["seen", "unseen", "missing"]
    of: int  # whose runs these are, and whom a miss flatters: 1 the method, -1 the baseline
    count: int  # of the runs here; where unseen, of those elsewhere
    runs: int
    here: int  # runs in the comparison
    low: float  # rates that the runs here leave possible, at 95 %: of collapse, or of failure where missing
    high: float
    undone: float  # the rate at which runs at chance undo its lead; NaN where it has none, or where seen
    missed: float  # MISSED, of the nearest number of seeds; NaN where all collapsed

    def line(self, name: str) -> str:
        """Say it, of the method by this name."""
        if self.kind == "seen":
            rates = f"(the rate may be {_percent(self.low)} to {_percent(self.high)})"
            if self.count == self.runs:
                return f"{name}: all {self.runs} runs collapsed {rates}: the interval knows of none that learns"
            known = "the interval is wide with it, holds, and finds little"
            return f"{name}: {self.count} of {self.runs} runs collapsed {rates}: {known}"
        misses = f"{_percent(self.missed)} of intervals miss, flattering it"
        undone = "" if math.isnan(self.undone) else f"; {_percent(self.undone)} of runs at chance would undo its lead"
        if self.kind == "missing":
            without = f"{self.count} of {self.runs} runs without a score"
            return f"{name}: {without}. If these were its worst fifth, {misses}{undone}"
        return (
            f"{name}: none of {self.here} runs collapsed here (the rate may be up to {_percent(self.high)}), but "
            f"{self.count} of {self.runs} elsewhere. If a tenth do, by ten standard deviations, {misses}{undone}"
        )


def cautions(baseline: Side, method: Side) -> list[Caution]:
    """Return what the interval of this comparison cannot be trusted for, the method's first.

    It is of the pairs in which both have a score. Without two there is no interval, and nothing to say.
    """
    both = np.isfinite(baseline.scores) & np.isfinite(method.scores)
    n = int(both.sum())
    if n < 2:
        return []
    gain = float((method.scores[both] - baseline.scores[both]).mean())
    found = []
    for of, side in ((1, method), (-1, baseline)):
        lead, drop = of * gain, float(side.scores[both].mean()) - side.chance
        undone = lead / drop if 0 < lead <= drop else math.nan
        collapsed, missing = int(side.collapsed[both].sum()), int(np.isnan(side.scores).sum())
        if collapsed:
            rates = collapse_rate(collapsed, n)
            missed = _missed("seen", n) if collapsed < n else math.nan
            found.append(Caution("seen", of, collapsed, n, n, *rates, math.nan, missed))
        elif side.elsewhere[0]:
            found.append(Caution("unseen", of, *side.elsewhere, n, *collapse_rate(0, n), undone, _missed("unseen", n)))
        if missing:
            runs = len(side.scores)
            rates = collapse_rate(missing, runs)
            found.append(Caution("missing", of, missing, runs, n, *rates, undone, _missed("missing", runs)))
    return found


def _missed(kind: str, seeds: int) -> float:
    measured = MISSED[kind]
    return measured[min(measured, key=lambda n: (abs(n - seeds), -measured[n]))]


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def collapse_rate(collapsed: int, runs: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the rates that so many collapsed runs leave possible (Clopper and Pearson 1934).

    One-sided where none or all collapsed: none of 5 leaves up to 45 %, none of 20 up to 14 %.
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / (2 if 0 < collapsed < runs else 1)
    low = float(betaincinv(collapsed, runs - collapsed + 1, tail)) if collapsed else 0.0
    high = float(betaincinv(collapsed + 1, runs - collapsed, 1 - tail)) if collapsed < runs else 1.0
    return low, high


def with_failures(scores: Scores, chance: Scores, failed: int) -> Scores:
    """Return the scores with so many runs more, behind them, that predict the same for every example.

    chance: one such run, on the same resamples; a correlation, which it has none of, counts as 0.
    """
    runs = [0] * failed
    more = Scores(np.nan_to_num(chance.actual), np.nan_to_num(chance.resampled), chance.examples).of(runs)
    return Scores(
        np.concatenate([scores.actual, more.actual]),
        np.concatenate([scores.resampled, more.resampled], axis=1),
        scores.examples,
    )
