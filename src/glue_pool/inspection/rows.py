"""The rows of a run's splits, where its config says that they are; of that config the task and the data alone.

Nothing is imported because the config names it.
"""

import dataclasses
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glue_pool import tasks
from glue_pool.data import sources
from glue_pool.data.rows import Rows
from glue_pool.errors import UserError, nearest, reason
from glue_pool.fields import literals
from glue_pool.schema import DataConfig
from glue_pool.tasks import TaskConfig


def read(folder: Path, split: str, data: str | None = None) -> tuple[TaskConfig, Rows]:
    """Return the task that the model in a folder was trained on, and the rows of one of its splits.

    data: a folder of <task>/<split>.parquet, in place of what the run's config says. Raises UserError where there is no
    config, no such split, or no rows.
    """
    file = _file(folder)
    task, where = _sections(file)
    if data is not None:
        where = dataclasses.replace(where, name="local", dir=data)
    there = [task.train_split, *task.dev_splits, *task.test_splits]
    if split not in there:
        raise UserError(f"--split {split}: {task.name} has {', '.join(there)}{nearest(split, there)}")
    made_of_train = where.name == "synthetic" or (task.dev_share is not None and split in task.dev_splits)
    of = task if made_of_train else dataclasses.replace(task, train_split=split, dev_splits=[], dev_share=None)
    try:
        rows = sources.read(where, of)
    except UserError as error:
        if data is not None:
            raise UserError(f"--data {data}: {error}") from None
        raise UserError(f"{file}: {error}; --data FOLDER reads FOLDER/{task.name}/{split}.parquet") from None
    if split not in rows:
        raise UserError(f"--split {split}: {where.name} data have {', '.join(rows)} alone")
    return task, rows[split]


def _file(folder: Path) -> Path:
    """Return the run's config: in the model's folder, or in the run's."""
    for file in (folder / "run_config.yaml", folder.absolute().parent / "config.yaml"):
        if file.is_file():
            return file
    raise UserError(f"{folder}: neither run_config.yaml in it nor config.yaml above it, which say where the rows are")


def _sections(file: Path) -> tuple[TaskConfig, DataConfig]:
    try:
        content: Any = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        task, data = (
            _section(content["task"], TaskConfig),
            _section({"cache_dir": "none", **content["data"]}, DataConfig),
        )
        tasks.settle(task)
        tasks.check(task)
        return task, data
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file}: not a run's config ({type(error).__name__}: {reason(error)})") from None


def _section(content: Any, section: Any) -> Any:
    """Return a section, less the keys that an earlier version had."""
    known = {item.name for item in dataclasses.fields(section)}
    said = OmegaConf.create(literals({name: value for name, value in content.items() if name in known}))
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(section), said))
