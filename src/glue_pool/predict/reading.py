"""An input, row by row: texts, gold labels and a category, and what is wrong with a row that can't be read.

Formats, packing, templates and labels are those of `glue_pool.data`. A row that can't be read doesn't end the reading;
no more than a row (of parquet a batch of them) is in memory.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glue_pool import metrics
from glue_pool.data import columns as values_of
from glue_pool.data import files
from glue_pool.data.columns import Labels, Text, Unfit
from glue_pool.disk import missing
from glue_pool.errors import UserError, nearest
from glue_pool.fields import check_path
from glue_pool.predict.formats import READERS, Table, Values, Ways, fault, opened
from glue_pool.shell import expanded
from glue_pool.tasks import TaskConfig

if TYPE_CHECKING:  # pyarrow is imported on use
    import pyarrow as pa

Label = int | float | list[int]
Again = Callable[[int], Iterator[Any]]  # a column's values from the first row on, none of what is no file


@dataclass(frozen=True)
class Row:
    """A row of an input.

    line: where it stands, as an editor counts (a parquet file's row number, from 1). texts: one or two, None where the
    row can't be read. label: as `Rows.labels` has it for one row (a class id, a score, or a 0 or 1 for every label of a
    multi-label task), None where not asked for. categories: the text of each `by` column, empty where it has no value;
    none where a row is no row. wrong: what is wrong with the row, in a few words, None where nothing is.
    """

    line: int
    texts: tuple[str, ...] | None
    label: Label | None
    categories: tuple[str, ...]
    wrong: str | None


def read(
    source: str | Path,
    task: TaskConfig,
    *,
    columns: Sequence[str] | None = None,
    labels: str | None = None,
    by: Sequence[str] = (),
    format: str | None = None,
    header: bool = True,
    quotes: bool = True,
) -> Iterator[Row]:
    """Return the rows of a file, or of standard input ("-"), as they are read.

    columns: what the texts are made of, columns or templates; the task's own by default. labels: the column of gold
    labels; of a multi-label task with a column for every label, any of these (without a header, the first). by: columns
    of categories. Columns go by name or, where none has it, by position, from 1. format: csv, tsv, jsonl,
    parquet or txt (a text a line), where the name's ending doesn't say it; standard input is txt. header: whether the
    first line of csv and tsv has the names. quotes: whether a text in quotes may hold separators and line breaks.

    Raises UserError at once for what is wrong with the whole; while iterating, only where the rest can't be read, as
    in a packed file that was cut off.
    """
    rows = _rows(source, task, columns, labels, by, format, header, quotes)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{_name(source)}: it is empty, there is no row in it")
    return itertools.chain([first], rows)


def _rows(
    source: str | Path,
    task: TaskConfig,
    columns: Sequence[str] | None,
    labels: str | None,
    by: Sequence[str],
    format: str | None,
    header: bool,
    quotes: bool,
) -> Iterator[Row]:
    import pyarrow as pa

    where, path = _name(source), _path(source)
    kind = _format(path, format, task)
    if columns is not None and len(columns) != len(task.columns):
        said = f"{len(columns)} given, task {task.name} takes {len(task.columns)} ({', '.join(task.columns)})"
        raise UserError(f"--columns: {said}")
    by_position = kind == ".txt" or (kind in (".csv", ".tsv") and not header)
    default = [str(place + 1) for place in range(len(task.columns))] if by_position else task.columns
    texts = [Text(entry) for entry in (default if columns is None else columns)]
    way_out = "; --columns says which ones are the texts" if columns is None else ""
    named = [name for text in texts for name in text.names] + [name for name in (labels, *by) if name is not None]
    named += task.labels if task.multi_label and labels in task.labels and labels != task.label else []
    ways = Ways(where, kind, header, quotes, named)

    def again(column: int) -> Iterator[Any]:
        if path is not None and path.is_file():
            with opened(path, kind) as stream:
                rows = READERS[kind](stream, ways).rows([column])
                yield from (values[0] for _, values in rows if not isinstance(values, str))

    try:
        with opened(path, kind) as stream:
            table = READERS[kind](stream, ways)
            wanted = _Wanted(task, table, where, texts, way_out, labels, by, again)
            for number, (line, values) in enumerate(table.rows(wanted.positions)):
                yield wanted.row(line, values, first=number == 0)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise files.unreadable(where, kind, error) from error


def _name(source: str | Path) -> str:
    return "standard input" if str(source) == "-" else str(source)


def _path(source: str | Path) -> Path | None:
    """Return the file's path, None for standard input."""
    if str(source) == "-":
        return None
    path = Path(expanded(str(source)))
    check_path("input", str(path))
    if path.is_dir():
        raise UserError(f"{source} is a folder; a file is read")
    if not path.exists():
        raise UserError(f"{source}: {missing(path, 'file')}")
    return path


def _format(path: Path | None, format: str | None, task: TaskConfig) -> str:
    one, there = len(task.columns) == 1, [kind[1:] for kind in READERS]
    where = _name(path or "-")
    if format is not None:
        kind = f".{format.lower().removeprefix('.')}"
        if kind not in READERS:
            raise UserError(f"format={format}: there are {', '.join(there)}{nearest(format, there)}")
    elif path is None and not one:
        raise UserError(f"{where}: its format is not known; --format csv, tsv or jsonl says it")
    elif (kind := ".txt" if path is None else files.kind(path)) not in READERS:
        raise UserError(f"{where}: its name ends in none of {', '.join(READERS)}; --format says what it is")
    if kind == ".txt" and not one:
        pair = f"task {task.name} takes two ({', '.join(task.columns)})"
        raise UserError(f"{where}: txt is a text a line, and {pair}; csv, tsv, jsonl and parquet have columns")
    if kind == ".parquet" and path is None:
        raise UserError(f"{where}: parquet is read from a file alone; csv, tsv, jsonl and txt come as a stream, too")
    return kind


class _Wanted:
    """What is asked for: the positions of its columns, and a row made of their values."""

    def __init__(
        self,
        task: TaskConfig,
        table: Table,
        where: str,
        texts: Sequence[Text],
        way_out: str,
        labels: str | None,
        by: Sequence[str],
        again: Again,
    ) -> None:
        self._where = where
        self.positions: list[int] = []
        try:
            self._texts = [(text, self._take([_position(name, table, where) for name in text.names])) for text in texts]
        except UserError as error:
            raise UserError(f"{error}{way_out}") from None
        if table.schema is not None:
            for text, place in self._texts:
                _check_text(text, [table.schema.field(i) for i in self.positions[place]], where)
        self._label: tuple[slice, Callable[[Sequence[Any]], Label]] | None = None
        if labels is not None:
            at = _position(labels, table, where)
            flags = _flags_at(at, task, table, where)
            self._label = self._take(flags or [at]), _label(task, table, where, at, None if flags else again(at))
        self._by = self._take([_position(name, table, where) for name in by])

    def _take(self, positions: Sequence[int]) -> slice:
        self.positions += positions
        return slice(len(self.positions) - len(positions), len(self.positions))

    def row(self, line: int, values: Values, *, first: bool) -> Row:
        """Return a row; first: whether it is the input's, so that it stands for all of them."""
        if isinstance(values, str):
            return Row(line, None, None, (), values)
        categories: tuple[str, ...] = ()
        try:
            of_row = values[self._by]
            categories = tuple("" if value is None else _sound(values_of.plain(value)) for value in of_row)
            texts = tuple(_sound(text(values[place])) for text, place in self._texts)
            label = None if self._label is None else self._label[1](values[self._label[0]])
        except Unfit as unfit:
            if unfit.of_all and first:
                raise UserError(f"{self._where}: {unfit}") from None
            return Row(line, None, None, categories, str(unfit))
        return Row(line, texts, label, categories, None)


def _position(name: str, table: Table, where: str) -> int:
    there = table.columns
    if name not in there and name.isdecimal() and 1 <= int(name) <= len(there):
        return int(name) - 1
    return values_of.position(name, there, where)


def _sound(text: str) -> str:
    if said := fault(text):
        raise Unfit(said)
    return text


def _check_text(text: Text, fields: "Sequence[pa.Field]", where: str) -> None:
    """Refuse columns of parquet that hold no text in any row."""
    import pyarrow.types as types

    for field in fields:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        if not (_is_text(kind) or types.is_null(kind) or (text.template and number)):
            raise UserError(f"{where}: {text.refusal(field.name, str(field.type), 0 if number else None)}")


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


# gold labels


def _flags_at(at: int, task: TaskConfig, table: Table, where: str) -> list[int]:
    """Return where the labels' columns of 0 and 1 are, given that of one; none where that one has all the labels."""
    if not task.multi_label or table.columns[at] == task.label:
        return []
    if table.columns[at] in task.labels:
        return [values_of.position(name, table.columns, where) for name in task.labels]
    if task.label is not None or table.named:
        return []
    if (end := at + len(task.labels)) > len(table.columns):
        said = f"{len(task.labels)} labels from column {at + 1} on; there are {len(table.columns)} columns"
        raise UserError(f"{where}: {said}")
    return list(range(at, end))


def _label(
    task: TaskConfig, table: Table, where: str, at: int, again: Iterator[Any] | None
) -> Callable[[Sequence[Any]], Label]:
    """Return the function from the values of the label's column, or of one for every label, to a row's label.

    again: the values of the one column; None where there is one for every label.
    """
    name = table.columns[at]
    if again is None:
        return lambda values: [values_of.flag(*of) for of in zip(values, task.labels, strict=True)]
    names = None if table.schema is None else values_of.names_in_metadata(table.schema, name)
    if task.problem_type == metrics.REGRESSION:
        if names:
            raise values_of.other_names(names, task, where)
        return lambda values: float(np.float32(values_of.score(values[0], name, task)))
    decode = Labels(task, names, where)
    if table.schema is not None:
        _check_label(task, table.schema.field(at), where)
    return _Sets(task, name, decode, again) if task.multi_label else _class_id(name, decode)


def _check_label(task: TaskConfig, field: "pa.Field", where: str) -> None:
    """Refuse a column of parquet that holds no labels in any row."""
    import pyarrow.types as types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if task.multi_label and not (lists or _is_text(kind) or types.is_null(kind)):
        raise UserError(f"{where}: {values_of.no_lists(field.name, str(kind))}")
    if not task.multi_label and types.is_nested(kind):
        raise UserError(f"{where}: {values_of.no_labels(field.name, str(kind), lists)}")


def _class_id(name: str, decode: Labels) -> Callable[[Sequence[Any]], int]:
    def read(values: Sequence[Any]) -> int:
        value = values_of.present(values[0], name)
        if isinstance(value, list | dict):
            kind = values_of.JSON_TYPES[type(value)]
            raise Unfit(values_of.no_labels(name, kind, isinstance(value, list)))
        return decode(value)

    return read


class _Sets:
    """The label sets of a column of lists, or of text with separators.

    Whether lists have a 0 or a 1 for every label, the first one says that can't be read in two ways.
    """

    def __init__(self, task: TaskConfig, name: str, decode: Labels, again: Iterator[Any]) -> None:
        self._task, self._name, self._decode, self._again = task, name, decode, again
        self._places: bool | None = None

    def __call__(self, values: Sequence[Any]) -> list[int]:
        value = values_of.present(values[0], self._name)
        if isinstance(value, str):
            return self._decode.several(values_of.parts(value, self._task.separator))
        if not isinstance(value, list):
            raise Unfit(values_of.no_lists(self._name, values_of.JSON_TYPES.get(type(value), type(value).__name__)))
        if self._places is None:
            self._places = self._are_places(value)
        if not self._places:
            return self._decode.several(value)
        if not values_of.may_be_places(value, len(self._task.labels)):
            raise Unfit(f"a list of {len(value)}; the first has a 0 or a 1 for every label")
        return [int(one) for one in value]

    def _are_places(self, first: list[Any]) -> bool:
        size = len(self._task.labels)
        for value in itertools.chain([first], self._again):
            if isinstance(value, list) and not values_of.may_be_places(value, size):
                return False
            if isinstance(value, list) and values_of.must_be_places(value, size):
                return True
        raise Unfit(values_of.two_readings(self._name), of_all=True)
