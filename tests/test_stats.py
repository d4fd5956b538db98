import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from glue_pool import stats
from glue_pool.metrics import METRICS, SINGLE, ProblemType, compute, taken
from glue_pool.stats import Difference, Metric, resampled
from metric_cases import CASES, draw_outputs
from simulated_runs import SHAPES, Cell, Runs, Task, draw_runs, simulate, simulate_average, study

NAN = math.nan
MORE = int(os.environ.get("GLUE_POOL_REPLICATIONS", "1"))  # times as many replications in the simulations


def scores(least: int = 1, most: int = 12) -> st.SearchStrategy[np.ndarray]:
    """Accuracies on 277 rows: ties happen."""
    return st.lists(st.integers(0, 277), min_size=least, max_size=most).map(lambda k: np.array(k) / 277)


def paired(least: int = 1) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    return st.integers(least, 12).flatmap(lambda n: st.tuples(scores(n, n), scores(n, n)))


def fields(answer: Difference) -> list[float]:
    return [answer.estimate, answer.low, answer.high, answer.p, answer.seed_std, answer.example_std]


def runs(seeds: int = 5, examples: int = 60, metric: str = "accuracy", seed: int = 0) -> Runs:
    return draw_runs(SHAPES["both matter"], metric, seeds, examples, np.random.default_rng(seed))


def multi_bootstrap(
    labels: np.ndarray, baseline: np.ndarray, method: np.ndarray, metric: str | Metric, resamples: int = 1000
) -> Difference:
    both = [stats.resample(labels, outputs, metric, resamples=resamples) for outputs in (baseline, method)]
    return stats.multi_bootstrap(*both)


# Summaries


def test_a_summary_by_hand() -> None:
    got = stats.summarise(np.array([0.7, 0.5, NAN, 0.9, 0.5]), collapsed=[False, True, False, False, True])
    assert (got.n, got.failed, got.collapsed) == (4, 1, 2)
    assert (got.min, got.max) == (0.5, 0.9)
    assert [got.mean, got.median, got.std] == pytest.approx([0.65, 0.6, math.sqrt(0.11 / 3)])


def test_one_run_has_no_spread_and_no_run_no_mean() -> None:
    one, none = stats.summarise(np.array([0.7])), stats.summarise(np.array([NAN]))
    assert one.mean == one.median == 0.7
    assert math.isnan(one.std)
    assert (none.n, none.failed) == (0, 1)
    assert np.isnan([none.mean, none.std, none.median, none.min, none.max]).all()


@given(scores(), st.randoms())
def test_a_summary_does_not_depend_on_the_order_of_runs(values: np.ndarray, random: object) -> None:
    mixed = np.random.default_rng(len(values)).permutation(values)
    one, other = stats.summarise(values), stats.summarise(mixed)
    assert [one.mean, one.median, one.min, one.max] == pytest.approx([other.mean, other.median, other.min, other.max])


def test_expected_validation_performance_by_hand() -> None:
    got = stats.expected_validation_performance(np.array([4.0, 1.0, NAN, 2.0]))
    assert got == pytest.approx([7 / 3, (2 + 4 + 4) / 3, 4])  # of three pairs two hold the 4
    assert stats.expected_validation_performance(np.array([NAN])).shape == (0,)


@given(scores())
def test_expected_validation_performance_is_the_mean_best_of_all_choices(values: np.ndarray) -> None:
    some = values[:8]
    best = [np.mean([max(of) for of in combinations(some, n)]) for n in range(1, len(some) + 1)]
    assert stats.expected_validation_performance(some) == pytest.approx(best)


@given(scores())
def test_expected_validation_performance_grows_from_the_mean_to_the_best(values: np.ndarray) -> None:
    curve = stats.expected_validation_performance(values)
    assert curve[0] == pytest.approx(values.mean())
    assert (np.diff(curve) >= -1e-12).all()
    assert curve[-1] == pytest.approx(values.max())


def test_expected_validation_performance_is_that_of_new_runs() -> None:
    """The best of 1 to 5 normal scores is 0, 0.56, 0.85, 1.03 and 1.16 standard deviations above the mean."""
    draws = np.random.default_rng(0).normal(size=(20_000, 5))
    got = np.mean([stats.expected_validation_performance(of) for of in draws], axis=0)
    assert got == pytest.approx([0, 0.5642, 0.8463, 1.0294, 1.1630], abs=0.015)  # four standard errors are 0.02 or less


def test_expected_validation_performance_of_many_runs_is_finite() -> None:
    curve = stats.expected_validation_performance(np.arange(2000.0))
    assert curve[[0, 1, -1]] == pytest.approx([999.5, 1333.0, 1999.0])  # of two: (2 N - 1) / 3


# Differences over seeds


@given(paired(least=2))
def test_over_seeds_it_is_the_paired_t_test(both: tuple[np.ndarray, np.ndarray]) -> None:
    baseline, method = both
    got = stats.difference_over_seeds(baseline, method)
    if np.ptp(method - baseline) < 1e-9:
        return
    want = scipy_stats.ttest_rel(method, baseline)
    interval = want.confidence_interval(0.95)
    assert [got.estimate, got.p] == pytest.approx([np.mean(method - baseline), want.pvalue])
    assert [got.low, got.high] == pytest.approx([interval.low, interval.high])


def test_one_pair_has_an_estimate_and_no_interval() -> None:
    got = stats.difference_over_seeds(np.array([0.5, NAN]), np.array([0.7, 0.9]))
    assert got.estimate == pytest.approx(0.2)
    assert (got.pairs, got.missing) == (1, 1)
    assert np.isnan([got.low, got.high, got.p, got.seed_std]).all()
    none = stats.difference_over_seeds(np.array([NAN]), np.array([0.7]))
    assert math.isnan(none.estimate)
    assert (none.pairs, none.missing) == (0, 1)


def test_equal_runs_differ_by_nothing() -> None:
    got = stats.difference_over_seeds(np.array([0.1, 0.3, 0.5]), np.array([0.1, 0.1 + 0.2, 0.5]))
    assert fields(got) == [0, 0, 0, 1, 0, 0]


def test_differences_without_spread_are_no_evidence() -> None:
    # three times + 0.1, as far as floats go: a t of infinity would be significant at any level
    got = stats.difference_over_seeds(np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.3, 0.4]))
    assert got.estimate == pytest.approx(0.1)
    assert got.seed_std == 0
    assert np.isnan([got.low, got.high, got.p]).all()


def test_seeds_that_are_not_paired_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 scores of the baseline for 2"):
        stats.difference_over_seeds(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="5 scores of the baseline for 4"):
        stats.difference(np.ones(4), np.ones((5, 4)), np.ones((4, 4)), "accuracy")


def test_outputs_of_other_examples_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(5, 4\) for 3 labels"):
        stats.resample(np.ones(3), np.ones((5, 4)), "accuracy")
    of = runs()
    one = stats.resample(of.labels, of.baseline, "accuracy", resamples=20)
    for other in (
        stats.resample(of.labels, of.method, "accuracy", resamples=30),
        stats.resample(of.labels[1:], of.method[:, 1:], "accuracy", resamples=20),
    ):
        with pytest.raises(ValueError, match="20 resamples of 60 examples for"):
            stats.compare(one, other)


@given(paired(least=2), st.floats(-10, 10), st.floats(0.1, 100))
def test_a_shift_changes_nothing_and_a_scale_scales(
    both: tuple[np.ndarray, np.ndarray], shift: float, scale: float
) -> None:
    baseline, method = both
    plain = stats.difference_over_seeds(baseline, method)
    moved = stats.difference_over_seeds(scale * (baseline + shift), scale * (method + shift))
    assert moved.p == pytest.approx(plain.p, rel=1e-6, nan_ok=True)
    assert [moved.estimate, moved.low, moved.high] == pytest.approx(
        [scale * x for x in (plain.estimate, plain.low, plain.high)], rel=1e-6, abs=1e-9, nan_ok=True
    )


def test_five_seeds_are_too_few_for_the_permutation_test() -> None:
    assert stats.permutation_p(np.zeros(5), np.arange(1.0, 6.0)) == 2 / 32
    assert stats.permutation_p(np.zeros(6), np.arange(1.0, 7.0)) == 2 / 64


def test_the_permutation_test_by_hand() -> None:
    # of the 8 flips of 1, 2, -4 the sums are ±1, ±3, ±5, ±7: all are at least 1 away from 0
    assert stats.permutation_p(np.zeros(3), np.array([1.0, 2.0, -4.0])) == 1
    assert stats.permutation_p(np.zeros(3), np.array([1.0, 2.0, 4.0])) == 2 / 8
    assert stats.permutation_p(np.array([0.0, 9.0, NAN]), np.array([1.0, 9.0, 1.0])) == 1


def test_many_seeds_draw_their_flips() -> None:
    draw = np.random.default_rng(0)
    baseline = draw.normal(size=30)
    method = baseline + draw.normal(0.5, 1, 30)
    want = scipy_stats.ttest_rel(method, baseline).pvalue
    assert stats.permutation_p(baseline, method) == pytest.approx(want, abs=0.01)


@settings(deadline=None, max_examples=30)
@given(paired())
def test_few_seeds_flip_every_way(both: tuple[np.ndarray, np.ndarray]) -> None:
    different = np.round((both[1] - both[0]) * 277)  # whole numbers: flips tie with what was seen
    want = 1.0 if len(different) == 1 else scipy_stats.permutation_test((different,), np.mean, **PAIRED).pvalue
    assert stats.permutation_p(*both) == pytest.approx(want)


PAIRED: dict[str, Any] = {"permutation_type": "samples", "vectorized": True, "n_resamples": 2**13}


def test_wins_ties_and_losses_by_hand() -> None:
    baseline, method = np.array([1, 0.3, 3, 4, NAN]), np.array([2, 0.1 + 0.2, 1, 5, 5])
    assert stats.wins_ties_losses(baseline, method) == stats.WinsTiesLosses(2, 1, 1, 1)


def test_holm_by_hand() -> None:
    got = stats.holm(np.array([0.01, 0.04, 0.03, 0.5]))
    assert got == pytest.approx([0.04, 0.09, 0.09, 0.5])  # 4 p, 3 p, then never less than the one before


def test_holm_is_that_of_statsmodels() -> None:
    p = np.round(np.random.default_rng(0).random(40) ** 4, 2)  # some are equal
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_counts_a_test_that_gave_no_p() -> None:
    got = stats.holm(np.array([0.01, NAN]))
    assert got[0] == pytest.approx(0.02)
    assert math.isnan(got[1])
    assert np.isnan(stats.holm(np.array([NAN]))).all()


# Metrics in resamples

BINARY = ("accuracy", "f1", "acc_and_f1", "matthews_correlation")


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(CASES), st.integers(2, 30), st.booleans(), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_a_metric_of_weights_is_that_of_repeated_examples(
    case: tuple[str, ProblemType, int], examples: int, ties: bool, positive: int, seed: int
) -> None:
    (name, kind, outputs), draw = case, np.random.default_rng(seed)
    metric = METRICS[name]
    labels, logits = draw_outputs(kind, outputs, 3, examples, draw, ties=ties)
    weights = draw.multinomial(examples, np.full(examples, 1 / examples), size=4).astype(np.float32)
    got = metric.weighted(labels, taken(metric, logits, kind), weights, positive)
    assert got.shape == (4, 3)
    for resample, row in enumerate(weights):
        rows = np.repeat(np.arange(examples), row.astype(int))
        want = [compute([name], labels[rows], run[rows], positive=positive)[name] for run in logits]
        assert got[resample] == pytest.approx(want, rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(("name", "kind", "outputs"), CASES)
@pytest.mark.parametrize("positive", [0, 1])
def test_scores_of_logits_are_those_of_the_metric(name: str, kind: ProblemType, outputs: int, positive: int) -> None:
    """Enough examples for several chunks, of runs without and with ties."""
    draw = np.random.default_rng(0)
    labels, logits = draw_outputs(kind, outputs, 2, 1500, draw)
    both = np.concatenate([logits, np.round(logits, 1)])
    got = stats.resample(labels, both, name, positive=positive, resamples=50)
    want = [compute([name], labels, run, positive=positive)[name] for run in both]
    assert got.actual == pytest.approx(want, rel=1e-9)
    weights = np.concatenate(list(resampled._weights(np.arange(1500), 50, 0)))
    for drawn in (0, 49):
        rows = np.repeat(np.arange(1500), weights[drawn].astype(int))
        want = [compute([name], labels[rows], run[rows], positive=positive)[name] for run in both]
        assert got.resampled[drawn] == pytest.approx(want, rel=1e-9)


def test_a_sure_mistake_costs_the_same_in_every_resample() -> None:
    sure = 900 * np.array([[[1.0, -1.0], [1.0, -1.0]]])
    for labels in (np.array([0, 1]), np.array([[1, 0], [0, 1]])):
        got, plain = stats.resample(labels, sure, "log_loss", resamples=50), compute(["log_loss"], labels, sure[0])
        assert got.actual == pytest.approx([plain["log_loss"]])
        assert set(np.round(got.resampled[:, 0] / plain["log_loss"], 6)) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize(("name", "kind", "outputs"), CASES)
def test_the_verdict_takes_every_metric(name: str, kind: ProblemType, outputs: int) -> None:
    labels, logits = draw_outputs(kind, outputs, 10, 200, np.random.default_rng(0))
    worse = logits[5:] - 0.7 * np.sign(logits[5:])[:, :, ::-1]  # less sure, and of another class or label
    got = stats.difference(labels, worse, logits[:5], name, resamples=100)
    assert (got.pairs, got.missing) == (5, 0)
    assert got.low < got.estimate < got.high
    assert 0 < got.p < 1
    estimates = [np.mean([compute([name], labels, run)[name] for run in of]) for of in (worse, logits[:5])]
    assert got.estimate == pytest.approx(estimates[1] - estimates[0])
    if kind == SINGLE:
        assert METRICS[name].better * got.estimate > 0


def test_the_verdict_is_of_the_positive_class() -> None:
    of = runs(metric="f1")
    mirrored = stats.difference(1 - of.labels, 1 - of.baseline, 1 - of.method, "f1", positive=0)
    assert mirrored == stats.difference(of.labels, of.baseline, of.method, "f1")
    assert mirrored != stats.difference(of.labels, of.baseline, of.method, "f1", positive=0)


def test_resamples_without_a_class_are_left_out_of_the_verdict() -> None:
    """Of two examples of a class, a seventh of the resamples draws none."""
    labels, logits = draw_outputs(SINGLE, 2, 10, 60, np.random.default_rng(0))
    labels = np.where(np.arange(60) < 2, 1, 0)
    both = [stats.resample(labels, of, "roc_auc") for of in (logits[:5], logits[5:])]
    lost = np.isnan(both[0].resampled)
    assert 0.05 < lost.mean() < 0.25
    assert (lost == lost[:, :1]).all()
    kept = [stats.Scores(of.actual, of.resampled[~lost[:, 0]], 60) for of in both]
    got = stats.compare(*both)
    assert fields(got) == fields(stats.compare(*kept))
    assert got.low < got.estimate < got.high
    none = [stats.Scores(of.actual, np.full_like(of.resampled, NAN), 60) for of in both]
    assert np.isnan([stats.compare(*none).low, stats.compare(*none).p]).all()


def test_classes_have_no_probabilities() -> None:
    of = runs()
    for labels, metric in ((of.labels, "roc_auc"), (np.eye(60)[:, :2], "accuracy")):
        with pytest.raises(ValueError, match=r"logits \(runs, examples, outputs\): \(5, 60\)"):
            stats.resample(labels, of.baseline, metric)


@pytest.mark.parametrize(
    ("name", "kind", "outputs"), [case for case in CASES if METRICS[case[0]].takes != "probabilities"]
)
def test_a_metric_by_name_and_as_a_function_agree(name: str, kind: ProblemType, outputs: int) -> None:
    labels, logits = draw_outputs(kind, outputs, 10, 60, np.random.default_rng(0))
    judge = partial(stats.difference, labels, logits[:5], logits[5:], resamples=50)
    of_ones_own = judge(lambda labels, predictions: METRICS[name].plain(labels, predictions, 1))
    assert fields(judge(name)) == pytest.approx(fields(of_ones_own))


def test_resamples_are_the_same_however_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    of = runs()
    judge = partial(stats.difference, of.labels, of.baseline, of.method, "accuracy", resamples=50)
    whole = judge()
    monkeypatch.setattr(resampled, "CHUNK", 7 * len(of.labels))
    assert judge() == whole


def test_runs_scored_together_and_picked_are_those_scored_alone() -> None:
    of = runs(metric="pearson")
    both = np.concatenate([of.baseline, of.method])
    both[6, 3] = NAN
    together = stats.resample(of.labels, both, "corr", resamples=50)
    alone = stats.resample(of.labels, both[[9, 5]], "corr", resamples=50)
    picked = together.of([9, 5])
    assert picked.actual == pytest.approx(alone.actual)
    assert picked.resampled == pytest.approx(alone.resampled)
    assert np.isnan(together.actual).tolist() == [run == 6 for run in range(10)]
    assert np.isnan(together.resampled[:, 6]).all()


# Differences over seeds and examples


def test_nothing_that_starts_slowly_is_imported() -> None:
    use = """
import sys
import numpy as np
from glue_pool import stats
scores = np.random.default_rng(0).normal(size=(2, 5))
for seeds in (3, 5):
    stats.difference(np.arange(9.0), *np.random.default_rng(0).normal(size=(2, seeds, 9)), "corr")
stats.permutation_p(*scores), stats.holm(scores[0])
stats.almost_stochastic_order(scores), stats.detectable_gain(5, 1.0), stats.seeds_needed(1.0, 1.0)
print({"scipy.special", "scipy.stats", "scipy.optimize", "statsmodels", "sklearn", "torch"} & set(sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", use], capture_output=True, text=True).stdout == "{'scipy.special'}\n"


def test_groups_are_drawn_whole() -> None:
    draw = np.random.default_rng(0)
    labels, groups = draw.integers(2, size=60), draw.integers(-9, 9, size=60)
    got = stats.resample(labels, labels[None], lambda of, run: float(len(of)), groups=groups, resamples=50)
    of_groups = np.unique(groups, return_counts=True)[1]
    drawn = np.concatenate(list(resampled._weights(resampled._in_order(groups), 50, 0)))
    assert got.examples == len(of_groups)
    assert got.actual.tolist() == [60]
    assert np.ptp(got.resampled) > 0
    for group in np.unique(groups):
        assert (np.ptp(drawn[:, groups == group], axis=1) == 0).all()
    assert [np.sum(row[np.unique(groups, return_index=True)[1]]) for row in drawn] == [len(of_groups)] * 50
    assert got.resampled[:, 0].tolist() == drawn.sum(axis=1).tolist()


def test_groups_of_one_row_each_change_nothing() -> None:
    of = draw_runs(SHAPES["both matter"], "f1", 3, 90, np.random.default_rng(0))
    alone = stats.resample(of.labels, of.baseline, "f1", resamples=50)
    named = stats.resample(of.labels, of.baseline, "f1", groups=np.random.default_rng(1).permutation(90), resamples=50)
    assert (named.examples, named.resampled.tolist()) == (alone.examples, alone.resampled.tolist())
    with pytest.raises(ValueError, match="groups are one for each example"):
        stats.resample(of.labels, of.baseline, "f1", groups=np.zeros(3))


def test_an_average_is_that_of_every_seed_and_resample() -> None:
    tasks = [stats.Scores(np.array([0.5, 0.7]), np.array([[0.4, 0.6]]), 9), stats.Scores(np.ones(2), np.eye(2)[:1], 5)]
    got = stats.average(tasks)
    assert got.actual == pytest.approx([0.75, 0.85])
    assert got.resampled == pytest.approx(np.array([[0.7, 0.3]]))
    assert got.examples == 5


def test_a_run_without_a_score_in_one_task_has_no_average() -> None:
    of = runs(metric="pearson")
    broken = of.method.copy()
    broken[1, 7] = NAN
    one, other = (
        stats.average([stats.resample(of.labels, outputs, "pearson", resamples=50, seed=task) for task in range(2)])
        for outputs in (of.baseline, broken)
    )
    assert np.isnan(other.actual).tolist() == [False, True, False, False, False]
    assert (stats.compare(one, other).pairs, stats.compare(one, other).missing) == (4, 1)


def test_the_standard_error_of_an_accuracy_by_hand() -> None:
    """An accuracy is a mean, so the covariance over resamples has a closed form: the examples' own, over N."""
    of = runs(examples=277)
    right = (of.method == of.labels) * 1.0 - (of.baseline == of.labels)
    seeds = right.mean(axis=1).var(ddof=1) / 5
    covariance = np.cov(right, bias=True) / 277
    shared = (covariance.sum() - np.trace(covariance)) / 20
    got = stats.difference(of.labels, of.baseline, of.method, "accuracy", resamples=20_000)
    assert got.estimate == pytest.approx(right.mean())
    assert got.seed_std == pytest.approx(math.sqrt(5 * seeds))
    assert got.example_std == pytest.approx(math.sqrt(shared), rel=0.03)
    df = (seeds + shared) ** 2 / (seeds**2 / 4 + shared**2 / 276)
    half = scipy_stats.t.ppf(0.975, df) * math.sqrt(seeds + shared)
    assert [got.low, got.high] == pytest.approx([right.mean() - half, right.mean() + half], rel=0.02)


@pytest.mark.parametrize("judge", [stats.difference, multi_bootstrap])
def test_logits_classes_and_scores_are_read_alike(judge: Callable[..., Difference]) -> None:
    of = runs()
    logits = np.eye(2)[of.baseline], np.eye(2)[of.method]
    assert judge(of.labels, *logits, "accuracy") == judge(of.labels, of.baseline, of.method, "accuracy")
    of = runs(metric="pearson")
    column = of.baseline[:, :, None], of.method[:, :, None]
    assert judge(of.labels, *column, "corr") == judge(of.labels, of.baseline, of.method, "corr")


@pytest.mark.parametrize("judge", [stats.difference, multi_bootstrap])
def test_a_failed_seed_is_left_out_on_both_sides_and_counted(judge: Callable[..., Difference]) -> None:
    of = runs(metric="pearson")
    broken = of.method.copy()
    broken[1, 7] = NAN
    kept = [0, 2, 3, 4]
    got = judge(of.labels, of.baseline, broken, "pearson")
    want = judge(of.labels, of.baseline[kept], of.method[kept], "pearson")
    assert (got.pairs, got.missing) == (4, 1)
    assert fields(got) == pytest.approx(fields(want))


@pytest.mark.parametrize("judge", [stats.difference, multi_bootstrap])
@pytest.mark.parametrize(("name", "kind", "outputs"), CASES)
def test_a_method_that_always_failed_has_no_difference(
    judge: Callable[..., Difference], name: str, kind: ProblemType, outputs: int
) -> None:
    labels, logits = draw_outputs(kind, outputs, 3, 60, np.random.default_rng(0))
    got = judge(labels, logits, np.full(logits.shape, NAN), name, resamples=10)
    assert (got.pairs, got.missing) == (0, 3)
    assert np.isnan(fields(got)[:5]).all()


def test_a_method_that_always_failed_has_no_difference_in_a_metric_of_ones_own() -> None:
    of = runs(seeds=3)
    got = stats.difference(of.labels, of.baseline, np.full((3, 60, 2), NAN), lambda labels, of: 1.0, resamples=10)
    assert (got.pairs, got.missing) == (0, 3)
    assert np.isnan(fields(got)[:5]).all()


@pytest.mark.parametrize("judge", [stats.difference, multi_bootstrap])
def test_predictions_of_one_seed_give_no_interval(judge: Callable[..., Difference]) -> None:
    of = runs(seeds=1)
    got = judge(of.labels, of.baseline, of.method, "accuracy")
    assert math.isfinite(got.estimate)
    assert np.isnan([got.low, got.high, got.p]).all()


@pytest.mark.parametrize("judge", [stats.difference, multi_bootstrap])
@pytest.mark.parametrize(("name", "kind", "outputs"), CASES)
def test_a_method_does_not_differ_from_itself(
    judge: Callable[..., Difference], name: str, kind: ProblemType, outputs: int
) -> None:
    labels, logits = draw_outputs(kind, outputs, 5, 60, np.random.default_rng(0))
    assert fields(judge(labels, logits, logits, name)) == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("seeds", [2, 5])
def test_runs_that_no_seed_changes_are_judged_by_the_examples(seeds: int) -> None:
    of = runs(seeds=1, examples=500)
    right = (of.method[0] == of.labels) * 1.0 - (of.baseline[0] == of.labels)
    got = stats.difference(of.labels, of.baseline.repeat(seeds, 0), of.method.repeat(seeds, 0), "accuracy")
    assert got.seed_std == 0
    assert got.p == pytest.approx(scipy_stats.ttest_1samp(right, 0).pvalue, abs=0.05)


def test_a_constant_score_has_no_correlation_and_is_counted_as_missing() -> None:
    of = runs(metric="pearson")
    flat = of.method.copy()
    flat[2] = 0.1
    got = stats.difference(of.labels, of.baseline, flat, "corr")
    assert (got.pairs, got.missing) == (4, 1)
    assert got.low < got.estimate < got.high


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1), st.floats(0.001, 0.999))
def test_p_and_interval_agree(seeds: int, seed: int, confidence: float) -> None:
    of = runs(seeds, seed=seed)
    got = stats.difference(of.labels, of.baseline, of.method, "accuracy", confidence=confidence, resamples=50)
    if not math.isnan(got.p) and abs(got.p - (1 - confidence)) > 1e-9:
        assert (got.p < 1 - confidence) == (not got.low <= 0 <= got.high)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.sampled_from(BINARY))
def test_the_order_of_seeds_and_of_methods(seed: int, seeds: int, metric: str) -> None:
    of = runs(seeds, metric=metric, seed=seed)
    order = np.random.default_rng(seed).permutation(seeds)
    judge = partial(stats.difference, of.labels, metric=metric, resamples=50)
    plain = judge(of.baseline, of.method)
    assert fields(judge(of.baseline[order], of.method[order])) == pytest.approx(fields(plain), nan_ok=True)
    swapped = judge(of.method, of.baseline)
    want = [-plain.estimate, -plain.high, -plain.low, plain.p, plain.seed_std, plain.example_std]
    assert fields(swapped) == pytest.approx(want, nan_ok=True)


def test_the_multi_bootstrap_by_enumeration() -> None:
    """Two seeds and two examples: all 4 x 4 draws are equally likely."""
    labels, baseline, method = np.ones(2), np.zeros((2, 2)), np.array([[1, 1], [1, 0]])
    drawn = [method[np.ix_([s, t], [i, j])].mean() for s in (0, 1) for t in (0, 1) for i in (0, 1) for j in (0, 1)]
    got = multi_bootstrap(labels, baseline, method, "accuracy", resamples=4000)
    assert got.estimate == 0.75
    assert [got.low, got.high] == list(np.quantile(drawn, [0.025, 0.975], method="inverted_cdf"))
    assert got.p == pytest.approx(2 * np.mean(np.array(drawn) <= 0), abs=0.03)


# Almost Stochastic Order


def bound(order: stats.StochasticOrder, comparisons: int = 1) -> np.ndarray:
    """What the page makes of it: eps_min, where so many comparisons are made."""
    return np.asarray(np.clip(order.violation + norm.ppf(1 - stats.ALPHA / comparisons) * order.std, 0, 1))


def claimed(order: stats.StochasticOrder) -> np.ndarray:
    return bound(order) < stats.CLAIM_BELOW


def test_almost_stochastic_order_on_known_cases() -> None:
    low, high = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0, 7.0])
    got = stats.almost_stochastic_order([low, high, low])
    assert (got.violation[0, 1], bound(got)[0, 1], claimed(got)[0, 1]) == (0, 0, True)
    assert (got.violation[0, 2], claimed(got)[0, 2]) == (0.5, False)
    assert (got.violation[1, 0], bound(got)[1, 0], claimed(got)[1, 0]) == (1, 1, False)
    constant = stats.almost_stochastic_order([np.ones(4), np.ones(3)])
    assert (constant.violation[0, 1], bound(constant)[0, 1]) == (0.5, 0.5)


def test_the_violation_ratio_by_hand() -> None:
    # quantiles 0, 4 against 1, 1, 2 on thirds: gaps 1, then 1 and -3 on the middle third's halves, then -2
    got = stats.almost_stochastic_order([np.array([4.0, 0.0]), np.array([2.0, 1.0, 1.0])]).violation
    assert got[0, 1] == pytest.approx((9 / 6 + 4 / 3) / (1 / 3 + 1 / 6 + 9 / 6 + 4 / 3))


def test_more_comparisons_ask_for_more_confidence() -> None:
    draw = np.random.default_rng(0)
    got = stats.almost_stochastic_order([draw.normal(0, 1, 20), draw.normal(0.8, 1, 20)])
    one, ten = bound(got)[0, 1], bound(got, 10)[0, 1]
    assert one == pytest.approx(got.violation[0, 1] + norm.ppf(0.95) * got.std[0, 1])
    assert ten == pytest.approx(got.violation[0, 1] + norm.ppf(0.995) * got.std[0, 1])


def test_the_deviation_is_that_of_both_bootstraps() -> None:
    low, high = np.random.default_rng(0).normal(np.array([[0.0], [0.5]]), 1, (2, 6))
    draw = np.random.default_rng(1)
    again = [
        stats.almost_stochastic_order([draw.choice(low, 6), draw.choice(high, 6)], resamples=2).violation[0, 1]
        for _ in range(2000)
    ]
    got = stats.almost_stochastic_order([low, high], resamples=4000)
    assert got.std[0, 1] == got.std[1, 0] == pytest.approx(np.std(again), rel=0.05)


@given(scores(2), scores(2), st.floats(-10, 10), st.floats(0.1, 100))
def test_stochastic_order_knows_no_unit_and_turns_round(
    one: np.ndarray, other: np.ndarray, shift: float, scale: float
) -> None:
    order = partial(stats.almost_stochastic_order, resamples=20)
    there, back = order([one, other]).violation[0, 1], order([other, one]).violation
    assert there + back[0, 1] == pytest.approx(1)
    assert there == pytest.approx(back[1, 0])
    moved = order([scale * (one + shift), scale * (other + shift)]).violation[0, 1]
    if there != 0.5:  # what rounding leaves of equal runs may fall to either side
        assert moved == pytest.approx(there, abs=1e-6)


def test_one_run_has_no_stochastic_order() -> None:
    got = stats.almost_stochastic_order([np.array([0.5, NAN]), np.array([0.7, 0.8])])
    assert np.isnan(got.violation).all()
    assert not claimed(got).any()


# Power


@pytest.mark.parametrize(("gain", "seeds"), [(3.0, 2), (0.3, 5), (1.25, 5), (3.0, 5), (1.25, 20), (0.3, 300)])
def test_power_over_seeds_is_that_of_the_paired_t_test(gain: float, seeds: int) -> None:
    assert stats.power(gain, seeds, 1.7) == pytest.approx(TTestPower().power(gain / 1.7, seeds, 0.05), abs=1e-5)


def test_the_seeds_that_a_textbook_asks_for() -> None:
    assert stats.seeds_needed(0.5, 1.0) == 34  # a medium effect, paired, 80 % (Cohen 1988)
    assert stats.seeds_needed(0.8, 1.0) == 15
    assert stats.seeds_needed(1.0, 0.0) == 2


@settings(deadline=None)
@given(st.floats(0.05, 20), st.floats(0.1, 5), st.floats(0, 1))
def test_the_seeds_needed_are_the_fewest(gain: float, seed_std: float, example_std: float) -> None:
    needed = stats.seeds_needed(gain, seed_std, example_std)
    if needed == math.inf:
        assert stats.power(gain, 10**6, seed_std, example_std) < 0.8
    else:
        assert stats.power(gain, int(needed), seed_std, example_std) >= 0.8
        assert needed == 2 or stats.power(gain, int(needed) - 1, seed_std, example_std) < 0.8


def test_no_number_of_seeds_makes_up_for_few_examples() -> None:
    assert stats.seeds_needed(2.80, 1.0, 1.0) == math.inf  # z(0.975) + z(0.8) = 2.80159
    assert 100 < stats.seeds_needed(2.81, 1.0, 1.0) < math.inf


@settings(deadline=None)
@given(st.integers(2, 50), st.floats(0.1, 5), st.floats(0, 3))
def test_the_detectable_gain_has_the_power_it_says(seeds: int, seed_std: float, example_std: float) -> None:
    gain = stats.detectable_gain(seeds, seed_std, example_std)
    assert stats.power(gain, seeds, seed_std, example_std) == pytest.approx(0.8, abs=1e-6)


def test_arrays_are_answered_as_one_by_one() -> None:
    gains, seeds, spread, shared = np.array([0.5, 2.0, NAN]), np.array([[1], [4], [5]]), 1.0, np.array([0.0, 0.3, 1.0])
    each = list(np.broadcast(gains, seeds, spread, shared))
    for got, of, of_each in (
        (stats.power(gains, seeds, spread, shared), stats.power, each),
        (stats.detectable_gain(seeds, spread, shared), stats.detectable_gain, [args[1:] for args in each]),
    ):
        assert got.shape == (3, 3)
        assert got.ravel() == pytest.approx([float(of(*args)) for args in of_each], nan_ok=True)
    needed = [float(stats.seeds_needed(*of)) for of in zip(gains, [spread] * 3, shared, strict=True)]
    assert stats.seeds_needed(gains, spread, shared) == pytest.approx(needed, nan_ok=True)


def test_power_without_spread_or_without_pairs() -> None:
    assert stats.detectable_gain(5, 0.0) == 0
    assert math.isnan(stats.detectable_gain(1, 1.0))
    assert math.isnan(stats.power(1.0, 1, 1.0))
    assert stats.power(1.0, 5, 0.0) == 1
    assert stats.power(0.0, 5, 1.0) == pytest.approx(0.05, abs=1e-5)
    assert math.isnan(stats.seeds_needed(1.0, NAN))
    with pytest.raises(ValueError, match="gain is 0"):
        stats.seeds_needed(0, 1.0)


# Simulations: what is said to happen 5 % of the time happens 5 % of the time
#
# GLUE_POOL_REPLICATIONS=20 pytest tests/test_stats.py -k 'five_percent' -s    # twenty times as many, with the table


METRICS_SIMULATED = ("accuracy", "matthews_correlation", "f1", "pearson")
REPLICATIONS = {5: {277: 80, 1000: 50, 5000: 12}, 20: {277: 50, 1000: 25, 5000: 6}}
MARGIN = 0.015


def rates(cells: list[Cell]) -> tuple[float, float, int]:
    """How often null experiments were called significant, intervals missed, and over how many of each."""
    n = sum(cell.replications for cell in cells)
    return sum(cell.called for cell in cells) / n, sum(cell.missed for cell in cells) / n, n


def allowed(n: int) -> float:
    """How far from 5 % a rate over n replications may be.

    The margin is the true rate's. A share of n is off by chance too: by 3 standard errors once in 370 times, and there
    are some thirty rates.
    """
    return MARGIN + off_by_chance(0.05, n)


def off_by_chance(rate: float, n: int) -> float:
    return 3 * math.sqrt(rate * (1 - rate) / n)


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("seeds", [5, pytest.param(20, marks=pytest.mark.long)])
def test_the_verdict_errs_five_percent_of_the_time(seeds: int) -> None:
    def verdict(of: Runs, metric: str) -> Difference:
        return stats.difference(of.labels, of.baseline, of.method, metric, resamples=200)

    replications = {examples: MORE * n for examples, n in REPLICATIONS[seeds].items()}
    cells = list(study(verdict, seeds, replications, METRICS_SIMULATED))
    called, missed, n = rates(cells)
    print(f"\n{seeds} seeds: {called:.1%} called, {missed:.1%} missed of {n}")
    assert abs(called - 0.05) < MARGIN
    assert abs(missed - 0.05) < MARGIN
    for by in ("metric", "examples", "shape"):
        for value in dict.fromkeys(getattr(cell, by) for cell in cells):
            called, missed, n = rates([cell for cell in cells if getattr(cell, by) == value])
            print(f"{seeds} seeds, {value}: {called:.1%} called, {missed:.1%} missed of {n}")
            assert abs(called - 0.05) < allowed(n), value
            assert abs(missed - 0.05) < allowed(n), value


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize(
    "shape",
    [name if name == "both matter" else pytest.param(name, marks=pytest.mark.long) for name in SHAPES],
)
def test_no_shape_of_runs_makes_the_verdict_err_more_or_less(shape: str) -> None:
    """Where replications are cheap: 1,500 verdicts a shape, so that chance needs no allowance."""

    def verdict(of: Runs, metric: str) -> Difference:
        return stats.difference(of.labels, of.baseline, of.method, metric, resamples=200)

    cell = simulate(verdict, "accuracy", 277, shape, 5, 750 * MORE)
    wrong = (cell.called + cell.missed) / (2 * cell.replications)
    print(f"5 seeds, accuracy, {shape}: {wrong:.1%} wrong of {2 * cell.replications}")
    assert abs(wrong - 0.05) < MARGIN


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("seeds", [2, 3])
def test_the_verdict_of_fewer_seeds_errs_no_more_often(seeds: int) -> None:
    def verdict(of: Runs, metric: str) -> Difference:
        return stats.difference(of.labels, of.baseline, of.method, metric, resamples=200)

    cells = list(study(verdict, seeds, {277: 150 * MORE}, ("accuracy",)))
    called, missed, n = rates(cells)
    print(f"{seeds} seeds: {called:.1%} called, {missed:.1%} missed of {n}")
    assert max(called, missed) < 0.05 + MARGIN


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize(("seeds", "times"), [(5, 1000), pytest.param(20, 800, marks=pytest.mark.long)])
def test_the_verdict_on_an_average_errs_five_percent_of_the_time(seeds: int, times: int) -> None:
    tasks = [
        Task("accuracy", 277, "seeds dominate"),
        Task("matthews_correlation", 400, "both matter"),
        Task("f1", 200, "examples dominate"),
        Task("accuracy", 150, "nearly alike"),
    ]

    def verdict(runs: list[Runs]) -> Difference:
        baseline, method = (
            stats.average(
                [
                    stats.resample(of.labels, getattr(of, name), task.metric, resamples=200, seed=seed)
                    for seed, (of, task) in enumerate(zip(runs, tasks, strict=True))
                ]
            )
            for name in ("baseline", "method")
        )
        return stats.compare(baseline, method)

    called, missed = simulate_average(verdict, tasks, seeds, times * MORE)
    print(f"\n{seeds} seeds, average: {called / times / MORE:.1%} called, {missed / times / MORE:.1%} missed")
    assert abs(called / times / MORE - 0.05) < MARGIN
    assert abs(missed / times / MORE - 0.05) < MARGIN


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize(
    ("seeds", "alike", "times"),
    [(5, 1.0, 600), *(pytest.param(s, of, 4000, marks=pytest.mark.long) for s in (5, 20) for of in (1.0, 0.3))],
)
def test_rows_in_groups_err_five_percent_of_the_time_if_they_are_drawn_so(seeds: int, alike: float, times: int) -> None:
    """Three rows each, as MNLI's on one premise; taken for independent they raise false alarms."""
    task = Task("accuracy", 276, "examples dominate", together=3, alike=alike)
    of_three = np.arange(task.examples) // 3

    def verdict(runs: list[Runs], groups: np.ndarray | None) -> Difference:
        of = runs[0]
        return stats.difference(of.labels, of.baseline, of.method, task.metric, groups=groups, resamples=200)

    together, alone = (
        [wrong / times for wrong in simulate_average(partial(verdict, groups=groups), [task], seeds, times)]
        for groups in (of_three, None)
    )
    print(f"\n{seeds} seeds, {alike:g} alike, called, missed: {together} as groups, {alone} as single rows")
    assert max(abs(wrong - 0.05) for wrong in together) < allowed(times)
    assert min(alone) > (0.05 + allowed(times) if alike == 1 else 0.05 + off_by_chance(0.05, times))


@pytest.mark.usefixtures("drawn_once")
def test_the_plain_multi_bootstrap_does_not_err_five_percent_of_the_time() -> None:
    """What the test of the verdict would say of it: false alarms where seeds matter, too few where they don't."""

    def plain(of: Runs, metric: str) -> Difference:
        return multi_bootstrap(of.labels, of.baseline, of.method, metric, resamples=400)

    often = simulate(plain, "accuracy", 277, "seeds dominate", 5, 400 * MORE)
    seldom = simulate(plain, "accuracy", 277, "nearly alike", 5, 400 * MORE)
    assert often.called / often.replications > 0.05 + allowed(often.replications)
    assert seldom.called / seldom.replications < 0.05
    measured = stats.MEASURED_COVERAGE["multi_bootstrap"][5]
    assert 1 - often.missed / often.replications == pytest.approx(measured, abs=off_by_chance(measured, 400))


def test_almost_stochastic_order_claims_as_often_as_is_said_of_it() -> None:
    draw, times, alike, gained = np.random.default_rng(0), 1000, 0, 0
    for _ in range(times):
        one, other = draw.normal(size=(2, 5))
        alike += claimed(stats.almost_stochastic_order([one, other], resamples=300))[0, 1]
        gained += claimed(stats.almost_stochastic_order([one, other + 1], resamples=300))[0, 1]
    assert alike / times == pytest.approx(0.05, abs=off_by_chance(0.05, times))
    assert gained / times == pytest.approx(0.46, abs=off_by_chance(0.46, times))


def test_seeds_alone_do_not_err_five_percent_of_the_time_on_new_examples() -> None:
    def over_seeds(of: Runs, metric: str) -> Difference:
        accuracies = [(predictions == of.labels).mean(axis=1) for predictions in (of.baseline, of.method)]
        return stats.difference_over_seeds(*accuracies)

    same = simulate(over_seeds, "accuracy", 277, "one method twice", 5, 400 * MORE)
    other = simulate(over_seeds, "accuracy", 277, "examples dominate", 5, 200 * MORE)
    assert abs(same.called / same.replications - 0.05) < allowed(same.replications)
    assert other.called / other.replications > 0.3
