"""The rows of the run that a model is of, where the run's config says: of that the task and the data alone are read.

Nothing is imported because the config names it.
"""

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glue_pool import schema, tasks
from glue_pool.data import sources
from glue_pool.data.rows import Rows
from glue_pool.errors import UserError, reason
from glue_pool.fields import literals
from glue_pool.schema import DataConfig
from glue_pool.tasks import TaskConfig

NONE = {"_target_": schema.NO_EDIT}  # an earlier version had neither edits nor recipes


@dataclass(frozen=True)
class Source:
    """The task and the method that a model was trained on and by, and where the task's rows are.

    file: the config that says so. given: a folder of <task>/<split>.parquet that was named in place of what it says.
    """

    file: Path
    task: TaskConfig
    method: str
    data: DataConfig
    given: str | None

    def read(self, split: str, *, labelled: bool = True) -> Rows:
        """Return the rows of a split of the task, one that its config names or another.

        labelled: whether their labels are read; else they are -1, whatever the data say. Raises UserError where there
        are no rows.
        """
        task, name = self.task, self.data.name
        made_of_train = name == "synthetic" or (task.dev_share is not None and split in task.dev_splits)
        of = task if made_of_train else replace(task, train_split=split, dev_splits=[], dev_share=None)
        try:
            rows = sources.read(self.data, of, labelled=labelled)
        except UserError as error:
            if self.given is not None:
                raise UserError(f"--data {self.given}: {error}") from None
            raise UserError(f"{self.file}: {error}; --data FOLDER reads FOLDER/{task.name}/{split}.parquet") from None
        if split not in rows:
            raise UserError(f"{self.file}: no split {split}: {name} data have {', '.join(rows)} alone")
        return rows[split]

    def beside(self, name: str) -> Self:
        """Return where the rows of another task are that has the same columns and stands in the same place.

        On the Hub it is the configuration of that name; files that the task lists are its own alone.
        """
        config = None if self.task.source.path is None else name
        source = replace(self.task.source, config=config, files={})
        return replace(self, task=replace(self.task, name=name, source=source, dev_share=None))


def of(folder: Path, data: str | None = None) -> Source:
    """Return where the rows are of the run whose model is in a folder.

    data: a folder of <task>/<split>.parquet, in place of what the run's config says. Raises UserError where there is no
    config.
    """
    file = _file(folder)
    task, method, where = _sections(file)
    return Source(file, task, method, where if data is None else replace(where, name="local", dir=data), data)


def _file(folder: Path) -> Path:
    """Return the run's config: in the model's folder, or in the run's."""
    for file in (folder / "run_config.yaml", folder.absolute().parent / "config.yaml"):
        if file.is_file():
            return file
    raise UserError(f"{folder}: neither run_config.yaml in it nor config.yaml above it, which say where the rows are")


def _sections(file: Path) -> tuple[TaskConfig, str, DataConfig]:
    try:
        content: Any = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        task, data = (
            _section(content["task"], TaskConfig),
            _section({"cache_dir": "none", **content["data"]}, DataConfig),
        )
        tasks.settle(task)
        tasks.check(task)
        method = schema.method(content["pooling"], content.get("edit", NONE), content.get("recipe", NONE))
        return task, method, data
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file}: not a run's config ({type(error).__name__}: {reason(error)})") from None


def _section(content: Any, section: Any) -> Any:
    """Return a section, less the keys that an earlier version had."""
    known = {item.name for item in dataclasses.fields(section)}
    said = OmegaConf.create(literals({name: value for name, value in content.items() if name in known}))
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(section), said))
