"""Tables in files: which files a split is made of, what identifies them, and what is in them.

What ends in .gz, .bz2 or .zst is unpacked on the way. Text in csv and tsv is UTF-8; all their columns are text.
"""

import csv
import functools
import glob
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from glue_pool.disk import missing
from glue_pool.errors import UserError
from glue_pool.fields import check_path
from glue_pool.shell import expanded

if TYPE_CHECKING:  # pyarrow is imported on use
    import pyarrow as pa

PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
SHARD = re.compile(r"-(\d{3,})-of-(\d{3,})(-[0-9a-f]+)?\.")  # as datasets and the Hub name them


def expand(entry: str | Sequence[str], where: str) -> list[Path]:
    """Return the files that a path, a glob of shards or a list of those stands for, a glob's in the order of names.

    where: the key or option that says so. Raises UserError where there is none, or shards are missing or too many.
    """
    if not isinstance(entry, str):
        return [file for one in entry for file in expand(str(one), where)]
    path = Path(expanded(entry, where))
    check_path(where, str(path))
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        raise UserError(f"{where}: {entry} is a folder; name its files, as {entry.rstrip('/')}/*.parquet", key=where)
    matching = sorted(map(Path, glob.glob(str(path), recursive=True)))
    if lost := [file for file in matching if not file.exists()]:
        raise UserError(f"{where}: {missing(lost[0], 'file')}", key=where)
    found = [file for file in matching if file.is_file()]
    if not found:
        what = "no file matches it" if glob.has_magic(entry) else missing(path, "file")
        place = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise UserError(f"{where}: {entry}: {what}{place}", key=where)
    check_shards(found)
    return found


def in_folder(folder: Path, split: str) -> list[Path]:
    """Return a split's file `<split>.<format>` in a folder, or its shards `<split>-00000-of-00002.<format>`."""
    try:
        there = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} can't be read: {error.strerror}") from None
    if lost := [entry for entry in there if entry.name.startswith((f"{split}.", f"{split}-")) and not entry.exists()]:
        raise UserError(missing(lost[0], "file"))
    names = [entry for entry in there if entry.is_file() and kind(entry) in READERS]
    whole = [file for file in names if file.name.removesuffix(_packed(file)) == f"{split}{kind(file)}"]
    found = whole or [file for file in names if file.name.startswith(f"{split}-")]
    if not found:
        others = ", ".join(entry.name for entry in there) or "none"
        raise UserError(f"{folder / split}.parquet is missing; in that folder there are {others}")
    if len(whole) > 1:
        raise UserError(f"{whole[0]} and {whole[1].name}: which of them is the split {split}?")
    check_shards(found)
    return found


def check_shards(files: Sequence[Path]) -> None:
    """Refuse shards of which some are missing, or that were written twice."""
    parts = [(SHARD.search(file.name), file) for file in files]
    shards = [(int(match[1]), int(match[2]), file) for match, file in parts if match]
    if not shards:
        return
    if len(shards) < len(files):
        other = next(file for match, file in parts if not match)
        raise UserError(f"{other}: stands beside shards ({shards[0][2].name}): which of them are the rows?")
    _, wanted, first = shards[0]
    numbers = [number for number, _, _ in shards]
    if len(set(numbers)) < len(numbers) or any(of != wanted for _, of, _ in shards):
        twice = next(file for number, of, file in shards[1:] if of != wanted or numbers.count(number) > 1)
        raise UserError(f"{first} and {twice.name}: shards that were written twice; keep those of one time")
    if len(numbers) != wanted:
        raise UserError(f"{first}: {len(numbers)} of {wanted} shards are there")


def digest(of_splits: Mapping[str, Sequence[Path]]) -> str:
    """Return a SHA-256 of the bytes of every split's files, and of their formats; parquet is the one not named."""
    found = hashlib.sha256()
    for files in of_splits.values():
        found.update(len(files).to_bytes(8, "little"))
        for file in files:
            try:
                status = file.stat()
                found.update(_file_digest(file.absolute(), status.st_mtime_ns, status.st_size))
            except OSError as error:
                raise UserError(f"{file} can't be read: {error.strerror}") from error
            if kind(file) != ".parquet":
                found.update(kind(file).encode())
    return found.hexdigest()


def read_tables(files: Sequence[Path], *, quotes: bool = True) -> "pa.Table":
    """Return the rows of some files, one after another.

    quotes: whether a text in quotes may hold separators and line breaks in csv and tsv. Raises UserError, which names
    the file, where one can't be read or their columns differ.
    """
    import pyarrow as pa

    tables = [_read(file, quotes) for file in files]
    try:
        alike = all(table.column_names == tables[0].column_names for table in tables[1:])
        promote = "permissive" if alike and tables[1:] else "none"  # 1 and 2.5 are numbers
        return pa.concat_tables(tables, promote_options=promote)
    except pa.ArrowException as error:
        raise UserError(f"{files[0]} and its other shards have different columns") from error


def kind(file: Path) -> str:
    """Return a file's format: its suffix in small letters, without that of its packing."""
    return Path(file.name.removesuffix(_packed(file))).suffix.lower()


def _packed(file: Path) -> str:
    return file.suffix if file.suffix.lower() in PACKED else ""


@functools.cache
def _file_digest(file: Path, mtime_ns: int, size: int) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read(file: Path, quotes: bool) -> "pa.Table":
    import pyarrow as pa

    read = READERS.get(kind(file))
    if read is None:
        raise UserError(f"{file}: its name ends in none of {', '.join(READERS)}, so it says no format")
    try:
        table = read(file, quotes)
        table.validate(full=True)  # text that isn't UTF-8, offsets that point nowhere
    except UnicodeDecodeError as error:
        said = f"it is no UTF-8 ({error.reason}); iconv -f latin1 -t utf-8 makes Latin-1 so"
        raise UserError(f"{file} can't be read as {kind(file)[1:]}: {said}") from None
    except (pa.ArrowException, OSError, EOFError, csv.Error, ValueError, OverflowError, RecursionError) as error:
        raise unreadable(str(file), kind(file), error) from error
    return table


def unreadable(where: str, kind: str, error: Exception) -> UserError:
    """Return what is said of a file in which a library found an error."""
    said = (str(error).splitlines() or [""])[0]
    return UserError(f"{where} can't be read as {kind[1:]}: {said}")


def unpacked(file: Path) -> IO[bytes]:
    """Open a file; the bytes of a packed one are unpacked as they are read."""
    import pyarrow as pa

    packing = PACKED.get(_packed(file).lower())
    stream: IO[bytes] = pa.input_stream(file.open("rb"), compression=packing) if packing else file.open("rb")
    return stream


def _lines(file: Path, newline: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(unpacked(file), encoding="utf-8-sig", newline=newline)


def _csv(file: Path, quotes: bool) -> "pa.Table":
    with _lines(file) as text:
        head = text.readline()
    mark = separator(head, kind(file))
    csv.field_size_limit(sys.maxsize)
    with _lines(file, newline="") as text:
        quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        rows = csv.reader(text, delimiter=mark, quoting=quoting, strict=True)  # type: ignore[arg-type]
        try:
            return _from_rows(rows, mark)
        except (csv.Error, ValueError) as error:
            way_out = (
                "; if its quotes are text, task.source.quotes=false reads them so"
                if quotes and _has_quotes(file)
                else ""
            )
            raise ValueError(f"line {rows.line_num}: {error}{way_out}") from None


def separator(head: str, kind: str) -> str:
    """Return what stands between the columns of a csv or tsv, given its first line."""
    marks = ",;\t" if kind == ".csv" else "\t"
    return "," if marks == ",;\t" and "," in head else max(marks, key=head.count)


def _has_quotes(file: Path) -> bool:
    with _lines(file) as text:
        return any('"' in line for line in text)


def _from_rows(rows: "Iterator[list[str]]", mark: str) -> "pa.Table":
    import pyarrow as pa

    names = next(rows, [])
    columns: list[list[str]] = [[] for _ in names]
    for row in rows:
        if said := misfit(row, len(names), mark):
            raise ValueError(said)
        for column, value in zip(columns, row, strict=bool(row)):
            column.append(value)
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], names)


def misfit(row: Sequence[str], columns: int, mark: str) -> str | None:
    """Return what is wrong with a row of csv or tsv, None where nothing is; a blank line is a row of nothing."""
    if row and len(row) != columns:
        return f"{len(row)} columns, the first line has {columns}"
    if mark == "\t" and any("\t" in value and "\n" in value for value in row):
        return "a text that holds a tab and a line break"
    return None


def _json(file: Path, quotes: bool) -> "pa.Table":
    import pyarrow as pa

    with _lines(file) as text:
        if kind(file) == ".json" and text.read(1) == "[":
            text.seek(0)
            records = json.load(text)
        else:
            text.seek(0)
            records = [_record(line, number) for number, line in enumerate(text, 1) if line.strip()]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a row is an object, {column: value}")
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: _array([record.get(name) for record in records]) for name in names})


def _record(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _array(values: list[Any]) -> "pa.Array":
    """Return a column; values of several types, such as 1 and "2", are text, and a NaN among them is no value."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        present = [None if value != value else value for value in values]
        return pa.array([one if one is None or isinstance(one, str) else json.dumps(one) for one in present])


def _parquet(file: Path, quotes: bool) -> "pa.Table":
    import pyarrow.parquet as pq

    return pq.ParquetFile(file).read()


def _arrow(file: Path, quotes: bool) -> "pa.Table":
    import pyarrow as pa

    try:
        return pa.ipc.open_stream(str(file)).read_all()  # what datasets writes
    except pa.ArrowInvalid:
        return pa.ipc.open_file(str(file)).read_all()


READERS: dict[str, Callable[[Path, bool], "pa.Table"]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json,
    ".json": _json,
    ".ndjson": _json,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
