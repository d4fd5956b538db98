"""What files of rows say of the task in them: which columns are its texts and its label, and what kind it is.

A guess comes with its reason, and gives way to what is asked for; where several are as good, there is none.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from glue_pool.data.look.asked import Asked
from glue_pool.data.look.columns import flag_columns, idx_column, label_column, text_columns
from glue_pool.data.look.labels import Target, target_of
from glue_pool.data.look.split import (
    Split,
    as_text,
    check_header,
    check_text,
    different_in,
    fields,
    joined_texts,
    listed,
    read,
    shape_in,
)
from glue_pool.errors import UserError

__all__ = ["Asked", "Findings", "Seen", "look"]

SPLITS = ("train", "dev", "test")
LONG = 128  # words
METRICS = {
    "two": ["accuracy", "f1", "matthews_correlation"],
    "single": ["accuracy", "f1_macro"],
    "multi": ["f1_micro", "f1_macro", "accuracy"],
    "regression": ["pearson", "spearmanr", "mean_squared_error"],
}


@dataclass(frozen=True)
class Seen:
    """A split: its rows, the rows of each label, and the rows with long, empty and (in train) repeated texts."""

    name: str
    file: str
    rows: int
    labels: Mapping[str, int]
    long: int
    empty: int
    repeated: int


@dataclass(frozen=True)
class Findings:
    """The keys of a task (`glue_pool.schema.TaskConfig`) that differ from the defaults, and what led to them.

    reasons: why these texts, this label, this kind. remarks: what the user may want to know or to change.
    """

    task: dict[str, Any]
    columns: Sequence[str]
    reasons: Mapping[str, str]
    splits: Mapping[str, Seen]
    remarks: Sequence[str]


def look(name: str, entries: Sequence[str], asked: Asked) -> Findings:
    """Look at a train file, and at a dev and a test file if there are any; a file may be a glob of shards.

    Raises UserError where a file can't be read, or a guess would be one of several.
    """
    if len(entries) > 1 and asked.dev_share is not None:
        raise UserError(f"--dev-share {asked.dev_share:g}: the dev rows are those of {entries[1]}; leave one out")
    given = list(zip(SPLITS, entries, strict=False))
    splits = [read(split, entry) for split, entry in given]
    if not all(split.quotes for split in splits):  # a task has one way to read its files
        splits = [read(split, entry, quotes=False) for split, entry in given]
    train, scored = splits[0], splits[:2]
    if not (asked.texts and asked.label):
        check_header(train)
    names = list(train.table.column_names)
    shapes = {column: shape_in([split.table for split in scored], column) for column in names}
    label, why_label = label_column(train, shapes, asked)
    flags = [] if label else flag_columns(train, shapes)
    texts, why_texts = text_columns(train, shapes, asked, [label] if label else flags)
    used = [column for text in texts for column in fields(text)]
    for column in (*used, *([label] if label else flags)):
        for split in splits if column in used else scored:
            if column not in split.table.column_names:
                there = listed(split.table.column_names)
                raise UserError(f"{split.entry}: no column {column}; the columns are {there}")
    for split in splits:
        for text in texts:
            check_text(split, text)
    target, why_kind = target_of(scored, label, flags, shapes, asked)
    idx, why_idx = idx_column(splits, asked.idx, [*used, label])
    remarks = list(target.remarks)
    if not all(split.quotes for split in splits):
        remarks.append("quotes are read as part of the texts: as marks around them they do not pair")
    task = _task(name, splits, texts, target, idx, asked)
    seen = {split.name: _seen(split, train, used, target) for split in splits}
    reasons = {"texts": why_texts, "label": why_label, "kind": why_kind, "idx": why_idx}
    return Findings(task, names, reasons, seen, remarks)


def _seen(split: Split, train: Split, columns: Sequence[str], target: Target) -> Seen:
    texts = joined_texts(split.table, columns)
    if split is train:
        repeated = len(texts) - different_in(texts)
    else:
        repeated = pc.sum(pc.is_in(texts, value_set=joined_texts(train.table, columns))).as_py()
    empty = [pc.equal(pc.utf8_trim_whitespace(as_text(split.table, column)), "") for column in columns]
    return Seen(
        split.name,
        split.entry,
        len(texts),
        target.counts.get(split.name, {}),
        long=pc.sum(pc.greater(pc.count_substring_regex(texts, pattern=r"\S+"), LONG)).as_py(),
        empty=pc.sum(functools.reduce(pc.or_, empty)).as_py(),
        repeated=repeated,
    )


def _task(
    name: str, splits: Sequence[Split], texts: Sequence[str], target: Target, idx: str | None, asked: Asked
) -> dict[str, Any]:
    source: dict[str, Any] = {"files": {split.name: str(Path(split.entry).expanduser().absolute()) for split in splits}}
    if any(not split.quotes for split in splits):
        source["quotes"] = False
    task: dict[str, Any] = {"name": name, "source": source, "columns": list(texts)}
    if target.column != "label":
        task["label"] = target.column
    if idx != "idx" and (idx or any("idx" in split.table.column_names for split in splits)):
        task["idx"] = idx
    if target.kind == "multi":
        task["multi_label"] = True
    task |= {key: value for key, value in target.keys.items() if value and (key, value) != ("separator", ",")}
    metrics = METRICS["two" if target.kind == "single" and len(target.keys["labels"]) == 2 else target.kind]
    task |= {"metrics": metrics, "primary_metric": metrics[0], "dev_splits": ["dev"]}
    if len(splits) == 1:
        task["dev_share"] = asked.dev_share if asked.dev_share is not None else 0.1
    if len(splits) == 3:
        task["test_splits"] = ["test"]
    return task
