"""Statistics over seeds: how scores spread, what the difference of two methods is worth, how many seeds it takes.

Plain functions on NumPy arrays. Scores may be fractions or points; a difference is method minus baseline in the same
unit. Arrays of two methods are aligned: entry s of both is the same seed. A run without a score is NaN: it is left out
and counted, never dropped in silence.

`difference` is the verdict: it speaks of new seeds and new dev examples. Where seeds spread about normally, it keeps
what its interval and p promise from 5 seeds on, and errs on the safe side with fewer (tests/test_stats.py). Where some
runs collapse or fail and most don't, it does not, with few seeds or many: 3 call 9 to 21 % of methods that do not
differ different, and `cautions` tells. What has no such promise is only to be shown with its MEASURED_COVERAGE. For
many methods, `resample` all runs of a dev set once: `compare` is the same verdict on any two.
"""

from glue_pool.stats.alternatives import (
    MEASURED_COVERAGE,
    WinsTiesLosses,
    multi_bootstrap,
    permutation_p,
    wins_ties_losses,
)
from glue_pool.stats.cautions import MISSED, Caution, Side, cautions, collapse_rate, with_failures
from glue_pool.stats.differences import ALPHA, CONFIDENCE, Difference, compare, difference, difference_over_seeds
from glue_pool.stats.draws import SAME_SEEDS_CALLED, pooled
from glue_pool.stats.family import family, holm, rank_intervals, true_p
from glue_pool.stats.planning import detectable_gain, power, seeds_needed, spread_interval
from glue_pool.stats.resampled import RESAMPLES, Metric, Scores, average, resample
from glue_pool.stats.stochastic import CLAIM_BELOW, StochasticOrder, almost_stochastic_order
from glue_pool.stats.summary import Summary, expected_validation_performance, summarise

__all__ = [
    "ALPHA",
    "CLAIM_BELOW",
    "CONFIDENCE",
    "MEASURED_COVERAGE",
    "MISSED",
    "RESAMPLES",
    "SAME_SEEDS_CALLED",
    "Caution",
    "Difference",
    "Metric",
    "Scores",
    "Side",
    "StochasticOrder",
    "Summary",
    "WinsTiesLosses",
    "almost_stochastic_order",
    "average",
    "cautions",
    "collapse_rate",
    "compare",
    "detectable_gain",
    "difference",
    "difference_over_seeds",
    "expected_validation_performance",
    "family",
    "holm",
    "multi_bootstrap",
    "permutation_p",
    "pooled",
    "power",
    "rank_intervals",
    "resample",
    "seeds_needed",
    "spread_interval",
    "summarise",
    "true_p",
    "wins_ties_losses",
    "with_failures",
]

# A report has to start fast: scipy.special takes 0.15 s to import, so on use; scipy.stats 0.9 s and statsmodels 1 s, so
# not at all.
