"""Where rows come from: the task's own source (the Hub, or files), a local folder, or the generator."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from glue_pool.data import columns, files, hub
from glue_pool.data.rows import Rows
from glue_pool.data.subset import hold_out
from glue_pool.disk import missing
from glue_pool.errors import UserError, nearest
from glue_pool.schema import DataConfig
from glue_pool.tasks import TaskConfig


def read(data: DataConfig, task: TaskConfig, *, labelled: bool = True) -> dict[str, Rows]:
    """Read the train split and every dev split, and check each against the task.

    labelled: whether their labels are read; else all are -1, whatever there is. Raises UserError, which names the file
    and what is wrong with it.
    """
    if data.name == "synthetic":
        from glue_pool.data.synthetic import generate

        generated = generate(task, train_rows=data.train_rows, dev_rows=data.dev_rows, seed=data.seed)
        if task.group not in task.columns:  # generated rows have no others
            return generated
        of = task.columns.index(task.group)
        return {
            name: replace(rows, groups=columns.grouped(rows.texts[of])) if name in task.dev_splits else rows
            for name, rows in generated.items()
        }
    tables, where = _tables(data, task)
    found = columns.to_rows(tables, task, where, labelled=labelled)
    if task.dev_share is not None:
        train, dev = hold_out(found[task.train_split], task)
        return {task.train_split: train, task.dev_splits[0]: dev}
    return found


def content_id(data: DataConfig, task: TaskConfig) -> str:
    """Identify what `read` would return without reading the rows: part of a run's key.

    Files and folders go by their bytes (not by their paths), a Hub data set by its name and the revision asked for,
    generated rows by their generator, their sizes and seed.
    """
    if data.name == "synthetic":
        generator = task.synthetic or f"for any task, {task.name}:"
        return f"synthetic {generator} train_rows={data.train_rows} dev_rows={data.dev_rows} seed={data.seed}"
    if data.name == "hub" and task.source.path is not None:
        return hub.identity(task.source)
    unquoted = "" if task.source.quotes else " quotes=false"
    return f"sha256:{files.digest(_files(data, task))}{unquoted}"


def _splits(task: TaskConfig) -> list[str]:
    """Return the splits that are read; a share of the train split is none of them."""
    return [task.train_split, *(task.dev_splits if task.dev_share is None else ())]


def _files(data: DataConfig, task: TaskConfig) -> dict[str, list[Path]]:
    """Return every split's files."""
    if data.name == "hub":
        return _own_files(task.source.files, task)
    if not data.dir:
        raise UserError("data.dir is not set: data=local data.dir=PATH reads PATH/<task>/<split>.parquet")
    root = Path(data.dir)
    if not os.path.isdir(root):
        raise UserError(f"data.dir={data.dir}: {missing(root)}")
    folder = root / task.name
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"data.dir={data.dir}: {missing(folder)}")
    if not folder.is_dir():
        there = ", ".join(sorted(entry.name for entry in root.iterdir() if entry.is_dir())) or "none"
        raise UserError(f"data.dir={data.dir}: no folder {task.name} in it; there are {there}")
    return {split: files.in_folder(folder, split) for split in _splits(task)}


def _own_files(of: Mapping[str, object], task: TaskConfig) -> dict[str, list[Path]]:
    if not of:
        raise UserError(
            f"task.source: task {task.name} says nothing of where its rows are; source.files={{train: FILE, …}} or "
            "source.path=HUB_DATA_SET in its YAML, or data=local data.dir=FOLDER",
            key="task.source",
        )
    found = {}
    for split in _splits(task):
        if split not in of:
            near = nearest(split, list(of))
            raise UserError(
                f"task.source.files: no split {split}{near} (there are {', '.join(of)})", key="task.source.files"
            )
        entry = of[split]
        if not (isinstance(entry, str) or (isinstance(entry, list) and entry)):
            said = f"task.source.files.{split}: a file, a glob or a list of those, not {entry!r}"
            raise UserError(said, key="task.source.files")
        found[split] = files.expand(entry, f"task.source.files.{split}")
    return found


def _tables(data: DataConfig, task: TaskConfig) -> tuple[dict[str, columns.Named], dict[str, str]]:
    """Return every split's table, and what messages call it."""
    if data.name == "hub" and task.source.path is not None:
        splits = _splits(task)
        return hub.read(task.source, splits, task.label), {name: f"{hub.name(task.source)} {name}" for name in splits}
    tables: dict[str, columns.Named] = {}
    paths = _files(data, task)
    for split, of_split in paths.items():
        table = files.read_tables(of_split, quotes=task.source.quotes)
        tables[split] = table, columns.names_in_metadata(table.schema, task.label)
    return tables, {split: str(of_split[0]) for split, of_split in paths.items()}
