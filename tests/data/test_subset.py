from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glue_pool.data.rows import Rows
from glue_pool.data.sources import read
from glue_pool.data.subset import draw, hold_out
from glue_pool.errors import UserError
from glue_pool.schema import DataConfig
from glue_pool.tasks import TaskConfig

class_counts = st.lists(st.integers(1, 60), min_size=1, max_size=6)
seeds = st.integers(0, 2**31)


def rows_with(counts: list[int], shuffle: int = 0) -> Rows:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(shuffle).shuffle(labels)
    return Rows(([f"row {i}" for i in range(len(labels))],), labels, np.arange(len(labels)))


def scores(values: np.ndarray) -> Rows:
    return Rows(([""] * len(values),), values.astype(np.float32), np.arange(len(values)))


@given(class_counts, seeds, st.data())
def test_a_smaller_subset_is_the_beginning_of_a_larger_one(counts: list[int], seed: int, data: st.DataObject) -> None:
    rows = rows_with(counts)
    large = data.draw(st.integers(1, len(rows)))
    small = data.draw(st.integers(1, large))
    assert draw(rows.labels, small, seed).tolist() == draw(rows.labels, large, seed)[:small].tolist()


@given(class_counts, seeds)
def test_the_order_is_a_permutation_of_all_rows(counts: list[int], seed: int) -> None:
    rows = rows_with(counts)
    assert sorted(draw(rows.labels, len(rows), seed).tolist()) == list(range(len(rows)))


@given(class_counts, seeds)
def test_no_class_ever_has_a_whole_row_more_than_its_share(counts: list[int], seed: int) -> None:
    rows = rows_with(counts)
    got = rows.labels[draw(rows.labels, len(rows), seed)]
    for size in range(1, len(rows) + 1):
        share = size * np.array(counts) / len(rows)
        assert (np.bincount(got[:size], minlength=len(counts)) < share + 1).all()


@given(class_counts, seeds)
def test_no_class_lacks_a_whole_row_once_all_shares_are_a_row(counts: list[int], seed: int) -> None:
    rows = rows_with(counts)
    got = rows.labels[draw(rows.labels, len(rows), seed)]
    for size in range(1, len(rows) + 1):
        share = size * np.array(counts) / len(rows)
        if share.min() >= 1 or len(counts) <= 2:
            assert (np.bincount(got[:size], minlength=len(counts)) > share - 1).all()


@given(class_counts, seeds)
def test_every_class_is_there_as_soon_as_there_is_room(counts: list[int], seed: int) -> None:
    rows = rows_with(counts)
    assert len(set(rows.labels[draw(rows.labels, len(counts), seed)])) == len(counts)


def test_one_rare_row_among_a_thousand_is_drawn_second() -> None:
    rows = rows_with([1, 999])
    assert rows.labels[draw(rows.labels, 2, 0)].tolist() == [1, 0]


def test_the_first_row_is_of_the_commonest_class() -> None:
    rows = rows_with([3, 9, 5])
    assert {int(rows.labels[draw(rows.labels, 1, seed)[0]]) for seed in range(9)} == {1}


def test_the_same_seed_draws_the_same_rows_and_another_seed_others() -> None:
    rows = rows_with([50, 50])
    assert draw(rows.labels, 20, 7).tolist() == draw(rows.labels, 20, 7).tolist()
    assert len({tuple(draw(rows.labels, 20, seed)) for seed in range(50)}) == 50


def test_the_rows_drawn_stay_the_same_from_release_to_release() -> None:
    rows = Rows((["", "", "", "", "", ""],), np.array([0, 0, 1, 0, 1, 0]), np.arange(6))
    assert draw(rows.labels, 6, 0).tolist() == [5, 4, 3, 1, 0, 2]


def test_every_row_is_drawn_equally_often_over_seeds() -> None:
    rows = rows_with([10, 20])
    times = np.bincount(np.concatenate([draw(rows.labels, 6, seed) for seed in range(2000)]))
    assert np.abs(times / 2000 - 0.2).max() < 0.04  # 4 standard errors


@given(seeds)
@settings(max_examples=30)
def test_scores_are_stratified_by_equal_bins(seed: int) -> None:
    rows = scores(np.concatenate([np.linspace(0, 0.99, 40), np.linspace(4, 5, 60)]))
    got = rows.labels[draw(rows.labels, 10, seed, score_range=[0, 5])]
    assert ((got < 1).sum(), (got >= 4).sum()) == (4, 6)


def test_the_highest_score_belongs_to_the_last_bin() -> None:
    rows = scores(np.array([4.2, 4.2, 4.2, 5.0]))
    first = {int(draw(rows.labels, 1, seed, score_range=[0, 5])[0]) for seed in range(60)}
    assert first == {0, 1, 2, 3}


SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "uniform": lambda draw, n: draw.uniform(0, 10, n),
    "negative": lambda draw, n: draw.uniform(-100, -50, n),
    "skewed": lambda draw, n: draw.exponential(3, n),
    "nearly all the same": lambda draw, n: np.where(draw.random(n) < 0.95, 3.0, draw.uniform(0, 10, n)),
    "mostly zeros": lambda draw, n: np.where(draw.random(n) < 0.85, 0.0, draw.uniform(0, 5, n)),
    "mostly the highest": lambda draw, n: np.where(draw.random(n) < 0.85, 5.0, draw.uniform(0, 5, n)),
    "whole numbers": lambda draw, n: draw.integers(1, 6, n),
    "a constant": lambda draw, n: np.full(n, 2.5),
    "one far away": lambda draw, n: np.append(draw.uniform(0, 1, n - 1), 1000.0),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_range", [False, True])
def test_a_subset_of_scores_has_its_populations_distribution(shape: str, with_range: bool) -> None:
    """Its mean is the population's to a quarter of a standard error, and varies no more than that of a simple draw."""
    values = SHAPES[shape](np.random.default_rng(0), 400).astype(np.float32)
    given = [float(values.min()) - 1, float(values.max()) + 1] if with_range else None
    means = np.array([values[draw(values, 32, seed, score_range=given)].mean() for seed in range(200)])
    error = values.std() / np.sqrt(32)
    assert abs(means.mean() - values.mean()) <= 4 * error / np.sqrt(200) + 0.25 * error
    assert means.std() <= 1.1 * error
    if shape.startswith("mostly"):  # the share of the common score is the population's
        common = 0.0 if "zeros" in shape else 5.0
        shares = [(values[draw(values, 32, seed, score_range=given)] == common).mean() for seed in range(200)]
        assert np.std(shares) < 0.5 * np.sqrt(0.85 * 0.15 / 32)
    ranks = np.array(
        [(values[draw(values, 32, seed, score_range=given)] <= np.median(values)).mean() for seed in range(200)]
    )
    assert abs(ranks.mean() - (values <= np.median(values)).mean()) < 0.05


def test_a_subset_of_label_sets_is_stratified_and_rare_sets_are_one_stratum() -> None:
    common = np.repeat([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], [300, 150, 50], axis=0)
    rare = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]])  # once each
    labels = np.concatenate([common, np.repeat(rare, 2, axis=0)])
    for seed in range(20):
        got = labels[draw(labels, 100, seed)]
        counts = [int((got == of).all(axis=1).sum()) for of in common[[0, 300, 450]]]
        assert counts == pytest.approx([100 * n / len(labels) for n in (300, 150, 50)], abs=1)
        assert int(got[:, 3].sum()) in (1, 2)  # 8 of 508 rows, and not one of each set
    assert draw(labels, 50, 0).tolist() == draw(labels, 100, 0)[:50].tolist()
    assert sorted(draw(labels, len(labels), 0)) == list(range(len(labels)))


# the dev share


@given(class_counts.filter(lambda counts: sum(counts) > 10), seeds, st.sampled_from([0.1, 0.3, 0.5]))
def test_a_dev_share_is_stratified_and_no_row_of_it_is_trained_on(counts: list[int], seed: int, share: float) -> None:
    rows = rows_with(counts)
    task = TaskConfig(name="mine", primary_metric="accuracy", dev_share=share, dev_seed=seed)
    train, dev = hold_out(rows, task)
    assert sorted([*train.texts[0], *dev.texts[0]]) == sorted(rows.texts[0])
    assert train.idx.tolist() == sorted(train.idx)
    assert dev.idx.tolist() == sorted(dev.idx)
    assert [f"row {i}" for i in dev.idx] == dev.texts[0]
    got = np.bincount(dev.labels, minlength=len(counts))
    assert (got < len(dev) / len(rows) * np.array(counts) + 1 + 1 / len(rows)).all()
    assert hold_out(rows, task)[1].idx.tolist() == dev.idx.tolist()


def test_a_dev_share_is_drawn_by_a_seed_of_its_own() -> None:
    rows = rows_with([60, 60])
    tasks = [TaskConfig(name="mine", primary_metric="", dev_share=0.2, dev_seed=seed) for seed in range(5)]
    assert len({tuple(hold_out(rows, task)[1].idx) for task in tasks}) == 5
    assert set(hold_out(rows, tasks[0])[1].idx) != set(draw(rows.labels, 24, 0))  # nor is it the subset of that seed


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_dev_share_without_rows_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"task\.dev_share=0\.\d+: of 100 rows that is (0|100);"):
        hold_out(rows_with([100]), TaskConfig(name="mine", primary_metric="", dev_share=share))


def test_no_size_is_all_rows_in_their_order() -> None:
    assert draw(rows_with([3, 4]).labels, None, 5).tolist() == list(range(7))


@pytest.mark.parametrize("size", [0, -1, 8])
def test_an_impossible_size_says_how_many_rows_there_are(size: int) -> None:
    with pytest.raises(UserError, match=rf"subset.size={size}: the train split has 7 rows"):
        draw(rows_with([3, 4]).labels, size, 0)


@pytest.mark.parametrize("task", ["cola", "mnli", "stsb"])
def test_real_train_splits_are_halved_in_proportion(
    task: str, glue_dir: Path, load_task: Callable[[str], TaskConfig]
) -> None:
    config = load_task(task)
    rows = read(DataConfig(name="local", dir=str(glue_dir), cache_dir=""), config)["train"]
    size = len(rows) // 2
    got = rows.labels[draw(rows.labels, size, 0, score_range=config.score_range)]
    edges = np.linspace(0, 5, 6) if config.score_range else np.arange(len(config.labels) + 1)
    halves = np.histogram(rows.labels, edges)[0] * size / len(rows)
    assert np.abs(np.histogram(got, edges)[0] - halves).max() < 1
