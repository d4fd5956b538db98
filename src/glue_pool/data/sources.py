"""Where rows come from: the hub, a local folder of parquet files, or the generator."""

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.errors import UserError
from glue_pool.schema import DataConfig, TaskConfig

if TYPE_CHECKING:  # pyarrow and datasets are imported on use: a run whose tokens are cached needs neither
    import pyarrow as pa


def read(data: DataConfig, task: TaskConfig) -> dict[str, Rows]:
    """Read the train split and every dev split, and check each against the task.

    Raises UserError, which names the file and what is wrong with it.
    """
    if data.name == "synthetic":
        from glue_pool.data.synthetic import generate

        return generate(task, train_rows=data.train_rows, dev_rows=data.dev_rows, seed=data.seed)
    if data.name == "hub":
        return _read_hub(data, task)
    files = _local_files(data, task)
    return {split: _read_parquet(files[split], task) for split in files}


def content_id(data: DataConfig, task: TaskConfig) -> str:
    """Identify what `read` would return without reading the rows: part of a run's key.

    A local folder goes by its files' bytes (not by its path), the hub by the task's name and the revision asked for,
    generated rows by the task's name, their sizes and seed.
    """
    if data.name == "synthetic":
        made_by = task.synthetic or task.name
        return f"synthetic {made_by} train_rows={data.train_rows} dev_rows={data.dev_rows} seed={data.seed}"
    if data.name == "hub":
        return f"{task.source.path}/{task.source.config}@{task.source.revision}"
    digest = hashlib.sha256()
    for files in _local_files(data, task).values():
        digest.update(len(files).to_bytes(8, "little"))
        for file in files:
            try:
                status = file.stat()
                digest.update(_file_digest(file, status.st_mtime_ns, status.st_size))
            except OSError as error:
                raise UserError(f"{file} can't be read: {error.strerror}") from error
    return f"sha256:{digest.hexdigest()}"


def fingerprint(rows: Rows) -> str:
    """Return the SHA-256 of a split's texts, labels and idx, the same on every machine."""
    digest = hashlib.sha256()

    def add(array: np.ndarray) -> None:
        digest.update(f"{array.dtype.str} {array.size} ".encode())
        digest.update(np.ascontiguousarray(array).data)

    for column in rows.texts:  # with its lengths the joined text says where each row ends
        add(np.fromiter(map(len, column), "<i8", len(column)))
        digest.update("".join(column).encode("utf-8", "surrogatepass"))
    add(rows.labels.astype("<f8" if rows.labels.dtype.kind == "f" else "<i8"))
    add(rows.idx.astype("<i8"))
    return digest.hexdigest()


def _splits(task: TaskConfig) -> list[str]:
    return [task.train_split, *task.dev_splits]


def _read_hub(data: DataConfig, task: TaskConfig) -> dict[str, Rows]:
    import datasets

    reachable = Path(task.source.path).is_dir() or _hub_answers(task)
    if not reachable:
        datasets.config.HF_HUB_OFFLINE = True  # else it tries for half a minute before it looks into its cache
    source = f"{task.source.path} ({task.source.config})"
    try:
        loaded = datasets.load_dataset(task.source.path, task.source.config, revision=task.source.revision)
    except Exception as error:  # the hub's client raises some ten unrelated types
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise UserError(
            f"{source} can't be loaded from the Hugging Face Hub: "
            f"{said if reachable else 'it is out of reach, and the local cache has no such data set'}. "
            "Three ways out: data=local data.dir=PATH reads a folder of parquet files; "
            "data=synthetic (or experiment=offline) generates rows; HF_HOME=PATH names a Hugging "
            "Face cache that has the data set (HF_HUB_OFFLINE=1 then asks nobody)"
        ) from error
    read = {}
    for split in _splits(task):
        if split not in loaded:
            raise UserError(f"{source} has no split {split}: there are {_listed(loaded)}")
        table = loaded[split].with_format("arrow")[:]
        names = getattr(loaded[split].features.get("label"), "names", None)
        read[split] = _check(table, names, task, f"{source} {split}")
    return read


def _hub_answers(task: TaskConfig) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(task.source.path, revision=task.source.revision, timeout=10)
    except HfHubHTTPError:
        pass  # it answers; `datasets` then says what is wrong
    except Exception:  # its transport's own errors
        return False
    return True


def _local_files(data: DataConfig, task: TaskConfig) -> dict[str, list[Path]]:
    """Find each split's file, or its hub-style shards `<split>-00000-of-00002.parquet`."""
    if not data.dir:
        raise UserError("data.dir is not set: data=local data.dir=PATH reads PATH/<task>/<split>.parquet")
    root = Path(data.dir).expanduser()
    if not root.is_dir():
        raise UserError(f"data.dir={data.dir}: there is no such folder")
    folder = root / task.name
    if not folder.is_dir():
        there = _listed(entry.name for entry in root.iterdir() if entry.is_dir())
        raise UserError(f"data.dir={data.dir}: no folder {task.name} in it; there are {there}")
    files = {}
    for split in _splits(task):
        whole = folder / f"{split}.parquet"
        files[split] = [whole] if whole.is_file() else sorted(folder.glob(f"{split}-*.parquet"))
        if not files[split]:
            there = _listed(entry.name for entry in folder.iterdir())
            raise UserError(f"{whole} is missing; in that folder there are {there}")
        wanted = re.search(r"-of-0*(\d+)\.parquet$", files[split][0].name)
        if wanted and len(files[split]) != int(wanted[1]):
            raise UserError(f"{files[split][0]}: {len(files[split])} of {wanted[1]} shards are there")
    return files


@functools.cache
def _file_digest(file: Path, mtime_ns: int, size: int) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read_parquet(files: Sequence[Path], task: TaskConfig) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for file in files:
        try:
            table = pq.ParquetFile(file).read()
            table.validate(full=True)  # text that isn't UTF-8, offsets that point nowhere
        except (pa.ArrowException, OSError) as error:
            said = (str(error).splitlines() or [""])[0]
            raise UserError(f"{file} can't be read as parquet: {said}") from error
        tables.append(table)
    try:
        table = pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise UserError(f"{files[0]} and its other shards have different columns") from error
    return _check(table, _names_in_metadata(table.schema), task, str(files[0]))


def _names_in_metadata(schema: "pa.Schema") -> list[str] | None:
    """Label names as `datasets` writes them into a parquet file, where it wrote the file."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        return list(info["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _check(table: "pa.Table", names: list[str] | None, task: TaskConfig, where: str) -> Rows:
    for column in (*task.columns, "label"):
        if column not in table.column_names:
            there = ", ".join(table.column_names)
            raise UserError(f"{where}: no column {column}; the columns are {there}")
    if not len(table):
        raise UserError(f"{where}: the split is empty")
    if names is not None and names != task.labels:
        raise UserError(
            f"{where}: its labels are {', '.join(names)} (in this order), "
            f"task {task.name} has {', '.join(task.labels) or 'scores'}"
        )
    texts = tuple(_texts(table, column, where) for column in task.columns)
    labels = _class_ids(table, task, where) if task.labels else _scores(table, task, where)
    if "idx" in table.column_names:
        idx = _numbers(table, "idx", "integer", where).astype(np.int64)
    else:
        idx = np.arange(len(table), dtype=np.int64)
    return Rows(texts, labels, idx)


def _texts(table: "pa.Table", name: str, where: str) -> list[str]:
    column = _complete(table, name, where)
    if not _is_text(column.type):
        raise UserError(f"{where}: column {name} holds {column.type}, not text")
    texts: list[str] = column.to_pylist()
    return texts


def _class_ids(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    column = _complete(table, "label", where)
    known = ", ".join(f"{i} {name}" for i, name in enumerate(task.labels))
    if _is_text(column.type):
        by_name = {name: i for i, name in enumerate(task.labels)}
        values: list[Any] = column.to_pylist()
        labels = np.array([by_name.get(name, -1) for name in values], dtype=np.int64)
    else:
        labels = _numbers(table, "label", "integer", where).astype(np.int64)
        values = labels.tolist()
    outside = np.flatnonzero((labels < 0) | (labels >= len(task.labels)))
    if len(outside):
        row = outside[0]
        hidden = ": this split's labels are hidden" if values[row] == -1 else ""
        raise UserError(
            f"{where}: label {values[row]!r} in row {row} is none of task {task.name}'s labels ({known}){hidden}"
        )
    return labels


def _scores(table: "pa.Table", task: TaskConfig, where: str) -> np.ndarray:
    scores = _numbers(table, "label", "number", where)
    low, high = task.score_range or (-np.inf, np.inf)
    outside = np.flatnonzero(~(np.isfinite(scores) & (scores >= low) & (scores <= high)))
    if len(outside):
        row = outside[0]
        raise UserError(f"{where}: score {scores[row]:g} in row {row} lies outside {low:g} to {high:g}")
    return scores.astype(np.float32)


def _numbers(table: "pa.Table", name: str, wanted: str, where: str) -> np.ndarray:
    import pyarrow as pa

    column = _complete(table, name, where)
    is_number = pa.types.is_integer(column.type) or (wanted == "number" and pa.types.is_floating(column.type))
    if not is_number:
        raise UserError(f"{where}: column {name} holds {column.type}, not {wanted}s")
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])  # to_numpy imports pandas


def _complete(table: "pa.Table", name: str, where: str) -> "pa.ChunkedArray":
    column = table.column(name)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise UserError(f"{where}: column {name} has no value in row {row}")
    return column


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
