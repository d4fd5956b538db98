"""Files of rows as a guess sees them: their tables, and what is in each column."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glue_pool.data import files
from glue_pool.errors import UserError

SEPARATED = (".csv", ".tsv")
NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Table:
    """A split's rows, and what they were given as; quotes: whether quotes are marks around texts."""

    split: str
    entry: str
    rows: pa.Table
    quotes: bool = True


@dataclass(frozen=True)
class Column:
    """What is in a column: its values, missing and empty ones left out, and their shape.

    shape: list, bool, integer, number, text or other; digits are numbers, whatever their type.
    """

    name: str
    values: list[Any]
    shape: str

    @property
    def text(self) -> bool:
        """Whether its type is text."""
        return bool(self.values) and isinstance(self.values[0], str)

    @property
    def flag(self) -> bool:
        """Whether it holds nothing but 0 and 1."""
        return self.shape == "bool" or (self.shape == "integer" and set(map(str, self.different)) <= {"0", "1"})

    @cached_property
    def different(self) -> set[Any]:
        """The different values; of no use for lists."""
        return set(self.values)


def read(split: str, entry: str, *, quotes: bool = True) -> Table:
    """Read a split; that quotes are text is found out of csv and tsv. Raises UserError where it has no rows."""
    shards = files.expand(entry, split)
    read_both = quotes and files.kind(shards[0]) in SEPARATED
    try:
        rows = files.read_tables(shards, quotes=quotes)
        if read_both and _hold_lines(rows) and (other := _quotes_as_text(shards)) and len(other) > len(rows):
            rows, quotes = other, False
    except UserError:  # a quote in a text that nothing is to be made of
        if not read_both or not (other := _quotes_as_text(shards)):
            raise
        rows, quotes = other, False
    if not len(rows):
        raise UserError(f"{entry}: the split is empty")
    return Table(split, entry, rows, quotes)


def _hold_lines(rows: pa.Table) -> bool:
    """Whether texts hold line breaks and separators, and so may be rows that quotes swallowed."""
    lines = (pc.match_substring_regex(column, r"\n[^\n]*[,;\t]") for column in rows.columns)
    return rows.num_columns > 1 and any(pc.any(column).as_py() for column in lines)


def _quotes_as_text(shards: Sequence[Path]) -> pa.Table | None:
    try:
        return files.read_tables(shards, quotes=False)
    except UserError:
        return None


def check_header(table: Table) -> None:
    """Refuse csv and tsv whose first line is a row."""
    for name in table.rows.column_names if files.kind(Path(table.entry)) in SEPARATED else ():
        if len(name) > 60 or NUMBER.fullmatch(name):
            way_out = "put a line such as text,label before it"
            raise UserError(f"{table.entry}: its first line has no column names but {shortened(name)!r}; {way_out}")


def columns_of(tables: Sequence[Table]) -> dict[str, Column]:
    """Return the first table's columns, with what the other tables have of the same sort."""
    found = {}
    for name in dict.fromkeys(tables[0].rows.column_names):
        first, *others = (column_of(name, table.rows) for table in tables)
        values = first.values + [value for other in others if _alike(first, other) for value in other.values]
        found[name] = Column(name, values, _shape(values))
    return found


def column_of(name: str, rows: pa.Table) -> Column:
    """Return what a table has in a column, nothing where it lacks it; of several of a name the first."""
    place = rows.column_names.index(name) if name in rows.column_names else None
    values = [] if place is None else [value for value in rows.column(place).to_pylist() if value not in (None, "")]
    return Column(name, values, _shape(values))


def _alike(one: Column, other: Column) -> bool:
    hidden = all(str(value) == "-1" for value in other.values)
    numbers = {one.shape, other.shape} <= {"integer", "number"}
    return not hidden and (one.shape == other.shape or numbers or (one.text and other.text))


def _shape(values: Sequence[Any]) -> str:
    if values and all(isinstance(value, list) for value in values):
        return "list" if all(isinstance(one, str | int | float) for value in values for one in value) else "other"
    for kind, shape in ((bool, "bool"), (int, "integer"), (int | float, "number")):
        if values and all(isinstance(value, kind) for value in values):
            return shape
    texts = [str(value) for value in values if isinstance(value, str | int | float)]
    if not texts or len(texts) < len(values):
        return "other"
    for pattern, shape in ((re.compile(r"-?\d+"), "integer"), (NUMBER, "number")):
        if all(map(pattern.fullmatch, texts)):
            return shape
    return "text"


def listed(names: Iterable[str]) -> str:
    """List names for a message, not more than it takes."""
    every = list(names)
    return ", ".join(map(shortened, every[:12])) + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def shortened(name: str) -> str:
    """Cut off the end of a long name."""
    return name if len(name) <= 30 else f"{name[:29]}…"
