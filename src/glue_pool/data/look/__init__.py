"""What files of rows say of the task in them: which columns are its texts and its label, and what kind it is.

A guess comes with its reason, and gives way to what is asked for; where several are as good, there is none. What
becomes of the rows under it, the reader of runs says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glue_pool.data import findings
from glue_pool.data.columns import names_in_metadata, texts_of, to_rows
from glue_pool.data.look.columns import Asked, check_asked, fields, idx_column, label_column, text_columns
from glue_pool.data.look.labels import Target, target_of
from glue_pool.data.look.tables import Table, check_header, columns_of, listed, read
from glue_pool.errors import UserError
from glue_pool.tasks import TaskConfig

__all__ = ["Asked", "Guess", "Seen", "count", "guess", "listed"]

SPLITS = ("train", "dev", "test")
LONG = 128  # words
USUAL_METRICS = {
    "two": ["accuracy", "f1", "matthews_correlation"],
    "single": ["accuracy", "f1_macro"],
    "multi": ["f1_micro", "f1_macro", "accuracy"],
    "regression": ["pearson", "spearmanr", "mean_squared_error"],
}


@dataclass(frozen=True)
class Guess:
    """The keys of a task (`glue_pool.tasks.TaskConfig`) that differ from the defaults, and what led to them.

    reasons: why these texts, this label, this kind. remarks: what the user may want to know or to change.
    """

    task: dict[str, Any]
    tables: Sequence[Table]
    reasons: Mapping[str, str]
    remarks: Sequence[str]


@dataclass(frozen=True)
class Seen:
    """A split: its rows, the rows of each label, and the rows with long, empty and repeated texts.

    repeated: in train the rows after the first with these texts, elsewhere those that are in train.
    """

    entry: str
    rows: int
    labels: Mapping[str, int]
    long: int
    empty: int
    repeated: int


def guess(name: str, entries: Sequence[str], asked: Asked) -> Guess:
    """Look at a train file, and at a dev and a test file if there are any; a file may be a glob of shards.

    Raises UserError where a file can't be read, or a guess would be one of several.
    """
    if len(entries) > 1 and asked.dev_share is not None:
        raise UserError(f"--dev-share {asked.dev_share:g}: the dev rows are those of {entries[1]}; leave one out")
    given = list(zip(SPLITS, entries, strict=False))
    tables = [read(split, entry) for split, entry in given]
    if not all(table.quotes for table in tables):  # a task has one way to read its files
        tables = [read(split, entry, quotes=False) for split, entry in given]
    train = tables[0]
    if not (asked.texts and asked.label):
        check_header(train)
    columns = columns_of(tables[:2])
    check_asked(asked, columns, train.entry)
    label, why_label = label_column(columns, asked, train.entry)
    labels = [label] if label is not None else [name for name, column in columns.items() if column.flag]
    texts, why_texts = text_columns(columns, asked, labels, train.entry)
    if label is None:
        why = f"a row may have several of {len(labels)} labels"
        target = Target("multi", why, {"multi_label": True, "labels": labels})
    else:
        names = next(filter(None, (names_in_metadata(table.rows.schema, label) for table in tables[:2])), None)
        target = target_of(columns[label], names, asked.kind, train.entry)
    idx, why_idx = idx_column(tables, asked.idx, [*fields(texts), label])
    task: dict[str, Any] = {"name": name, "source": _source(tables), "columns": texts}
    if label != "label":
        task["label"] = label
    if idx != "idx" and (idx or any("idx" in table.rows.column_names for table in tables)):
        task["idx"] = idx
    metrics = USUAL_METRICS["two" if target.kind == "single" and len(target.keys["labels"]) == 2 else target.kind]
    task |= target.keys | {"metrics": metrics, "primary_metric": metrics[0], "dev_splits": ["dev"]}
    if len(tables) == 1:
        task["dev_share"] = 0.1 if asked.dev_share is None else asked.dev_share
    if len(tables) == 3:
        task["test_splits"] = ["test"]
    reasons = {"texts": why_texts, "label": why_label, "kind": target.why, "idx": why_idx}
    return Guess(task, tables, reasons, target.remarks)


def _source(tables: Sequence[Table]) -> dict[str, Any]:
    files = {table.split: str(Path(table.entry).expanduser().absolute()) for table in tables}
    return {"files": files} | ({} if tables[0].quotes else {"quotes": False})


def count(tables: Sequence[Table], task: TaskConfig) -> dict[str, Seen]:
    """Read tables as a run of the task does, and count what is in them; of a test split the texts alone.

    Raises UserError where a run would.
    """
    named = {table.split: (table.rows, names_in_metadata(table.rows.schema, task.label)) for table in tables[:2]}
    rows = to_rows(named, task, {table.split: table.entry for table in tables})
    texts = {split: of_split.texts for split, of_split in rows.items()}
    for table in tables[2:]:
        texts[table.split] = tuple(texts_of(table.rows, entry, table.entry) for entry in task.columns)
    seen = {}
    for table in tables:
        of_rows = list(zip(*texts[table.split], strict=True))
        labels: dict[str, int] = {}
        if task.labels and table.split in rows:
            found = rows[table.split].labels
            of_labels = found.sum(axis=0) if found.ndim == 2 else np.bincount(found, minlength=len(task.labels))
            labels = dict(zip(task.labels, of_labels.tolist(), strict=True))
        seen[table.split] = Seen(
            table.entry,
            len(of_rows),
            labels,
            long=sum(sum(len(text.split()) for text in row) > LONG for row in of_rows),
            empty=sum(not all(map(str.strip, row)) for row in of_rows),
            repeated=len(of_rows) - len(set(of_rows))
            if table is tables[0]
            else findings.in_train(texts[table.split], texts[tables[0].split]),
        )
    return seen
