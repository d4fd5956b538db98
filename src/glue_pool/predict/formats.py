"""Inputs of every format as rows of values: each with its line, or with what is wrong with it.

No more than a row (of parquet a batch of them) is in memory.
"""

import csv
import io
import itertools
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from glue_pool.data import columns as values_of
from glue_pool.data import files
from glue_pool.errors import UserError

if TYPE_CHECKING:  # pyarrow is imported on use
    import pyarrow as pa

BATCH = 256  # rows of parquet
QUOTED = 2**20  # characters of a row with line breaks in quotes; in more, a quote was left open
FIRST = 2048  # objects of jsonl among which a column has to come up: more than GLUE's diagnostic set has
BREAK = re.compile(r"\r\n|\r|\n")
NO_UTF8 = "bytes that are no UTF-8"

Values = Sequence[Any] | str  # of a row's wanted columns, or what is wrong with the row


@dataclass(frozen=True)
class Table:
    """An input that was opened: its columns, and a function from the positions of some to the rows with their line.

    named: whether they have names, or positions in their place. schema: of parquet.
    """

    columns: list[str]
    rows: Callable[[Sequence[int]], Iterator[tuple[int, Values]]]
    named: bool = True
    schema: "pa.Schema | None" = None


@dataclass(frozen=True)
class Ways:
    """How an input is read: what messages call it, its format, and `read`'s options for it."""

    where: str
    kind: str
    header: bool
    quotes: bool
    wanted: Sequence[str]  # columns that have to come up, by name


@contextmanager
def opened(path: Path | None, kind: str) -> Iterator[IO[bytes] | io.TextIOWrapper]:
    """Open a file, or standard input for None. In text, bytes that are no UTF-8 become what UTF-8 never is."""
    with _bytes(path) as stream:
        if kind == ".parquet":
            yield stream
            return
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        try:
            yield text
        finally:
            text.detach()


@contextmanager
def _bytes(path: Path | None) -> Iterator[IO[bytes]]:
    if path is not None:
        with files.unpacked(path) as stream:
            yield stream
    elif sys.stdin is None:
        raise UserError("standard input is closed")
    else:
        yield sys.stdin.buffer


def fault(text: str) -> str | None:
    """Return what in a text or a line is none, if anything is."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return NO_UTF8
    return "a NUL, which is no text" if "\0" in text else None


def _first(lines: Iterator[str], where: str) -> tuple[str, Iterator[str]]:
    """Return the first line, and all lines; raises UserError where it is no UTF-8."""
    line = next(lines, "")
    if fault(line) == NO_UTF8:
        raise UserError(f"{where}: it is no UTF-8 from its first line on; iconv -f latin1 -t utf-8 makes Latin-1 so")
    return line, itertools.chain([line] if line else [], lines)


def _txt(text: io.TextIOWrapper, ways: Ways) -> Table:
    def rows(wanted: Sequence[int]) -> Iterator[tuple[int, Values]]:
        for number, line in enumerate(lines, 1):
            yield number, fault(line) or [line.removesuffix("\n").removesuffix("\r")] * len(wanted)

    _, lines = _first(text, ways.where)
    return Table(["1"], rows, named=False)


def _separated(text: io.TextIOWrapper, ways: Ways) -> Table:
    head, lines = _first(text, ways.where)
    mark = files.separator(head, ways.kind)
    records = _records(lines, mark, ways.quotes)
    first = next(records, None)
    if first is None:
        raise UserError(f"{ways.where}: it is empty")
    line, names = first
    if ways.header and (isinstance(names, str) or line > 1):
        said = names if isinstance(names, str) else "it is blank"
        raise UserError(f"{ways.where}: its first line has no names of columns: {said}")
    width = 1 if isinstance(names, str) else len(names)

    def rows(wanted: Sequence[int]) -> Iterator[tuple[int, Values]]:
        for line, record in records if ways.header else itertools.chain([first], records):
            if isinstance(record, str):
                yield line, record
            else:
                yield line, files.misfit(record, width, mark) or [record[place] for place in wanted]

    columns = list(names) if ways.header else [str(place + 1) for place in range(width)]
    return Table(columns, rows, ways.header)


class _Lines:
    """Lines for csv.reader, those of one row at a time."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._again = lines, deque[str]()
        self.row: list[str] = []
        self.before = 0  # lines before the row
        self._size = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._size > QUOTED:
            raise StopIteration  # csv.reader takes it for the end
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        self._size += len(line)
        return line

    def next_row(self) -> None:
        self.before += len(self.row)
        self.row, self._size = [], 0

    def again(self, after: int) -> None:
        """Give the lines of the row after one of them once more."""
        there = after - self.before
        self._again.extendleft(reversed(self.row[there:]))
        del self.row[there:]


def _records(text: Iterator[str], mark: str, quotes: bool) -> Iterator[tuple[int, list[str] | str]]:
    """Return the rows of csv or tsv with the lines they begin in; a quote left open ends with its line."""
    csv.field_size_limit(sys.maxsize)
    lines = _Lines(text)
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=mark, quoting=quoting, strict=True)
    while True:
        lines.next_row()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            begun = lines.before + 1
            line, said = _opening(lines, mark, error)
            yield begun, said
            lines.again(after=line)
            continue
        if row:
            yield lines.before + 1, fault(lines.row[0] if len(lines.row) == 1 else "".join(lines.row)) or row


def _opening(lines: _Lines, mark: str, error: csv.Error) -> tuple[int, str]:
    """Return the line in which the quote opens that csv.reader found no right end of, and what is said of it."""
    line = lines.before + len(lines.row)
    ended = "unexpected end" in str(error)
    if not ended and len(lines.row) == 1:
        return line, f"{error}; are quotes text here (--no-quotes)?"
    still_open = lines.row if ended else lines.row[:-1]
    *_, field = next(csv.reader(still_open, delimiter=mark))
    last_line = lines.before + len(still_open)
    opened = last_line + still_open[-1].endswith(("\r", "\n")) - len(BREAK.findall(field))
    if ended:
        return opened, f"the quote that opens in line {opened} is not closed"
    return opened, f"the quote that opens in line {opened} is not closed well: {error} in line {line}"


def _objects(text: io.TextIOWrapper, ways: Ways) -> Table:
    _, lines = _first(text, ways.where)
    records = ((number, _object(line)) for number, line in enumerate(lines, 1) if not line.isspace())
    begun: list[tuple[int, dict[str, Any] | str]] = []
    names: dict[str, None] = {}
    for record in itertools.islice(records, FIRST):
        begun.append(record)
        names |= {} if isinstance(record[1], str) else dict.fromkeys(record[1])
        if names and all(name in names or name.isdecimal() for name in ways.wanted):
            break
    if not begun:
        raise UserError(f"{ways.where}: it is empty, there is no row in it")
    if not names:
        raise UserError(f"{ways.where}: line {begun[0][0]}: {begun[0][1]}; nor is any of the next lines an object")
    columns = list(names)

    def rows(wanted: Sequence[int]) -> Iterator[tuple[int, Values]]:
        keys = [columns[place] for place in wanted]
        for line, record in itertools.chain(begun, records):
            yield line, record if isinstance(record, str) else [record.get(key) for key in keys]

    return Table(columns, rows)


def _object(line: str) -> dict[str, Any] | str:
    """Return a line's object, or what is wrong with it."""
    if said := fault(line):
        return said
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        return f"no JSON: {error.msg} at character {error.pos + 1}"
    except ValueError as error:  # a number of thousands of digits
        return f"no JSON: {error}"
    except RecursionError:
        return "no JSON: too many brackets within another"
    return record if isinstance(record, dict) else "no object, {column: text}"


def _parquet(stream: IO[bytes], ways: Ways) -> Table:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=2**20)
    columns = list(file.schema_arrow.names)

    def rows(wanted: Sequence[int]) -> Iterator[tuple[int, Values]]:
        names = [columns[place] for place in wanted]
        for name in names:
            values_of.position(name, columns, ways.where)
        line = 0
        for batch in file.iter_batches(BATCH, columns=list(dict.fromkeys(names))):
            for values in zip(*(_values(batch.column(name)) for name in names), strict=True):
                line += 1
                yield line, values

    return Table(columns, rows, schema=file.schema_arrow)


def _values(column: "pa.Array") -> list[Any]:
    """Return a column's values; a text that is no UTF-8 is one that can't be written as such."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: "pa.Scalar") -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return "\udcff"


READERS: dict[str, Callable[[Any, Ways], Table]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _objects,
    ".ndjson": _objects,
    ".parquet": _parquet,
    ".txt": _txt,
}
