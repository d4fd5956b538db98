"""What verdicts say as a table: corrected together, equivalence, ranks, and the power of its marks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from glue_pool import stats
from glue_pool.stats import Difference
from simulated_runs import SHAPES, Shape
from test_stats import MORE, off_by_chance

NAN = math.nan


def verdict(paired: np.ndarray, example_std: float = 0.0, examples: float = math.inf) -> Difference:
    """The verdict on differences `(seeds,)` whose shared part has this standard error, known from so many examples."""
    n, std = len(paired), float(paired.std(ddof=1))
    error = math.hypot(std / math.sqrt(n), example_std)
    share = std**2 / n / error**2
    freedom = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / min(examples - 1, 1e9))
    p = float(2 * scipy_stats.t.sf(abs(paired.mean()) / error, freedom))
    return Difference(float(paired.mean()), NAN, NAN, p, n, 0, std, example_std, examples)


def differences(count: int, draw: np.random.Generator, seeds: int = 5, example_std: float = 0.0) -> list[Difference]:
    return [verdict(draw.normal(0, 1, seeds) + draw.normal(0, example_std), example_std) for _ in range(count)]


# A family


def test_one_difference_by_itself_keeps_its_p() -> None:
    (of,) = differences(1, np.random.default_rng(0))
    assert stats.family([of], ["rte"]) == [of.p]
    assert len(stats.family([], [])) == 0


def test_without_shared_examples_it_is_holms_correction_of_students_p() -> None:
    of = differences(6, np.random.default_rng(0))
    assert stats.family(of, ["rte"] * 6) == pytest.approx(stats.holm(np.array([one.p for one in of])))
    assert stats.family(of, list("abcdef")) == pytest.approx(stats.holm(np.array([one.p for one in of])), rel=1e-3)


def test_a_difference_alone_in_its_column_has_behrens_and_fishers_p() -> None:
    paired, example_std = np.array([0.2, 1.1, 0.9, 1.4, 0.6]), 0.3
    first, second = verdict(paired, example_std), verdict(paired[::-1] / 10, example_std)
    draw = np.random.default_rng(0)
    of_seeds = draw.standard_t(4, 400_000) * paired.std(ddof=1) / math.sqrt(5)
    convolved = np.mean(np.abs(of_seeds + draw.normal(0, example_std, 400_000)) > paired.mean())
    assert stats.family([first, second], ["rte", "mrpc"])[0] == pytest.approx(2 * convolved, rel=0.03)


def test_a_spread_that_came_out_small_is_not_believed_where_the_others_are_larger() -> None:
    small = verdict(np.array([1.0, 1.01, 0.99, 1.02, 0.98]), 0.2)
    others = differences(4, np.random.default_rng(0), example_std=0.2)
    alone = stats.family([small, *others], ["rte", *["mrpc"] * 4])[0]
    among = stats.family([small, *others], ["rte"] * 5)[0]
    assert among > 10 * alone


def test_a_missing_p_counts_as_a_test_and_stays_missing() -> None:
    of = differences(3, np.random.default_rng(0))
    none = replace(of[0], p=NAN, seed_std=NAN)
    same = replace(of[0], estimate=0.0, p=1.0, seed_std=0.0)
    got = stats.family([*of, none, same], ["rte"] * 5)
    assert math.isnan(got[3])
    assert got[4] == 1
    assert got[:3] == pytest.approx(stats.holm(np.array([one.p for one in of] + [NAN, 1.0]))[:3])


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(2, 20), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_a_correction_is_no_smaller_than_one_test_and_knows_no_order_or_unit(
    count: int, seeds: int, example_std: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    of = differences(count, draw, seeds, example_std)
    columns = draw.integers(3, size=count).tolist()
    got = stats.family(of, columns)
    order = draw.permutation(count)
    assert stats.family([of[i] for i in order], [columns[i] for i in order]) == pytest.approx(got[order])
    scaled = [
        replace(one, estimate=-7 * one.estimate, seed_std=7 * one.seed_std, example_std=7 * one.example_std)
        for one in of
    ]
    assert stats.family(scaled, columns) == pytest.approx(got, rel=1e-6)
    assert ((got >= 0) & (got <= 1)).all()


# Tables of equals


def draw_table(
    shapes: list[Shape], methods: int, seeds: int, examples: int, draw: np.random.Generator
) -> list[list[stats.Scores]]:
    """Draw a baseline and so many methods that are no better, on a task a shape: scores by task and row."""
    tasks = []
    for number, shape in enumerate(shapes):
        labels = (draw.random(examples) < shape.positive).astype(int)
        hard, skill = draw.normal(0, shape.example_shared, examples), draw.normal(0, shape.seed_shared, (seeds, 1))
        rows = []
        for _ in range(methods + 1):
            own_skill = draw.normal(0, shape.seed_own, (seeds, 1))
            own = draw.normal(0, shape.example_own, examples)
            error = hard + own + draw.normal(0, shape.noise_own, (seeds, examples))
            rows.append(np.where(shape.base + skill + own_skill + error > 0, labels, 1 - labels))
        scored = stats.resample(labels, np.concatenate(rows), "accuracy", resamples=200, seed=number)
        tasks.append([scored.of(range(row * seeds, (row + 1) * seeds)) for row in range(methods + 1)])
    return tasks


def marked(tasks: list[list[stats.Scores]]) -> bool:
    """Whether a table of these marks anything, on a task or on the average."""
    of_average = [stats.average(list(row)) for row in zip(*tasks, strict=True)]
    found = [
        (column, stats.compare(rows[0], method))
        for column, rows in enumerate([*tasks, of_average])
        for method in rows[1:]
    ]
    return bool((stats.family([d for _, d in found], [column for column, _ in found]) < stats.ALPHA).any())


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize(
    ("methods", "seeds", "times"),
    [
        (5, 5, 100),
        (1, 5, 100),
        *(
            pytest.param(methods, seeds, 1000, marks=pytest.mark.long)
            for methods, seeds in ((1, 5), (5, 5), (10, 5), (5, 10), (5, 20))
        ),
    ],
)
def test_a_table_of_equals_has_a_mark_in_five_percent(methods: int, seeds: int, times: int) -> None:
    shapes = [SHAPES[name] for name in ("seeds dominate", "both matter", "examples dominate", "one method twice")]
    draw = np.random.default_rng([methods, seeds])
    times *= MORE
    rate = np.mean([marked(draw_table(shapes, methods, seeds, 277, draw)) for _ in range(times)])
    print(f"\n{methods} methods, 4 tasks, {seeds} seeds: {rate:.1%} of {times} tables have a mark")
    assert rate < 0.065 + off_by_chance(0.065, times)


@pytest.mark.parametrize("example_std", [0.1, 0.2, 1.0])
def test_the_verdicts_own_p_is_too_small_for_many_tests(example_std: float) -> None:
    """Why the correction is not of the verdict's own p: what Holm's would mark of equals, and what `family` does."""
    draw, times, plain, corrected = np.random.default_rng(1), 300 * MORE, 0, 0
    for _ in range(times):
        of = differences(25, draw, 5, example_std)
        plain += bool((stats.holm(np.array([one.p for one in of])) < stats.ALPHA).any())
        corrected += bool((stats.family(of, [i % 5 for i in range(25)]) < stats.ALPHA).any())
    print(f"\n{example_std}: Holm's of the verdict's own p {plain / times:.1%}, corrected {corrected / times:.1%}")
    assert corrected / times < 0.065 + off_by_chance(0.065, times)
    if example_std < 1:
        assert plain / times > 0.065 + off_by_chance(0.065, times)


def test_the_other_rows_spread_finds_more_than_each_difference_by_itself() -> None:
    """Two of five methods gain on four tasks, of 5 seeds; what seeds and what examples add are as large."""
    draw, times, together, alone = np.random.default_rng(2), 100 * MORE, 0.0, 0.0
    gained = np.repeat([3 * math.sqrt(2), 3 * math.sqrt(2), 0.0, 0.0, 0.0], 4)
    for _ in range(times):
        runs = draw.normal(0, 1, (6, 4, 5)) + draw.normal(0, math.sqrt(0.2), (6, 4, 1))
        paired = (runs[1:] - runs[0]).reshape(20, 5) + gained[:, None]
        of = [verdict(row, math.sqrt(0.4)) for row in paired]
        together += float(np.mean(stats.family(of, [i % 4 for i in range(20)])[:8] < stats.ALPHA)) / times
        alone += float(np.mean(stats.family(of, list(range(20)))[:8] < stats.ALPHA)) / times
    print(f"\nfound: {together:.0%}, by Behrens and Fisher's p alone {alone:.0%}")
    assert together > alone + 0.15


@pytest.mark.parametrize("seeds", [5, pytest.param(20, marks=pytest.mark.long)])
def test_the_best_of_six_equal_variants_is_marked_in_five_percent(seeds: int) -> None:
    """Six that differ from the baseline by chance, as a key that is chosen on the split that is reported."""
    draw, times = np.random.default_rng(seeds), 600 * MORE
    alone, marks, gained = 0, 0, 0.0
    for _ in range(times):
        runs = draw.normal(0, 2, (7, seeds)) + draw.normal(0, 0.5, (7, 1))
        of = [verdict(row, 0.5 * math.sqrt(2)) for row in runs[1:] - runs[0]]
        best = int(np.argmax([one.estimate for one in of]))
        alone += of[best].p < stats.ALPHA and of[best].estimate > 0
        marks += bool(stats.family(of, [0] * 6)[best] < stats.ALPHA and of[best].estimate > 0)
        gained += of[best].estimate / times
    print(f"\n{seeds} seeds: alone {alone / times:.1%}, in the table {marks / times:.1%}, by {gained:+.1f} points")
    assert alone / times > 0.05 + off_by_chance(0.05, times)
    assert marks / times < 0.05 + off_by_chance(0.05, times)


# Power


@pytest.mark.parametrize(("seeds", "tests", "others"), [(5, 1, 0), (3, 5, 0), (5, 5, 0), (3, 21, 4), (5, 21, 4)])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_detectable_gain_is_marked_four_times_in_five(seeds: int, tests: int, others: int, ratio: float) -> None:
    """Simulated at the spread of 2 that is known; ratio: of what the seeds share to what they average out."""
    draw, times, std = np.random.default_rng([seeds, tests]), 500 * MORE, 2.0
    example_std = ratio * std / math.sqrt(seeds)
    gain = float(stats.detectable_gain(seeds, std, example_std, tests=tests, others=others))
    marks = 0
    for _ in range(times):
        runs = draw.normal(0, std / math.sqrt(2), (others + 2, seeds))
        runs += draw.normal(0, example_std / math.sqrt(2), (others + 2, 1))
        paired = runs[1:] - runs[0]
        paired[0] += gain
        of = [verdict(row, example_std) for row in paired]
        rest = [Difference(0.0, 0.0, 0.0, 1.0, seeds, 0, std, example_std)] * (tests - len(of))
        columns = [0] * len(of) + list(range(1, 1 + len(rest)))
        marks += stats.family([*of, *rest], columns)[0] < stats.ALPHA
    print(f"\n{seeds} seeds, {tests} tests, {others} others, ratio {ratio:g}: {marks / times:.1%}")
    # of one test it is a little more: the verdict's own p is a little less careful
    assert marks / times == pytest.approx(0.8, abs=off_by_chance(0.8, times) + (0.05 if tests == 1 else 0.0))


def test_more_tests_ask_for_more_seeds() -> None:
    few, many = (stats.seeds_needed(1.25, 2.0, 0.2, tests=n, others=3) for n in (1, 50))
    assert few < many < 4 * few
    assert stats.power(1.25, many, 2.0, 0.2, tests=50, others=3) >= 0.8
    assert stats.power(1.25, many - 1, 2.0, 0.2, tests=50, others=3) < 0.8


def test_the_spread_that_few_seeds_leave_open() -> None:
    low, high = stats.spread_interval(2.0, np.array([5, 1]))
    assert [low[0], high[0]] == pytest.approx([2 * 0.599, 2 * 2.874], abs=0.01)
    assert np.isnan([low[1], high[1]]).all()
    draw = np.random.default_rng(0)
    spreads = draw.normal(0, 3, (4000, 5)).std(axis=1, ddof=1)
    low, high = stats.spread_interval(spreads, 5)
    assert np.mean((low < 3) & (high > 3)) == pytest.approx(0.95, abs=off_by_chance(0.05, 4000))


# Equivalence


def test_equivalence_is_the_ninety_percent_interval_within_the_margin() -> None:
    of = stats.difference_over_seeds(np.zeros(6), np.array([0.1, -0.2, 0.3, 0.0, 0.2, -0.1]))
    want = scipy_stats.ttest_1samp([0.1, -0.2, 0.3, 0.0, 0.2, -0.1], 0).confidence_interval(0.9)
    assert of.interval(0.9) == pytest.approx((want.low, want.high))
    assert of.interval(stats.CONFIDENCE) == pytest.approx((of.low, of.high))
    assert of.equivalent(want.high + 1e-9)
    assert not of.equivalent(want.high - 1e-9)


def test_nothing_is_equivalent_without_an_interval() -> None:
    assert not stats.difference_over_seeds(np.array([0.5]), np.array([0.5])).equivalent(1.0)
    assert not stats.difference_over_seeds(np.zeros(3), np.full(3, 0.1)).equivalent(1.0)
    assert stats.difference_over_seeds(np.ones(3), np.ones(3)).equivalent(0.1)


@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_a_difference_of_the_margin_is_called_equivalent_in_five_percent(seeds: int) -> None:
    draw, times = np.random.default_rng(seeds), 2000
    paired = 1.0 + draw.normal(0, 0.3, (times, seeds))
    rate = np.mean([stats.difference_over_seeds(np.zeros(seeds), one).equivalent(1.0) for one in paired])
    assert rate == pytest.approx(0.05, abs=off_by_chance(0.05, times))


# Ranks


def test_ranks_by_hand() -> None:
    estimates = np.array([[0.0, 2.0, 5.0], [-2.0, 0.0, 3.0], [-5.0, -3.0, 0.0]])
    p = np.array([[NAN, 0.5, 0.01], [0.5, NAN, 0.2], [0.01, 0.2, NAN]])
    assert stats.rank_intervals(estimates, p).tolist() == [[1, 2], [1, 3], [2, 3]]
    assert stats.rank_intervals(estimates, np.full((3, 3), NAN)).tolist() == [[1, 3]] * 3


def test_ranks_hold_of_all_rows_at_once() -> None:
    """Six rows half a spread apart, 5 seeds."""
    draw, times, held = np.random.default_rng(0), 300, 0
    truth = np.arange(6)[::-1] * 0.5
    for _ in range(times):
        scores = truth[:, None] + draw.normal(size=(6, 5))
        pairs = [(a, b) for a in range(6) for b in range(a)]
        of = [stats.difference_over_seeds(scores[b], scores[a]) for a, b in pairs]
        estimates, p = np.zeros((6, 6)), np.full((6, 6), NAN)
        for (a, b), one, corrected in zip(pairs, of, stats.family(of, [0] * len(of)), strict=True):
            estimates[a, b], estimates[b, a], p[a, b], p[b, a] = one.estimate, -one.estimate, corrected, corrected
        low, high = stats.rank_intervals(estimates, p).T
        held += ((low <= np.arange(1, 7)) & (np.arange(1, 7) <= high)).all()
    assert held / times > 0.95 - off_by_chance(0.05, times)
