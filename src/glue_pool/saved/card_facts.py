"""What a model card is made of: a finished run's files, and its other seeds. No class that they name is imported."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from glue_pool import results
from glue_pool.disk import missing
from glue_pool.errors import UserError
from glue_pool.models.identity import PACKAGED
from glue_pool.report import earlier, scan
from glue_pool.report.scan import LeftOut, Run
from glue_pool.result import Result

HUB_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?", re.ASCII)
PACKAGED_FROM = {"minilm_l6": "sentence-transformers/all-MiniLM-L6-v2"}  # what the Hub calls packaged weights

FROM = {
    "hub": "the Hub",
    "files": "files of the author's own",
    "local": "local files",
    "synthetic": "a generator",
}


@dataclass(frozen=True)
class Facts:
    """A completed run with its model.

    config: with today's keys, whichever version wrote it; targets: the class of each of its components, as it is
    written. seeds: the completed runs of the same settings that lie beside it, one a seed, itself among them.
    """

    run: Run
    config: Mapping[str, Any]
    targets: Mapping[str, str]
    manifest: Mapping[str, Any]
    seeds: Sequence[Run]

    @property
    def result(self) -> Result:
        """What result.json holds."""
        return self.run.result

    @property
    def task(self) -> Mapping[str, Any]:
        """The task's config."""
        task: Mapping[str, Any] = self.config["task"]
        return task

    @property
    def title(self) -> str:
        """What tables call the task."""
        return str(self.task.get("title") or self.task["name"])

    @property
    def dev_split(self) -> str:
        """The split that the score is of."""
        return str(self.task["dev_splits"][0])

    @property
    def source(self) -> str:
        """Where the rows came from: `hub`, `files`, `local` or `synthetic`."""
        return str(self.manifest["data"]["source"])

    @property
    def origin(self) -> str:
        """Where the rows came from, in words."""
        return "the task's own source" if self.source == "hub" and not self.data_set else FROM[self.source]

    @cached_property
    def data_set(self) -> str | None:
        """The Hub's name of the data set that the rows are of; None where they are others, or that is not known.

        Files of one's own are taken for it if each split has as many rows as the data set's.
        """
        path = self.task.get("source", {}).get("path")
        if not path or not HUB_NAME.fullmatch(path):
            return None
        official = all(split["official"] for split in self.result["splits"].values())
        asked = str(self.manifest["data"].get("identity", "")).startswith(f"{path}/")
        return path if (self.source == "hub" and asked) or (self.source == "local" and official) else None

    @cached_property
    def encoder(self) -> str | None:
        """The Hub's name of the encoder; None for a folder of one's own."""
        section, made = self.config["encoder"], self.manifest["encoder"]
        name, weights = section["name"], made.get("weights", made["identity"])
        if name in PACKAGED_FROM and weights == PACKAGED[name][2]:
            return PACKAGED_FROM[name]
        asked = f"{name}@{section.get('revision') or 'main'}"
        return name if weights == asked and HUB_NAME.fullmatch(name) else None

    @property
    def encoder_licence(self) -> str | None:
        """The encoder's licence, if it is stated for this one."""
        return _licence(self.config["encoder"].get("license"), (self.encoder, self.config["encoder"]["name"]))

    @property
    def data_licence(self) -> str | None:
        """The rows' licence, if it is stated for these; generated rows have none."""
        return None if self.source == "synthetic" else _licence(self.task.get("license"), (self.data_set,))


def read(folder: Path, beside: Mapping[Path, Run | LeftOut]) -> Facts:
    """Read what a run left, and pick its other seeds.

    beside: what lies in the folder around it, itself among it. Raises UserError if it is no completed run with a model.
    """
    run = beside[folder]
    if isinstance(run, LeftOut):
        raise UserError(f"{run.path}: {run.reason}")
    if not run.completed:
        raise UserError(f"{folder}: the run failed, and left no model ({run.result['error']})")
    if not (folder / "model").is_dir():
        raise UserError(f"{folder}: no model in it; the same command with save_model=true keeps one")
    try:
        content = _plain(yaml.load((folder / "config.yaml").read_bytes(), Loader=_loader()))
        manifest = _plain(json.loads((folder / "manifest.json").read_bytes()))
        config = earlier.config(content, run.result["schema"])
        targets = {name: str(content[name]["_target_"]) for name in ("pooling", "edit", "recipe") if name in content}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{folder}: its config.yaml or manifest.json is damaged ({type(error).__name__})") from None
    return Facts(run, config, targets, manifest, _seeds(run, beside.values()))


def around(folder: Path) -> dict[Path, Run | LeftOut]:
    """Read the runs of one task, method, encoder and subset: those in the folder around a run's.

    Raises UserError if there is no run's folder at the path.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {missing(folder)}")
    if folder.name == "model" and (folder.parent / "result.json").is_file():
        raise UserError(f"{folder}: a saved model, and no run's folder; that is {folder.parent}")
    if not (folder / "result.json").is_file():
        raise UserError(f"{folder}: no run's folder, or its run is not over: no result.json in it")
    there = {file.parent for file in folder.parent.glob("seed=*/result.json")} | {folder}
    return {place: scan.read(place) for place in sorted(there)}


def _seeds(run: Run, others: Iterable[Run | LeftOut]) -> list[Run]:
    """Return the completed runs that differ from one in nothing but the seed, and that one itself, by seed."""
    found = {run.result["seed"]: run}
    for other in others:
        if isinstance(other, Run) and other.completed and _settings(other) == _settings(run):
            found.setdefault(other.result["seed"], other)
    return [found[seed] for seed in sorted(found)]


def _settings(run: Run) -> tuple[Any, ...]:
    return run.result["task"], run.result["method"], run.panel, run.subset, run.settings


def _licence(stated: Any, names: Sequence[str | None]) -> str | None:
    """Return a stated licence, unless it is that of something by another name: `mit of NAME`."""
    licence, of, name = str(stated or "").partition(" of ")
    return licence if licence and (not of or name in names) else None


def _plain(content: Any) -> Any:
    """Return plain data whose texts have a line each, and are UTF-8."""
    return results.as_text(scan.named(content))


@cache
def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
