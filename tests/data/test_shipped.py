"""The tasks beside GLUE's, read from files with the columns, types and label names of their data sets."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_pool.data.sources import read
from glue_pool.errors import UserError
from glue_pool.schema import DataConfig
from glue_pool.tasks import SourceConfig, TaskConfig

LoadTask = Callable[[str], TaskConfig]
HUB = DataConfig(name="hub", cache_dir="")


class Case(NamedTuple):
    """Columns as a data set has them, its ClassLabel columns' names, and what is to be read."""

    columns: dict[str, Any]
    names: dict[str, list[str]]
    texts: tuple[list[str], ...]
    labels: list[int]
    idx: list[int]


def ints(*values: int) -> pa.Array:
    return pa.array(values, pa.int32())


ONE, TWO = ["First one.", 'A "second"\none.', " third, é\t"], ["1", "2 2", "3?"]
CASES = {
    "boolq": Case(
        {"question": ONE, "answer": [True, False, True], "passage": TWO}, {}, (ONE, TWO), [1, 0, 1], [0, 1, 2]
    ),
    "cb": Case(
        {"premise": ONE, "hypothesis": TWO, "idx": ints(7, 8, 5), "label": [2, 0, 1]},
        {"label": ["entailment", "contradiction", "neutral"]},
        (ONE, TWO),
        [2, 0, 1],
        [7, 8, 5],
    ),
    "wic": Case(
        {
            "word": ["one", "second", "third"],
            "sentence1": ONE,
            "sentence2": TWO,
            **{name: ints(0, 1, 2) for name in ("start1", "start2", "end1", "end2")},
            "idx": ints(0, 1, 2),
            "label": [1, 0, 1],
        },
        {"label": ["False", "True"]},
        (["one: First one.", 'second: A "second"\none.', "third:  third, é\t"], TWO),
        [1, 0, 1],
        [0, 1, 2],
    ),
    "scitail": Case(
        {"premise": ONE, "hypothesis": TWO, "label": ["neutral", "entails", "neutral"]},
        {},
        (ONE, TWO),
        [1, 0, 1],
        [0, 1, 2],
    ),
    "paws": Case(
        {"id": ints(1, 2, 4), "sentence1": ONE, "sentence2": TWO, "label": [0, 1, 1]},
        {"label": ["0", "1"]},
        (ONE, TWO),
        [0, 1, 1],
        [1, 2, 4],
    ),
}
TRAIN_ALONE = {  # the column of labels, and their names
    "ag_news": ("label", ["World", "Sports", "Business", "Sci/Tech"]),
    "imdb": ("label", ["neg", "pos"]),
    "trec": ("coarse_label", ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]),
}


def parquet(file: Path, columns: dict[str, Any], names: dict[str, list[str]]) -> str:
    """Write a file as `datasets` does: ClassLabels are integers, whose names are in the metadata."""
    table = pa.table(columns)
    info: dict[str, Any] = {
        name: {"names": names[name], "_type": "ClassLabel"}
        if name in names
        else {"dtype": str(table[name].type), "_type": "Value"}
        for name in table.column_names
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": info}})}),
        file,
    )
    return str(file)


def from_files(task: TaskConfig, files: dict[str, str]) -> TaskConfig:
    return dataclasses.replace(task, source=SourceConfig(path=None, files=files))


def of_label(column: str, labels: int, rows: int) -> dict[str, Any]:
    """Rows in the order of their labels, as IMDb's are."""
    ids = sorted(i % labels for i in range(rows))
    return {"text": [f"Text {i} of {label}." for i, label in enumerate(ids)], column: ids}


@pytest.mark.parametrize("name", CASES)
def test_texts_labels_and_numbers_are_those_of_the_data_set(tmp_path: Path, load_task: LoadTask, name: str) -> None:
    task, case = load_task(name), CASES[name]
    splits = [task.train_split, *task.dev_splits]
    files = {split: parquet(tmp_path / f"{split}.parquet", case.columns, case.names) for split in splits}
    found = read(HUB, from_files(task, files))
    assert list(found) == splits
    for rows in found.values():
        assert rows.texts == case.texts
        assert rows.labels.dtype == np.int64
        assert rows.labels.tolist() == case.labels
        assert rows.idx.tolist() == case.idx


@pytest.mark.parametrize("name", ["boolq", "scitail"])
def test_rows_without_label_ids_are_read_from_jsonl_too(tmp_path: Path, load_task: LoadTask, name: str) -> None:
    task, case = load_task(name), CASES[name]
    rows = [dict(zip(case.columns, row, strict=True)) for row in zip(*case.columns.values(), strict=True)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = read(HUB, from_files(task, dict.fromkeys([task.train_split, *task.dev_splits], str(file))))
    assert found["validation"].texts == case.texts
    assert found["validation"].labels.tolist() == case.labels


@pytest.mark.parametrize("name", TRAIN_ALONE)
def test_a_tenth_of_train_is_the_dev_split_where_there_is_none(tmp_path: Path, load_task: LoadTask, name: str) -> None:
    task, (column, names) = load_task(name), TRAIN_ALONE[name]
    columns = of_label(column, len(names), 600)
    file = parquet(tmp_path / "train.parquet", columns, {column: names})
    found = read(HUB, from_files(task, {"train": file}))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 540, "dev": 60}
    label_of = dict(zip(columns["text"], columns[column], strict=True))
    for rows in found.values():
        (texts,) = rows.texts
        assert [label_of[text] for text in texts] == rows.labels.tolist()
        assert np.bincount(rows.labels).tolist() == [len(rows) // len(names)] * len(names)
    assert {*found["train"].texts[0], *found["dev"].texts[0]} == set(columns["text"])
    assert not {*task.dev_splits, task.train_split} & {*task.test_splits}


def test_trecs_source_names_its_files_in_the_parquet_revision(
    tmp_path: Path, load_task: LoadTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task, (column, names) = load_task("trec"), TRAIN_ALONE["trec"]
    for split in ("train", "test"):
        columns = of_label(column, len(names), 60 if split == "train" else 6)
        columns["fine_label"] = [0] * len(columns["text"])
        parquet(tmp_path / f"trec/default/{split}/0000.parquet", columns, {column: names, "fine_label": ["ABBR:abb"]})
    there = dataclasses.replace(task.source, path=str(tmp_path / "trec"), revision=None)
    found = read(HUB, dataclasses.replace(task, source=there))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 54, "dev": 6}


@pytest.mark.parametrize("name", ["cb", "wic", *TRAIN_ALONE])
def test_a_data_set_with_the_same_labels_in_another_order_is_refused(
    tmp_path: Path, load_task: LoadTask, name: str
) -> None:
    task = load_task(name)
    column = str(task.label)
    columns = CASES[name].columns if name in CASES else of_label(column, len(task.labels), 60)
    file = parquet(tmp_path / "rows.parquet", columns, {column: task.labels[::-1]})
    splits = [task.train_split, *task.dev_splits] if task.dev_share is None else [task.train_split]
    with pytest.raises(UserError) as refused:
        read(HUB, from_files(task, dict.fromkeys(splits, file)))
    assert all(label in str(refused.value) for label in task.labels)
    assert "\n" not in str(refused.value)
