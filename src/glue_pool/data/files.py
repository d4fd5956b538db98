"""Files of rows: csv, tsv, jsonl, parquet and arrow to one table."""

import glob
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.ipc as ipc
import pyarrow.json as pj
import pyarrow.parquet as pq

from glue_pool.errors import UserError


def expand(entry: str | Sequence[str], where: str) -> list[Path]:
    """Return the files of a file's name, a glob of shards or a list of those; UserError if nothing is there.

    where: the key or option that says so.
    """
    found: list[Path] = []
    for name in [entry] if isinstance(entry, str) else entry:
        whole = Path(name).expanduser()
        there = [whole] if whole.is_file() else sorted(map(Path, glob.glob(str(whole))))
        if not there:
            raise UserError(f"{where}: {name}: there is no such file")
        found += there
    return found


def read_tables(files: Sequence[Path], *, quotes: bool = True) -> pa.Table:
    """Read shards to one table; the columns of csv and tsv are all text. UserError names the file."""
    tables = []
    for file in files:
        try:
            tables.append(_read(file, quotes=quotes))
            tables[-1].validate(full=True)
        except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
            said = (str(error).splitlines() or [""])[0]
            raise UserError(f"{file} can't be read: {said}") from None
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException:
        raise UserError(f"{files[0]} and its other shards have different columns") from None


def _read(file: Path, *, quotes: bool) -> pa.Table:
    kind = file.name.removesuffix(".gz").rpartition(".")[2]
    if kind in ("csv", "tsv"):
        parse = pc.ParseOptions(
            delimiter="\t" if kind == "tsv" else ",", quote_char='"' if quotes else False, newlines_in_values=quotes
        )
        names = pc.open_csv(file, parse_options=parse).schema.names
        types = dict.fromkeys(names, pa.string())
        return pc.read_csv(file, parse_options=parse, convert_options=pc.ConvertOptions(column_types=types))
    if kind in ("jsonl", "json"):
        return pj.read_json(file)
    if kind == "parquet":
        return pq.ParquetFile(file).read()
    if kind == "arrow":
        with ipc.open_file(file) as stream:
            return stream.read_all()
    raise UserError(f"{file}: none of csv, tsv, jsonl, parquet, arrow")
