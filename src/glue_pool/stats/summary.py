"""How the scores of one method spread over its runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """The scores of one method; all but the counts are over the runs that have a score, NaN where there are none."""

    n: int  # runs with a score
    failed: int  # runs without one
    collapsed: int  # runs that predict one class, or one score, for every example
    mean: float
    std: float  # over runs, n - 1 in the denominator; NaN for one run
    median: float
    min: float
    max: float

    @property
    def counts(self) -> str:
        """How many runs the mean is of, how many of them collapsed, and how many have no score: `5, 1c, 1f`."""
        parts = [(self.n, ""), (self.collapsed, "c"), (self.failed, "f")]
        return ", ".join(f"{n}{letter}" for n, letter in parts if n or not letter)


def summarise(scores: np.ndarray, collapsed: Sequence[bool] = ()) -> Summary:
    """Summarise one method's `scores`, `(runs,)` with NaN for failed runs; collapsed: for each run, whether it did."""
    there = scores[np.isfinite(scores)]
    n = len(there)
    numbers = [float(of(there)) if n else math.nan for of in (np.mean, np.median, np.min, np.max)]
    mean, median, low, high = numbers
    std = float(there.std(ddof=1)) if n > 1 else math.nan
    return Summary(n, len(scores) - n, int(sum(collapsed)), mean, std, median, low, high)


def expected_validation_performance(scores: np.ndarray) -> np.ndarray:
    """Return the expected best of 1, 2, … N runs drawn without replacement from these N, `(runs,)`.

    That is the mean of the best over all choices of n runs, unbiased for the best of n new ones (Tang et al. 2020,
    "Showing your work doesn't always work"); arXiv 1909.03004 draws with replacement, which is biased low. Runs without
    a score are left out: the answer is as long as there are scores.
    """
    ordered = np.sort(scores[np.isfinite(scores)])
    n = len(ordered)
    expected = [float(ordered.mean())] if n else []
    of_choices = np.full(n, 1 / max(n, 1))  # the share of choices of so many runs in which each is the best
    for chosen in range(2, n + 1):
        of_choices = of_choices * np.maximum(np.arange(n) - chosen + 2, 0) / (chosen - 1)
        of_choices /= of_choices.sum()
        expected.append(float(of_choices @ ordered))
    return np.array(expected)
