import dataclasses
import re
from collections.abc import Callable
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from glue_pool.data.rows import Rows
from glue_pool.data.synthetic import generate
from glue_pool.errors import UserError
from glue_pool.tasks import TaskConfig

COLUMNS = {"cola": 1, "sst2": 1, "mrpc": 2, "qqp": 2, "stsb": 2, "mnli": 2, "qnli": 2, "rte": 2, "wnli": 2}
LoadTask = Callable[[str], TaskConfig]
each_task = pytest.mark.parametrize("task", COLUMNS)


def rows_of(split: Rows) -> list[tuple[str, ...]]:
    return list(zip(*split.texts, strict=True))


def same(a: Rows, b: Rows) -> bool:
    return a.texts == b.texts and np.array_equal(a.labels, b.labels) and np.array_equal(a.idx, b.idx)


@each_task
def test_splits_have_glues_names_columns_and_label_ids(task: str, load_task: LoadTask) -> None:
    splits = generate(load_task(task), train_rows=300, dev_rows=66, seed=0)
    dev = ["validation_matched", "validation_mismatched"] if task == "mnli" else ["validation"]
    assert list(splits) == ["train", *dev]
    for name, split in splits.items():
        rows = 300 if name == "train" else 66
        assert len(split.texts) == COLUMNS[task]
        assert all(len(column) == rows for column in split.texts)
        assert split.idx.dtype == np.int64
        assert split.idx.tolist() == list(range(rows))
        assert split.labels.dtype == (np.float32 if task == "stsb" else np.int64)
        ids = np.arange(11) / 2 if task == "stsb" else np.arange(3 if task == "mnli" else 2)
        assert np.unique(split.labels).tolist() == ids.tolist()


@each_task
def test_the_seed_decides_every_row(task: str, load_task: LoadTask) -> None:
    one, again, other = (generate(load_task(task), train_rows=60, dev_rows=20, seed=seed) for seed in (5, 5, 6))
    for name in one:
        assert same(one[name], again[name])
        assert rows_of(one[name]) != rows_of(other[name])


def test_rows_are_the_same_on_every_machine(load_task: LoadTask) -> None:
    """Results are compared by config: whoever changes the generator changes what a seed means."""
    splits = [generate(load_task(task), train_rows=50, dev_rows=20, seed=0) for task in COLUMNS]
    assert crc32(repr([rows_of(split) for task in splits for split in task.values()]).encode()) == 1263417796


@each_task
def test_no_dev_row_is_a_train_row(task: str, load_task: LoadTask) -> None:
    train, *dev = generate(load_task(task), train_rows=2000, dev_rows=400, seed=1).values()
    for split in dev:
        assert not set(rows_of(split)) & set(rows_of(train))
        assert not set(split.texts[0]) & set(train.texts[0])


@each_task
def test_no_split_depends_on_the_size_of_another_and_more_rows_begin_with_the_fewer(
    task: str, load_task: LoadTask
) -> None:
    small = generate(load_task(task), train_rows=50, dev_rows=30, seed=2)
    more_train = generate(load_task(task), train_rows=150, dev_rows=30, seed=2)
    more_dev = generate(load_task(task), train_rows=50, dev_rows=90, seed=2)
    assert same(more_dev["train"], small["train"])
    assert rows_of(more_train["train"])[:50] == rows_of(small["train"])
    for name in small.keys() - {"train"}:
        assert same(more_train[name], small[name])
        assert rows_of(more_dev[name])[:30] == rows_of(small[name])


@each_task
def test_classes_are_balanced(task: str, load_task: LoadTask) -> None:
    for split in generate(load_task(task), train_rows=500, dev_rows=101, seed=3).values():
        _, counts = np.unique(split.labels, return_counts=True)
        assert counts.max() - counts.min() <= 1


@each_task
def test_rows_repeat_only_where_the_vocabulary_runs_out(task: str, load_task: LoadTask) -> None:
    train = generate(load_task(task), train_rows=2000, dev_rows=1, seed=4)["train"]
    assert len(set(rows_of(train))) == 2000


@each_task
def test_every_template_is_filled_and_reads_as_english(task: str, load_task: LoadTask) -> None:
    splits = generate(load_task(task), train_rows=2000, dev_rows=400, seed=0)
    for text in {text for split in splits.values() for column in split.texts for text in column}:
        assert not re.search(r"[{}|>]|  |^\s|\s$", text), text
        assert not re.search(r"\b(a [aeio]\w|an (?!hour)[^aeio])", text), text
        assert task == "sst2" or re.search(r"^[A-Z].*[.?]$", text), text


def test_the_mismatched_split_of_mnli_has_a_vocabulary_of_its_own(load_task: LoadTask) -> None:
    splits = generate(load_task("mnli"), train_rows=2000, dev_rows=400, seed=0)
    words = {name: set(re.findall(r"\w+", " ".join(map(" ".join, split.texts)))) for name, split in splits.items()}
    assert len(words["validation_matched"] - words["train"]) < 5
    assert len(words["validation_mismatched"] - words["train"]) > 100


def test_rte_premises_are_long_and_of_many_lengths(load_task: LoadTask) -> None:
    premises, hypotheses = generate(load_task("rte"), train_rows=1000, dev_rows=1, seed=0)["train"].texts
    words = np.array([len(text.split()) for text in premises])
    assert words.mean() > 2 * np.mean([len(text.split()) for text in hypotheses])
    assert words.std() > 8


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ngrams", [(1, 1), (1, 2)])
@pytest.mark.parametrize("apart", [False, True], ids=["joined", "apart"])
def test_words_alone_do_not_solve_rte(seed: int, ngrams: tuple[int, int], apart: bool, load_task: LoadTask) -> None:
    """A bag-of-words classifier stays 10 points below the 0.85 that MiniLM has to reach."""
    splits = generate(load_task("rte"), train_rows=2000, dev_rows=400, seed=seed)

    def columns(split: Rows) -> list[list[str]]:
        return list(split.texts) if apart else [[" ".join(row) for row in rows_of(split)]]

    train, dev = columns(splits["train"]), columns(splits["validation"])
    bags = [CountVectorizer(ngram_range=ngrams).fit(column) for column in train]
    x, x_dev = (hstack([b.transform(c) for b, c in zip(bags, split, strict=True)]) for split in (train, dev))
    model = LogisticRegression(max_iter=1000).fit(x, splits["train"].labels)
    assert model.score(x_dev, splits["validation"].labels) <= 0.75


@settings(max_examples=60, deadline=None)
@given(
    task=st.sampled_from(sorted(COLUMNS)),
    train_rows=st.integers(1, 200),
    dev_rows=st.integers(1, 60),
    seed=st.integers(0, 2**32),
)
def test_any_size_and_seed_gives_that_many_rows(
    task: str, train_rows: int, dev_rows: int, seed: int, load_task: LoadTask
) -> None:
    train, *dev = generate(load_task(task), train_rows=train_rows, dev_rows=dev_rows, seed=seed).values()
    assert len(train) == train_rows
    assert all(len(split) == dev_rows for split in dev)
    assert not {row for split in dev for row in rows_of(split)} & set(rows_of(train))


def test_more_rows_than_the_vocabulary_has_still_come_to_an_end(load_task: LoadTask) -> None:
    splits = generate(load_task("sst2"), train_rows=50_000, dev_rows=2_000, seed=0)
    assert len(splits["train"]) == 50_000
    assert not set(rows_of(splits["train"])) & set(rows_of(splits["validation"]))


def test_an_unknown_generator_is_refused_with_the_nine_names(load_task: LoadTask) -> None:
    with pytest.raises(UserError, match=r"^task\.synthetic=ax: one of ") as refused:
        generate(dataclasses.replace(load_task("rte"), synthetic="ax"), train_rows=10, dev_rows=10, seed=0)
    assert all(task in str(refused.value) for task in [*COLUMNS, "null"])


@pytest.mark.parametrize("other", [{"columns": ["text"]}, {"labels": ["a", "b", "c"]}, {"multi_label": True}])
def test_a_generator_of_another_shape_is_refused(other: dict[str, object], load_task: LoadTask) -> None:
    task = dataclasses.replace(load_task("rte"), name="mine", **other)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^task\.synthetic=rte: makes 2 texts and 2 labels a row, .* null makes"):
        generate(task, train_rows=10, dev_rows=10, seed=0)


def test_a_generator_serves_a_task_of_its_shape_with_splits_and_scores_of_its_own(load_task: LoadTask) -> None:
    mine = dataclasses.replace(load_task("rte"), name="mine", train_split="fit", dev_splits=["a", "b"])
    fit, *dev = generate(mine, train_rows=200, dev_rows=100, seed=0).values()
    assert not set(fit.texts[0]) & {text for split in dev for text in split.texts[0]}
    assert not set(dev[0].texts[0]) & set(dev[1].texts[0])
    scored = dataclasses.replace(load_task("stsb"), score_range=[-1.0, 1.0])
    assert np.unique(generate(scored, train_rows=50, dev_rows=5, seed=0)["train"].labels).tolist() == pytest.approx(
        (np.arange(11) / 5 - 1).tolist()
    )


# a task without a generator of its own


def of_shape(
    texts: int,
    labels: int,
    *,
    multi_label: bool = False,
    score_range: list[float] | None = None,
    dev_splits: tuple[str, ...] = ("dev",),
) -> TaskConfig:
    return TaskConfig(
        name="mine",
        columns=["one", "two"][:texts],
        labels=[f"label {i}" for i in range(labels)],
        multi_label=multi_label,
        score_range=score_range,
        primary_metric="accuracy",
        dev_splits=list(dev_splits),
    )


shapes = st.one_of(
    st.builds(
        of_shape, st.integers(1, 2), st.integers(2, 200), dev_splits=st.sampled_from([("dev",), ("a", "b", "c")])
    ),
    st.builds(of_shape, st.integers(1, 2), st.integers(1, 40), multi_label=st.just(True)),
    st.builds(
        of_shape,
        st.integers(1, 2),
        st.just(0),
        score_range=st.none()
        | st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2, unique=True).map(sorted),
    ),
)


@settings(max_examples=60, deadline=None)
@given(task=shapes, train_rows=st.integers(1, 200), dev_rows=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_any_shape_gives_rows_of_that_shape(task: TaskConfig, train_rows: int, dev_rows: int, seed: int) -> None:
    splits = generate(task, train_rows=train_rows, dev_rows=dev_rows, seed=seed)
    assert list(splits) == ["train", *task.dev_splits]
    for name, split in splits.items():
        rows = train_rows if name == "train" else dev_rows
        assert len(split.texts) == len(task.columns)
        assert all(len(column) == rows for column in split.texts)
        assert split.idx.tolist() == list(range(rows))
        if not task.labels:
            low, high = np.array(task.score_range or (0, 1), np.float32)
            assert split.labels.dtype == np.float32
            assert (low <= split.labels).all()
            assert (split.labels <= high).all()
        elif task.multi_label:
            assert split.labels.shape == (rows, len(task.labels))
            assert set(split.labels.ravel()) <= {0, 1}
        else:
            assert split.labels.shape == (rows,)
            counts = np.bincount(split.labels, minlength=len(task.labels))
            assert counts.max() - counts.min() <= 1
            assert len(counts) == len(task.labels)
        assert split.labels.dtype == (np.int64 if task.labels else np.float32)
    texts = [set(split.texts[0]) for split in splits.values()]
    assert sum(map(len, texts)) == len(set().union(*texts))


def test_a_multi_label_task_has_rows_of_no_label_and_of_several_and_every_label_often() -> None:
    labels = generate(of_shape(1, 12, multi_label=True), train_rows=600, dev_rows=1, seed=0)["train"].labels
    sizes = np.bincount(labels.sum(axis=1))
    assert len(sizes) == 4
    assert sizes.min() >= 40
    assert labels.sum(axis=0).min() >= 40


every_kind = pytest.mark.parametrize(
    "task",
    [
        pytest.param(of_shape(texts, labels, multi_label=multi), id=f"{kind}, {texts} texts")
        for texts in (1, 2)
        for kind, labels, multi in (
            ("2", 2, False),
            ("6", 6, False),
            ("77", 77, False),
            ("sets", 6, True),
            ("scores", 0, False),
        )
    ],
)


def test_rows_of_any_task_are_the_same_on_every_machine() -> None:
    shapes = [of_shape(1, 2), of_shape(2, 30), of_shape(1, 5, multi_label=True), of_shape(2, 0)]
    splits = [generate(task, train_rows=50, dev_rows=20, seed=0) for task in shapes]
    rows = [(rows_of(split), split.labels.tolist()) for task in splits for split in task.values()]
    assert crc32(repr(rows).encode()) == 1372444986


@every_kind
def test_the_seed_decides_the_rows_of_any_task_and_no_size_the_rows_before(task: TaskConfig) -> None:
    one, again, more, other = (
        generate(task, train_rows=rows, dev_rows=20, seed=seed) for rows, seed in ((60, 5), (60, 5), (150, 5), (60, 6))
    )
    for name in one:
        assert same(one[name], again[name])
        assert rows_of(more[name])[: len(one[name])] == rows_of(one[name])
        assert rows_of(one[name]) != rows_of(other[name])


@every_kind
def test_the_words_tell_something_of_any_tasks_label_and_not_all(task: TaskConfig) -> None:
    train, dev = generate(task, train_rows=2000, dev_rows=400, seed=0).values()
    for column in (column for split in (train, dev) for column in split.texts):
        assert all(re.search(r"^[A-Z][^{}|>]*[.?]$", text) and "  " not in text for text in column)
    bags = [CountVectorizer(ngram_range=(1, 2)).fit(column) for column in train.texts]
    x, x_dev = (hstack([b.transform(c) for b, c in zip(bags, split.texts, strict=True)]) for split in (train, dev))
    if not task.labels:
        assert 0.2 < np.corrcoef(Ridge(10).fit(x, train.labels).predict(x_dev), dev.labels)[0, 1] < 0.8
        return
    targets, gold = (split.labels if task.multi_label else split.labels[:, None] for split in (train, dev))
    of_labels = [
        LogisticRegression(max_iter=300).fit(x, column).score(x_dev, g)
        for column, g in zip(targets.T, gold.T, strict=True)
    ]
    chance = max(gold.mean(), 1 - gold.mean()) if task.multi_label else 1 / len(task.labels)
    assert chance + 0.03 < np.mean(of_labels) < 0.95


@pytest.mark.parametrize("task", [of_shape(2, 2), of_shape(2, 6)], ids=["2", "6"])
def test_the_second_text_of_a_pair_tells_nothing_but_who_counts_in_the_first(task: TaskConfig) -> None:
    train, dev = generate(task, train_rows=2000, dev_rows=400, seed=0).values()
    bag = CountVectorizer().fit(train.texts[1])
    alone = LogisticRegression(max_iter=300).fit(bag.transform(train.texts[1]), train.labels)
    assert alone.score(bag.transform(dev.texts[1]), dev.labels) < 1 / len(task.labels) + 0.08
    for first, second in zip(*train.texts, strict=True):
        asked = {name for name in re.findall(r"\b[A-Z]\w+(?= says that)", first) if re.search(rf"\b{name}\b", second)}
        assert len(asked) == 1
