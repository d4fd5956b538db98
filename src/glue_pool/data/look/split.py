"""A file of rows as it was read, and what its columns hold."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glue_pool.data import files
from glue_pool.data.columns import FIELD
from glue_pool.errors import UserError


@dataclass
class Split:
    """A split: what it was given as, and its rows; text of any Arrow type is large_string."""

    name: str
    entry: str
    table: Any
    quotes: bool = True


def read(name: str, entry: str, *, quotes: bool = True) -> Split:
    """Read a split; raises UserError where it has no rows.

    quotes: false where quotes are text, which is found out of csv and tsv.
    """
    shards = files.expand(entry, name)
    try:
        table = files.read_tables(shards, quotes=quotes)
    except UserError as error:
        if not quotes or not _separated(shards):
            raise
        try:  # a quote in a text that nothing is to be made of
            table, quotes = files.read_tables(shards, quotes=False), False
        except UserError:
            raise error from None
    if _separated(shards) and quotes and _swallows(table, shards):
        table, quotes = files.read_tables(shards, quotes=False), False
    repeated = [column for column, count in Counter(table.column_names).items() if count > 1]
    if repeated:
        raise UserError(f"{entry}: several columns are called {repeated[0]!r}")
    if not len(table):
        raise UserError(f"{entry}: there are no rows in it")
    for i, column in enumerate(table.column_names):
        kind = table.schema.field(i).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        wanted = pa.large_string() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else kind
        table = table.set_column(i, column, table.column(i).cast(wanted))
    return Split(name, entry, table, quotes)


def _separated(shards: Sequence[Path]) -> bool:
    return all(re.search(r"\.[ct]sv(\.gz)?$", file.name) for file in shards)


def _swallows(table: Any, shards: Sequence[Path]) -> bool:
    """Whether texts between quotes hold line breaks and separators, and are rows themselves where quotes are text."""
    columns = table.columns if table.num_columns > 1 else []
    if not any(pc.any(pc.match_substring_regex(column, r"\n[^\n]*[,;\t]")).as_py() for column in columns):
        return False
    try:
        return len(files.read_tables(shards, quotes=False)) > len(table)
    except UserError:
        return False


def check_header(split: Split) -> None:
    """Refuse csv and tsv whose first line is a row."""
    for column in split.table.column_names:
        if _separated([Path(split.entry)]) and (len(column) > 60 or re.fullmatch(r"-?\d+(\.\d+)?", column)):
            raise UserError(
                f"{split.entry}: its first line has no column names but {shortened(column)!r}; put a line such as "
                "text,label before it"
            )


def fields(text: str) -> list[str]:
    """Return the columns of a text: its own, or those of a template such as `{title}: {body}`."""
    return FIELD.findall(text) or [text]


def check_text(split: Split, text: str) -> None:
    """Refuse a text that is none, or has none in a row; a template writes numbers out."""
    for column in fields(text):
        values = split.table.column(column)
        if not is_text(values) and (text == column or shape_of(values) not in ("integer", "number")):
            raise UserError(f"{split.entry}: column {column} holds {values.type}, not text")
        if values.null_count:
            raise UserError(f"{split.entry}: column {column} has no value in row {first(values.is_null())}")


def shape_in(tables: Sequence[Any], column: str) -> str:
    """Say what a column holds: list, bool, integer, number, text or other; the widest of the splits' that have it."""
    order = ["integer", "number", "text", "bool", "list", "other"]
    there = [table.column(column) for table in tables if column in table.column_names]
    return max((shape_of(column) for column in there), key=order.index)


def shape_of(column: Any) -> str:
    """Say what a column holds, as `shape_in`; digits are numbers, whatever their type."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "list"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "number"
    if not is_text(column):
        return "other"
    filled = column.filter(pc.not_equal(column, ""))
    if not len(filled):
        return "other"
    for shape, pattern in (("integer", r"^-?\d+$"), ("number", r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")):
        if pc.all(pc.match_substring_regex(filled, pattern)).as_py():
            return shape
    return "text"


def is_text(column: Any) -> bool:
    """Whether a column's type is text."""
    return bool(pa.types.is_large_string(column.type))


def different_in(column: Any) -> int:
    """Count the different values."""
    return int(pc.count_distinct(column, mode="all").as_py())


def first(mask: Any) -> int:
    """Return the first row of which a mask is true."""
    return int(pc.index(mask, True).as_py())


def as_text(table: Any, name: str) -> Any:
    """Return a column as text."""
    return table.column(name).cast(pa.large_string())


def joined_texts(table: Any, columns: Sequence[str]) -> Any:
    """Return the rows' texts, a string a row."""
    separator = pa.scalar("\n", pa.large_string())
    return pc.binary_join_element_wise(*(as_text(table, name) for name in columns), separator)


def listed(names: Iterable[str]) -> str:
    """List names for a message, not more than it takes."""
    every = list(names)
    return ", ".join(map(shortened, every[:12])) + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def shortened(name: str) -> str:
    """Cut off the end of a long name."""
    return name if len(name) <= 30 else f"{name[:29]}…"
