"""The table of predictions: its columns and formats, a row a line, and back from the lines to numbers."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from glue_pool import disk
from glue_pool.data.files import PACKED
from glue_pool.errors import UserError
from glue_pool.metrics import REGRESSION
from glue_pool.tasks import TaskConfig

FORMATS = (".csv", ".jsonl", ".parquet")
AT_ONCE = 8192  # rows of a parquet file's row group
Values = Sequence[float] | None  # of a row: a probability a label or a score; None where the row couldn't be read


@dataclass(frozen=True)
class Table:
    """Predictions of a task in a format: `label` and `p(NAME)` for each label, or `score`.

    lines: the format of the lines that rows become, `.csv` or `.jsonl`; parquet, to which nothing can be added, is made
    of the latter.
    """

    task: TaskConfig
    lines: str

    @classmethod
    def of(cls, task: TaskConfig, output: Path) -> Self:
        """Return the table of an output, by its ending."""
        return cls(task, ".csv" if output.suffix.lower() == ".csv" else ".jsonl")

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        if self.task.problem_type == REGRESSION:
            return ["score"]
        return ["label", *(f"p({name})" for name in self.task.labels)]

    @property
    def head(self) -> bytes:
        """What comes before the first row."""
        return _csv([self.columns]) if self.lines == ".csv" else b""

    def cells(self, values: Values) -> list[Any]:
        """Return a row of the table."""
        if values is None:
            return [None] * len(self.columns)
        if self.task.problem_type == REGRESSION:
            return list(values)
        names = self.task.labels
        if self.task.multi_label:
            label = self.task.separator.join(name for name, p in zip(names, values, strict=True) if p > 0.5)
        else:
            label = names[max(range(len(names)), key=values.__getitem__)]
        return [label, *values]

    def encode(self, rows: Sequence[Values]) -> bytes:
        """Return rows as lines; numbers have the digits that give the same ones when they are read."""
        cells = [self.cells(values) for values in rows]
        if self.lines == ".csv":
            return _csv(cells)
        names = self.columns
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in cells]
        return "".join(lines).encode()

    def read(self, file: Path) -> Iterator[list[Any]]:
        """Yield the rows of whole lines; raises UserError where a line is none that `encode` writes."""
        try:
            for row in self._rows(file):
                if len(row) != len(self.columns):
                    raise ValueError(f"{len(row)} values instead of {len(self.columns)}")
                yield row
        except (ValueError, AttributeError, StopIteration, csv.Error) as error:
            raise UserError(f"{file}: holds what no prediction wrote ({error}); --force starts over") from None

    def _rows(self, file: Path) -> Iterator[list[Any]]:
        with file.open(encoding="utf-8", newline="") as text:
            if self.lines == ".csv":
                rows = csv.reader(text)
                next(rows)
                for label, *numbers in rows if len(self.columns) > 1 else (["", *row] for row in rows):
                    values = [float(number) if number else None for number in numbers]
                    whole = [label if values[0] is not None else None, *values]
                    yield whole[-len(self.columns) :]
            else:
                for line in text:
                    yield list(json.loads(line).values())

    def values(self, file: Path) -> Iterator[Values]:
        """Yield the numbers in the rows of whole lines."""
        first = self.columns[0] == "label"
        for row in self.read(file):
            yield None if row[-1] is None else row[first:]

    def end_of_rows(self, file: Path) -> tuple[int, int]:
        """Return how many whole rows a file begins with, and in how many bytes: what was cut off is no row."""
        rows, whole, at, quotes = 0 if self.lines == ".jsonl" else -1, 0, 0, 0
        with file.open("rb") as lines:
            for line in lines:
                at += len(line)
                if self.lines == ".csv":  # a line break between quotes is none
                    quotes += line.count(b'"')
                if line.endswith(b"\n") and quotes % 2 == 0:
                    rows, whole = rows + 1, at
        return (rows, whole) if rows >= 0 else (0, 0)

    def to_parquet(self, file: Path, output: Path) -> None:
        """Write a file of whole lines as parquet, some rows at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {name: pa.string() if name == "label" else pa.float64() for name in self.columns}
        schema = pa.schema(list(kinds.items()))
        with output.open("wb") as raw, pq.ParquetWriter(raw, schema, compression="zstd") as writer:
            rows: list[list[Any]] = []

            def flush() -> None:
                columns = zip(*rows, strict=True)
                arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds.values(), strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                rows.clear()

            for row in self.read(file):
                rows.append(row)
                if len(rows) == AT_ONCE:
                    flush()
            if rows:
                flush()
        with output.open("rb") as written:
            os.fsync(written.fileno())


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    r"""Return rows as lines of csv, which end with \n; a lone \r is in quotes, as csv.writer would not have it."""
    lines = (",".join(_field(cell) for cell in row) or '""' for row in rows)  # an empty line would be no row
    return "".join(line + "\n" for line in lines).encode()


def _field(cell: str | float | None) -> str:
    if not isinstance(cell, str):
        return "" if cell is None else repr(cell)
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\r\n') else cell


def check_output(output: Path, source: str, *, force: bool) -> None:
    """Refuse an output before anything is loaded: what it is called, where it lies, and what is there already."""
    ending = output.suffix.lower()
    if ending in PACKED:
        raise UserError(
            f"{output}: predictions are written unpacked; leave out {output.suffix} and pack them afterwards"
        )
    if ending not in FORMATS:
        raise UserError(f"{output}: its name ends in none of {', '.join(FORMATS)}, so it says no format")
    for file in (output, partial(output)):
        if os.path.exists(source) and os.path.exists(file) and os.path.samefile(file, source):
            raise UserError(f"{output}: {file.name} is the input itself; name another --output")
    disk.check_output(output, force=force)


def partial(output: Path) -> Path:
    """Return where an output's rows are until all of them are there."""
    return output.with_name(f"{output.name}.partial")
