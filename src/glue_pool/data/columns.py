"""From a table to rows: its texts, what its labels say, and its idx, each checked against the task.

What one value says is read by `Text`, `Labels`, `flag` and `score`, of a table as of rows that come one by one.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

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
LONG = 100  # characters of a value in a message
FIELD = re.compile(r"\{([^{}]+)\}")  # of a template of columns


Named = tuple["pa.Table", "Sequence[str] | None"]  # and the names that the data set has for its class ids
JSON_TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
TRUTH = {"true": True, "yes": True, "false": False, "no": False}
T = TypeVar("T")


class Unfit(UserError):
    """A value is no text, no label or no score; the message says so without file and row, which `at` adds.

    what, rest: the message, around the place where the row is named. of_all: it is so in every row, so none is named.
    """

    def __init__(self, what: str, rest: str = "", *, key: str | None = None, of_all: bool = False) -> None:
        super().__init__(f"{what}{rest}", key=key)
        self.what, self.rest, self.of_all = what, rest, of_all

    def at(self, where: str, row: int) -> UserError:
        """Return what is said of it as a row of a table, counted from 0."""
        place = "" if self.of_all else f" in row {row}"
        return UserError(f"{where}: {self.what}{place}{self.rest}", key=self.key)


def to_rows(
    tables: Mapping[str, Named], task: TaskConfig, where: Mapping[str, str], *, labelled: bool = True
) -> dict[str, Rows]:
    """Return the rows of some splits' tables.

    where: what messages call each split, a file's name. labelled: whether labels are read; else all are -1. Raises
    UserError, which says what is wrong with it and names the first row that has it, counted from 0.
    """
    lists = {split: _lists(table, task, where[split]) if labelled else [] for split, (table, _) in tables.items()}
    places = are_places([row for rows in lists.values() for row in rows], task)
    found = {}
    for split, (table, names) in tables.items():
        place = where[split]
        if not len(table):
            raise UserError(f"{place}: the split is empty")
        texts = tuple(texts_of(table, entry, place) for entry in task.columns)
        if not labelled:
            labels = np.full(len(table), -1, np.int64)
        elif task.problem_type == metrics.REGRESSION:
            if names:
                raise other_names(names, task, place)
            labels = _scores(table, task, place)
        else:
            decode = Labels(task, names, place)
            if not task.multi_label:
                labels = _class_ids(table, task, decode, place)
            elif task.label is None:
                labels = _flags(table, task, place)
            else:
                sets = lists[split] if places else _each(lists[split], decode.several, place)
                labels = np.array(sets, np.int64)
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
    values: list[Any] = table.column(position(name, table.column_names, where, key)).to_pylist()
    if table.column(name).null_count:
        raise _no_value(name).at(where, values.index(None))
    return values


def position(name: str, there: Sequence[str], where: str, key: str | None = None) -> int:
    """Return where a column stands; raises UserError where it doesn't, or twice."""
    if name not in there:
        near = nearest(name, there)
        raise UserError(f"{where}: no column {name}; the columns are {', '.join(there)}{near}", key=key)
    if there.count(name) > 1:
        raise UserError(f"{where}: {there.count(name)} columns are called {name}")
    return there.index(name)


def present(value: Any, name: str) -> Any:
    """Return a value of a column if it is one."""
    if value is None:
        raise _no_value(name)
    return value


def _no_value(name: str) -> Unfit:
    return Unfit(f"column {name} has no value")


class Text:
    """What a text is made of: a column, or a template and the columns in it, `names`."""

    def __init__(self, entry: str) -> None:
        self._entry = entry
        self.names = list(dict.fromkeys(FIELD.findall(entry)))
        self.template = bool(self.names)
        self.names = self.names or [entry]

    def __call__(self, values: Sequence[Any]) -> str:
        """Return the text of a row, given the values of its columns; raises Unfit where they are none."""
        for name, value in zip(self.names, values, strict=True):
            if value is None:
                raise _no_value(name)
            if value != value:
                raise Unfit(f"column {name} has no value", ", but a NaN")
            if not isinstance(value, str | int | float if self.template else str):
                raise Unfit(self.refusal(name, JSON_TYPES.get(type(value), type(value).__name__), value))
        if not self.template:
            text: str = values[0]
            return text
        row = dict(zip(self.names, values, strict=True))
        return FIELD.sub(lambda field: plain(row[field[1]]), self._entry)

    def refusal(self, name: str, kind: str, value: Any) -> str:
        """Return what is said of a column that is no text; kind: what it holds, value: one of them."""
        number = isinstance(value, int | float) and not self.template
        way_out = f"; the template '{{{name}}}' writes numbers out" if number else ""
        return f"column {name} holds {kind}, not text{way_out}"


def texts_of(table: "pa.Table", entry: str, where: str, key: str = "task.columns") -> list[str]:
    """Return a text a row: a column's, or a template filled with several; key: the one that says so."""
    text = Text(entry)
    columns = [_column(table, name, where, key) for name in text.names]
    fitting: Any = str | int | float if text.template else str
    for name, values in zip(text.names, columns, strict=True):
        if not all(isinstance(value, fitting) for value in values):
            raise UserError(f"{where}: {text.refusal(name, str(table.column(name).type), values[0])}", key=key)
    return _each(zip(*columns, strict=True), text, where) if text.template else columns[0]


def _each(values: Iterable[Any], read: Callable[[Any], T], where: str) -> list[T]:
    """Return what is read from each value; an Unfit is raised with its place."""
    found = []
    for row, value in enumerate(values):
        try:
            found.append(read(value))
        except Unfit as unfit:
            raise unfit.at(where, row) from None
    return found


class Labels:
    """What values of a label column stand for: classes by their names, by ids, or by the task's label_map."""

    def __init__(self, task: TaskConfig, names: Sequence[str] | None, where: str) -> None:
        self._task, self._names = task, names
        self._by_name = {name: i for i, name in enumerate(task.labels)}
        self._by_value = {value: self._by_name[name] for value, name in task.label_map.items()}
        if names and not task.label_map and list(names) != task.labels:
            raise other_names(names, task, where)
        numerals = [name for name in task.labels if NUMERAL.fullmatch(name)]
        self._ids = [str(i) for i in range(len(task.labels))] == task.labels or not numerals
        said = self._by_value or self._by_name
        truth = {TRUTH.get(text.lower()): i for text, i in said.items()}
        self._of_truth = truth if set(truth) == {True, False} and len(said) == 2 else {}

    def __call__(self, value: Any) -> int:
        """Return a value's class id; raises Unfit where it is none, or could be one of two."""
        if (found := self._id(value)) is None:
            raise self._unknown(value)
        return found

    def several(self, values: Iterable[Any]) -> list[int]:
        """Return 0 or 1 for every label, given those that a row has; raises Unfit where one is no label."""
        flags = [0] * len(self._task.labels)
        for value in values:
            label = self(value)
            if flags[label] and str(value) not in self._task.labels:
                raise self.twice(value)
            flags[label] = 1
        return flags

    def _id(self, value: Any) -> int | None:
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

    def twice(self, value: Any) -> Unfit:
        """Return what is said of an id that a row has twice, or of a 0 or 1 in the place of one."""
        rest = f" says {quoted(value)} twice; a 0 or a 1 for every label stands in every row, or in none"
        return Unfit("the list", rest, key="task.label")

    def _unknown(self, value: Any) -> Unfit:
        task = self._task
        if task.label_map:  # ids are not read
            known = ", ".join(dict.fromkeys([*task.labels, *task.label_map]))
        else:
            known = ", ".join(f"{i} {name}" for i, name in enumerate(task.labels))
        known, way_out = " ".join(known.split()), nearest(str(value), [*task.labels, *task.label_map])
        if str(value) == "-1":
            way_out = ": this split's labels are hidden"
        elif isinstance(value, bool):
            way_out = "; label_map: {true: …, false: …} says which is which"
        elif isinstance(value, str) and {"True", "False"} & set(task.labels):
            way_out = "; no, yes, off and on take quotes in a YAML: labels: ['no', 'yes']"
        rest = f" is none of task {task.name}'s labels ({known}){way_out}"
        return Unfit(f"label {quoted(value)}", rest, key="task.labels")

    def _two_meanings(self, text: str) -> Unfit:
        task = self._task
        is_id = text.isdecimal() and int(text) < len(task.labels)
        as_id = f"the class id of {task.labels[int(text)]!r}" if is_id else "no class id"
        by_name = f"the label {text!r}" if text in self._by_name else "no label by that name"
        of = ", ".join(f"{name}: '{name}'" for name in task.labels if NUMERAL.fullmatch(name))
        return Unfit(
            f"the number {text} is {by_name}, or {as_id}; "
            f"task.label_map says which: label_map: {{{of}}} takes numbers for names",
            key="task.labels", of_all=True,
        )  # fmt: skip


def _class_ids(table: "pa.Table", task: TaskConfig, decode: Labels, where: str) -> np.ndarray:
    assert task.label is not None
    values = _column(table, task.label, where, "task.label")
    if any(isinstance(value, list | dict) for value in values):
        said = no_labels(task.label, str(table.column(task.label).type), isinstance(values[0], list))
        raise UserError(f"{where}: {said}", key="task.label")
    return np.array(_each(values, functools.cache(decode), where), np.int64)


def no_labels(name: str, kind: str, lists: bool) -> str:
    """Return what is said of a column that has no label a row; kind: what it holds."""
    return f"column {name} holds {kind}, no labels{'; multi_label: true takes lists' if lists else ''}"


def _flags(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    """Return `(rows, labels)` of 0 and 1, each label being a column."""
    columns = [
        _each(_column(table, name, where, "task.labels"), functools.partial(flag, name=name), where)
        for name in task.labels
    ]
    return np.array(columns, np.int64).T


def _lists(table: "pa.Table", task: TaskConfig, where: str) -> list[list[Any]]:
    """Return a list of what is said to be a label for every row; of another kind of column there are none."""
    if task.label is None or not task.multi_label:
        return []
    values = _column(table, task.label, where, "task.label")
    if all(isinstance(value, str) for value in values):
        return [parts(value, task.separator) for value in values]
    if not all(isinstance(value, list) for value in values):
        said = no_lists(task.label, str(table.column(task.label).type))
        raise UserError(f"{where}: {said}", key="task.label")
    return values


def no_lists(name: str, kind: str) -> str:
    """Return what is said of a column that has no label sets; kind: what it holds."""
    return f"column {name} holds {kind}; a multi-label task takes lists, or text"


def parts(text: str, separator: str) -> list[str]:
    """Return the labels in a text."""
    return [part for part in map(str.strip, text.split(separator)) if part]


def are_places(rows: Sequence[Sequence[Any]], task: TaskConfig) -> bool:
    """Whether lists, those of all splits, have a 0 or a 1 for every label, and are no lists of ids.

    Raises UserError where they could be either.
    """
    size = len(task.labels)
    if not rows or not all(may_be_places(row, size) for row in rows):
        return False
    if any(must_be_places(row, size) for row in rows):
        return True
    raise UserError(f"task.label: {two_readings(task.label)}", key="task.label")


def may_be_places(row: Sequence[Any], size: int) -> bool:
    """Whether a list has a 0 or a 1 for each of `size` labels; it could still be of ids."""
    return len(row) == size and all(one in (0, 1) for one in row)


def must_be_places(row: Sequence[Any], size: int) -> bool:
    """Whether a list that may be places is no list of ids: one would be there twice, or is none."""
    return isinstance(row[0], bool) or len(set(row)) < size or max(row) >= size


def two_readings(name: str | None) -> str:
    """Return what is said of lists that may be both."""
    return (
        f"the lists of column {name} could be class ids, or a 0 or 1 for each label; names in their "
        "place, or task.label=null and a column for each label, have one meaning"
    )


def flag(value: Any, name: str) -> int:
    """Return the 0 or 1 in a label's column; raises Unfit where it has another value."""
    found = {"0": 0, "1": 1, "false": 0, "true": 1}.get(plain(present(value, name)).lower())
    if found is None:
        raise Unfit(f"column {name} has {quoted(value)}", "; a label's column has 0 or 1", key="task.labels")
    return found


def score(value: Any, name: str, task: TaskConfig) -> float:
    """Return the score in a column; raises Unfit where it is none, or none that the task has."""
    low, high = task.score_range or (-math.inf, math.inf)
    found: float | None = _number(present(value, name), float)
    if found is None:
        rest = ", no score; task.labels lists the names of classes"
        raise Unfit(f"column {name} has {quoted(value)}", rest, key="task.labels")
    if not math.isfinite(found):
        raise Unfit(f"column {name} has {quoted(value)}", ", no number to learn")
    if not low <= found <= high:
        raise Unfit(f"score {found:g}", f" lies outside {low:g} to {high:g}", key="task.score_range")
    if abs(found) > FP32:
        raise Unfit(f"score {found:g}", " is larger than fp32 has numbers")
    return found


def _scores(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    assert task.label is not None
    values = _column(table, task.label, where, "task.label")
    exact = np.array(_each(values, functools.partial(score, name=task.label, task=task), where), np.float64)
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


def quoted(value: Any) -> str:
    """Return a value as messages have it: what is long is no label."""
    text = repr(value)
    return text if len(text) <= LONG else f"{text[: LONG // 2]}…{text[-LONG // 4 :]}"


def other_names(names: Sequence[str], task: TaskConfig, where: str) -> UserError:
    """Return what is said of a data set whose labels have other names than the task's."""
    return UserError(
        f"{where}: its labels are {', '.join(names)} (in this order), "
        f"task {task.name} has {', '.join(task.labels) or 'scores'}",
        key="task.labels",
    )
