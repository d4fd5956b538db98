"""From a table to rows: its texts, what its labels say, and its idx, each checked against the task."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glue_pool import metrics
from glue_pool.data.rows import Rows
from glue_pool.errors import UserError, nearest
from glue_pool.tasks import TaskConfig

if TYPE_CHECKING:
    import pyarrow as pa

FP32 = float(np.finfo(np.float32).max)
ROUNDING = 0.01  # of the scores' deviation: fp32 may cost no more
NUMERAL = re.compile(r"-?\d+(\.\d+)?")
FIELD = re.compile(r"\{([^{}]+)\}")  # of a template of columns


Named = tuple["pa.Table", "Sequence[str] | None"]  # and the names that the data set has for its class ids
TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def to_rows(tables: Mapping[str, Named], task: TaskConfig, where: Mapping[str, str]) -> dict[str, Rows]:
    """Return the rows of some splits' tables.

    where: what messages call each split, a file's name. Raises UserError, which says what is wrong with it and names
    the first row that has it, counted from 0.
    """
    lists = {split: _lists(table, task, where[split]) for split, (table, _) in tables.items()}
    places = are_places([row for rows in lists.values() for row in rows], task)
    found = {}
    for split, (table, names) in tables.items():
        place = where[split]
        if not len(table):
            raise UserError(f"{place}: the split is empty")
        texts = tuple(texts_of(table, entry, place) for entry in task.columns)
        if task.problem_type == metrics.REGRESSION:
            if names:
                raise _other_names(names, task, place)
            labels = _scores(table, task, place)
        else:
            decode = Labels(task, names, place)
            if not task.multi_label:
                labels = _class_ids(table, task, decode)
            elif task.label is None:
                labels = _flags(table, task, place)
            else:
                labels = np.array(lists[split], np.int64) if places else _label_sets(lists[split], task, decode)
        found[split] = Rows(texts, labels, _idx(table, task, place), _groups(table, task, split, place))
    return found


def names_in_metadata(schema: "pa.Schema", label: str | None) -> list[str] | None:
    """Return the label names that `datasets` wrote into a Parquet or Arrow file, where it wrote the file."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        return list(feature["names"] if "names" in feature else feature["feature"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _column(table: "pa.Table", name: str, where: str, key: str) -> list[Any]:
    """Return the values of a column, none of them missing."""
    there = table.column_names
    if name not in there:
        raise UserError(f"{where}: no column {name}; the columns are {', '.join(there)}", key=key)
    if there.count(name) > 1:
        raise UserError(f"{where}: {there.count(name)} columns are called {name}")
    values: list[Any] = table.column(name).to_pylist()
    if table.column(name).null_count:
        raise UserError(f"{where}: column {name} has no value in row {values.index(None)}")
    return values


def texts_of(table: "pa.Table", entry: str, where: str, key: str = "task.columns") -> list[str]:
    """Return a text a row: a column's, or a template filled with several; key: the one that says so."""
    fields = FIELD.findall(entry)
    if not fields:
        values = _column(table, entry, where, key)
        if not all(isinstance(value, str) for value in values):
            kind = table.column(entry).type
            number = isinstance(values[0], int | float)
            way_out = f"; the template '{{{entry}}}' writes numbers out" if number else ""
            raise UserError(f"{where}: column {entry} holds {kind}, not text{way_out}", key=key)
        return values
    columns = {name: _column(table, name, where, key) for name in dict.fromkeys(fields)}

    def filled(row: Mapping[str, Any]) -> str:
        return FIELD.sub(lambda field: plain(row[field[1]]), entry)

    for name, values in columns.items():
        if not isinstance(values[0], str | int | float):
            raise UserError(f"{where}: column {name} holds {table.column(name).type}, not text", key=key)
        if (row := next((row for row, value in enumerate(values) if value != value), None)) is not None:
            raise UserError(f"{where}: column {name} has no value in row {row}, but a NaN")
    return [filled(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]


class Labels:
    """What values of a label column stand for: classes by their names, by ids, or by the task's label_map."""

    def __init__(self, task: TaskConfig, names: Sequence[str] | None, where: str) -> None:
        self._task, self._names, self.where = task, names, where
        self._by_name = {name: i for i, name in enumerate(task.labels)}
        self._by_value = {value: self._by_name[name] for value, name in task.label_map.items()}
        if names and not task.label_map and list(names) != task.labels:
            raise _other_names(names, task, where)
        numerals = [name for name in task.labels if NUMERAL.fullmatch(name)]
        self._ids = [str(i) for i in range(len(task.labels))] == task.labels or not numerals
        said = self._by_value or self._by_name
        truth = {TRUTH.get(text.lower()): i for text, i in said.items()}
        self._of_truth = truth if set(truth) == {True, False} and len(said) == 2 else {}

    def __call__(self, value: Any) -> int | None:
        """Return a value's class id; None where it is none. Raises UserError for a value that has two meanings."""
        if self._names and isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < len(self._names):
                return None
            if str(value) in self._by_value and self._names[value] not in self._by_value:
                return self._by_value[str(value)]
            value = self._names[value]
        text = plain(value)
        if not self._by_value and not self._ids and not isinstance(value, str) and text not in ("True", "False"):
            raise self._two_meanings(text)
        for said in (text, re.sub(r"^(-?\d+)\.0+$", r"\1", text)):
            if said in self._by_value or said in self._by_name:
                return self._by_value.get(said, self._by_name.get(said))
        if text.lower() in TRUTH and self._of_truth:
            return self._of_truth[TRUTH[text.lower()]]
        is_id = not self._by_value and self._ids and re.fullmatch(r"\d+(\.0+)?", text)
        return int(float(text)) if is_id and float(text) < len(self._task.labels) else None

    def ids(self, values: Iterable[Any]) -> list[int]:
        """Return the class ids of values; raises UserError at the first that is none."""
        values = list(values)  # of one type, a column's
        known = {value: self(value) for value in dict.fromkeys(values)}
        found: list[int] = []
        for row, value in enumerate(values):
            if (label := known[value]) is None:
                raise self.unknown(row, value)
            found.append(label)
        return found

    def unknown(self, row: int, value: Any) -> UserError:
        """Return what is said of a label that the list lacks."""
        task = self._task
        known = " ".join(", ".join(f"{i} {name}" for i, name in enumerate(task.labels)).split())
        if task.label_map:
            known += "; label_map has " + ", ".join(task.label_map)
        way_out = "" if task.label_map else nearest(str(value), task.labels)
        if str(value) == "-1":
            way_out = ": this split's labels are hidden"
        elif isinstance(value, bool):
            way_out = "; label_map: {true: …, false: …} says which is which"
        elif isinstance(value, str) and {"True", "False"} & set(task.labels):
            way_out = "; no, yes, off and on take quotes in a YAML: labels: ['no', 'yes']"
        return UserError(
            f"{self.where}: label {value!r} in row {row} is none of task {task.name}'s labels ({known}){way_out}",
            key="task.labels",
        )

    def _two_meanings(self, text: str) -> UserError:
        task = self._task
        is_id = text.isdecimal() and int(text) < len(task.labels)
        as_id = f"the class id of {task.labels[int(text)]!r}" if is_id else "no class id"
        by_name = f"the label {text!r}" if text in self._by_name else "no label by that name"
        of = ", ".join(f"{name}: '{name}'" for name in task.labels if NUMERAL.fullmatch(name))
        return UserError(
            f"{self.where}: the number {text} is {by_name}, or {as_id}; "
            f"task.label_map says which: label_map: {{{of}}} takes numbers for names",
            key="task.labels",
        )


def _class_ids(table: "pa.Table", task: TaskConfig, decode: Labels) -> np.ndarray:
    assert task.label is not None
    values = _column(table, task.label, decode.where, "task.label")
    if any(isinstance(value, list | dict) for value in values):
        way_out = "; multi_label: true takes lists" if isinstance(values[0], list) else ""
        said = f"column {task.label} holds {table.column(task.label).type}, no labels{way_out}"
        raise UserError(f"{decode.where}: {said}", key="task.label")
    return np.array(decode.ids(values), np.int64)


def _flags(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    """Return `(rows, labels)` of 0 and 1, each label being a column."""
    columns = [_ones(_column(table, name, where, "task.labels"), name, where) for name in task.labels]
    return np.array(columns, np.int64).T


def _label_sets(values: Sequence[Sequence[Any]], task: TaskConfig, decode: Labels) -> np.ndarray:
    """Return `(rows, labels)` of 0 and 1, from lists of labels."""
    labels = np.zeros((len(values), len(task.labels)), np.int64)
    for row, value in enumerate(values):
        for one in value:
            if (label := decode(one)) is None:
                raise decode.unknown(row, one)
            if labels[row, label] and str(one) not in task.labels:
                said = f"row {row} says {one!r} twice; a 0 or a 1 for every label stands in every row, or in none"
                raise UserError(f"{decode.where}: {said}", key="task.label")
            labels[row, label] = 1
    return labels


def _lists(table: "pa.Table", task: TaskConfig, where: str) -> list[list[Any]]:
    """Return a list of what is said to be a label for every row; of another kind of column there are none."""
    if task.label is None or not task.multi_label:
        return []
    values = _column(table, task.label, where, "task.label")
    if all(isinstance(value, str) for value in values):
        return [parts(value, task.separator) for value in values]
    if not all(isinstance(value, list) for value in values):
        kind = table.column(task.label).type
        said = f"column {task.label} holds {kind}; a multi-label task takes lists, or text"
        raise UserError(f"{where}: {said}", key="task.label")
    return values


def parts(text: str, separator: str) -> list[str]:
    """Return the labels in a text."""
    return [part for part in map(str.strip, text.split(separator)) if part]


def are_places(rows: Sequence[Sequence[Any]], task: TaskConfig) -> bool:
    """Whether lists, those of all splits, have a 0 or a 1 for every label, and are no lists of ids.

    Raises UserError where they could be either.
    """
    size = len(task.labels)
    if not rows or not all(len(row) == size and all(one in (0, 1) for one in row) for row in rows):
        return False
    if any(isinstance(row[0], bool) or len(set(row)) < size or max(row) >= size for row in rows):
        return True  # as ids, one would be there twice, or is none
    raise UserError(
        f"task.label: the lists of column {task.label} could be class ids, or a 0 or 1 for each label; names in their "
        "place, or task.label=null and a column for each label, have one meaning",
        key="task.label",
    )


def _ones(values: Sequence[Any], name: str, where: str) -> list[int]:
    known = {"0": 0, "1": 1, "false": 0, "true": 1}
    found = [known.get(plain(value).lower()) for value in values]
    if None in found:
        row = found.index(None)
        said = f"column {name} has {values[row]!r} in row {row}; a label's column has 0 or 1"
        raise UserError(f"{where}: {said}", key="task.labels")
    return [one for one in found if one is not None]


def _scores(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    assert task.label is not None
    values = _column(table, task.label, where, "task.label")
    low, high = task.score_range or (-math.inf, math.inf)
    scores = [_number(value, float) for value in values]
    for row, score in enumerate(scores):
        if score is None:
            raise UserError(
                f"{where}: column {task.label} has {values[row]!r} in row {row}, no score; "
                "task.labels lists the names of classes", key="task.labels",
            )  # fmt: skip
        if not math.isfinite(score):
            raise UserError(f"{where}: column {task.label} has {values[row]!r} in row {row}, no number to learn")
        if not low <= score <= high:
            said = f"score {score:g} in row {row} lies outside {low:g} to {high:g}"
            raise UserError(f"{where}: {said}", key="task.score_range")
        if abs(score) > FP32:
            raise UserError(f"{where}: score {score:g} in row {row} is larger than fp32 has numbers")
    exact = np.array(scores, np.float64)
    rounded = exact.astype(np.float32)
    if np.abs(rounded - exact).max() > ROUNDING * exact.std() > 0:
        raise UserError(
            f"{where}: the scores are {exact.min():g} and so close together that fp32 can't tell them apart; "
            "take away what they share"
        )
    return rounded


def _idx(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    if task.idx is None or (task.idx == "idx" and "idx" not in table.column_names):
        return np.arange(len(table), dtype=np.int64)
    values = _column(table, task.idx, where, "task.idx")
    found = values if isinstance(values[0], int) else [_number(value, int) for value in values]
    for row, number in enumerate(found):
        if number is None or not -(2**63) <= number < 2**63:
            said = f"column {task.idx} has {values[row]!r} in row {row}, not integers; task.idx=null numbers the rows"
            raise UserError(f"{where}: {said}", key="task.idx")
    return np.array(found, np.int64)


def _groups(table: "pa.Table", task: TaskConfig, split: str, where: str) -> np.ndarray | None:
    """Return which of a dev split's rows belong together; None of other splits, and where the task doesn't say."""
    drawn_from = task.train_split if task.dev_share is not None else None
    if task.group is None or (split not in task.dev_splits and split != drawn_from):
        return None
    template = task.group if FIELD.search(task.group) else f"{{{task.group}}}"  # which takes numbers, too
    return grouped(texts_of(table, template, where, "task.group"))


def grouped(texts: Sequence[str]) -> np.ndarray:
    """Return for each text where it comes first."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(text, place) for place, text in enumerate(texts)], np.int64)


def _number(value: Any, kind: Callable[[Any], Any]) -> Any:
    """Return a number, or a text that says one, as an int or a float; None where it is none."""
    if isinstance(value, bool) or (kind is int and isinstance(value, float)) or "_" in str(value):
        return None
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return None


def plain(value: Any) -> str:
    """Return a value as text; a whole number has no decimals."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _other_names(names: Sequence[str], task: TaskConfig, where: str) -> UserError:
    return UserError(
        f"{where}: its labels are {', '.join(names)} (in this order), "
        f"task {task.name} has {', '.join(task.labels) or 'scores'}",
        key="task.labels",
    )
