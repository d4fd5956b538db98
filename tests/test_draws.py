"""Several draws of the training rows: the verdict on another draw, and that it errs as often as it says."""

import math

import numpy as np
import pytest

from glue_pool import stats
from glue_pool.stats import Difference, Scores
from simulated_runs import OF_DRAWS, Runs, simulate_draws

MATTERS, DOES_NOT, SAME_SEEDS = OF_DRAWS
NAN = np.nan


def scores(actual: list[float], seed: int = 0) -> Scores:
    return Scores(np.array(actual), np.array(actual) + np.random.default_rng(seed).normal(size=(3, len(actual))), 9)


def test_a_draw_is_the_mean_of_its_runs_with_a_score() -> None:
    draws = [scores([1.0, 3.0]), scores([5.0, NAN, 6.0, 7.0]), scores([NAN])]
    got = stats.pooled(draws)
    assert got.actual == pytest.approx([2, 6, NAN], nan_ok=True)
    assert got.examples == 9
    assert got.resampled[:, 0] == pytest.approx(draws[0].resampled.mean(axis=1))
    assert got.resampled[:, 1] == pytest.approx(draws[1].resampled[:, [0, 2, 3]].mean(axis=1))
    assert np.isnan(got.resampled[:, 2]).all()


def test_a_draw_without_a_score_is_missing_in_the_verdict() -> None:
    method = [scores([2.0, 2.5], seed) for seed in range(3)]
    baseline = [scores([1.0, 1.7], 5), scores([1.0], 6), scores([NAN, NAN], 7)]
    got = stats.compare(stats.pooled(baseline), stats.pooled(method))
    assert (got.pairs, got.missing) == (2, 1)
    assert got.estimate == pytest.approx(((2.25 - 1.35) + (2.25 - 1)) / 2)


def test_draws_of_one_run_are_those_runs() -> None:
    of = scores([1.0, 2.0, 4.0])
    got = stats.pooled([of.of([run]) for run in range(3)])
    assert (got.actual == of.actual).all()
    assert (got.resampled == of.resampled).all()


def test_draws_on_other_examples_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 resamples of 9 examples for 3 of 9: all draws"):
        stats.pooled([scores([1.0]), Scores(np.ones(1), np.ones((2, 1)), 9)])


pytestmark = pytest.mark.usefixtures("drawn_once")


def of_both(runs: Runs) -> tuple[Scores, Scores]:
    both = stats.resample(runs.labels, np.concatenate([runs.baseline, runs.method]), "accuracy", resamples=200)
    n = len(runs.baseline)
    return both.of(np.arange(n)), both.of(np.arange(n, 2 * n))


def errors(shape: str, draws: int, seeds: int, times: int, *, naive: bool = False) -> tuple[float, float]:
    """Return the shares of null experiments that were called and of intervals that missed."""

    def judge(runs: Runs) -> Difference:
        both = of_both(runs)
        if naive:
            return stats.compare(*both)
        parts = np.split(np.arange(draws * seeds), draws)
        return stats.compare(*(stats.pooled([of.of(part) for part in parts]) for of in both))

    called, missed = simulate_draws(judge, shape, draws, seeds, times)
    way = "naive" if naive else "pooled"
    print(f"{shape}, {draws} draws of {seeds}, {way}: {called / times:.1%} called, {missed / times:.1%} missed")
    return called / times, missed / times


MARGIN = 0.015  # of the true rate
SOME = [(3, 1, 500), (5, 3, 500)]
EVERY = [(draws, seeds, 2000) for draws in (3, 5, 10) for seeds in (1, 3, 5)]
SIZES = [*SOME, *(pytest.param(*size, marks=pytest.mark.long) for size in EVERY)]


@pytest.mark.parametrize(("draws", "seeds", "times"), SIZES)
@pytest.mark.parametrize("shape", [MATTERS, DOES_NOT])
def test_the_verdict_on_new_draws_errs_five_percent_of_the_time(shape: str, draws: int, seeds: int, times: int) -> None:
    """Of 3 draws, as of 3 seeds, no more often than that."""
    for wrong in errors(shape, draws, seeds, times):
        assert wrong < 0.05 + MARGIN + off_by_chance(0.05, times)
        assert draws < 5 or wrong > 0.05 - MARGIN - off_by_chance(0.05, times)


@pytest.mark.parametrize(
    ("draws", "seeds", "times"),
    [(5, 5, 300), *(pytest.param(draws, 5, 2000, marks=pytest.mark.long) for draws in (3, 5, 10))],
)
def test_all_runs_as_though_their_seeds_were_independent_err_more_often(draws: int, seeds: int, times: int) -> None:
    for wrong in errors(MATTERS, draws, seeds, times, naive=True):
        assert wrong - off_by_chance(wrong, times) > 0.05 + MARGIN


@pytest.mark.parametrize("times", [300, pytest.param(3000, marks=pytest.mark.long)])
def test_seeds_that_do_the_same_in_all_draws_are_no_new_ones(times: int) -> None:
    """The worst case: all that a seed does to a method, it does on every draw."""
    called, _ = errors(SAME_SEEDS, 5, 3, times)
    assert called == pytest.approx(stats.SAME_SEEDS_CALLED, abs=off_by_chance(stats.SAME_SEEDS_CALLED, times))


def off_by_chance(rate: float, times: int) -> float:
    return 3 * math.sqrt(rate * (1 - rate) / times)
