"""Configs and results that an earlier version wrote, as this one would have written them.

So runs of one method stay one row of the report, whichever version made them. What came later and is not there has the
value that changes nothing (`fields.key(neutral=…)`, a component's `added`).
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from glue_pool import components
from glue_pool.choices import CONF
from glue_pool.schema import Config

# keys of schema 1 (glue_pool 0.1) that moved, or are gone (None)
MOVED: dict[str, str | None] = {
    "optimizer.reinit_layers": "encoder.reinit_layers",
    "model.name": None,  # it named runs, which go by their pooler now
    "model.pooling": None,
}
RENAMED = {"cls_pooler": "bert", "max_seq_mha": "maxpool"}  # poolers


def config(content: dict[str, Any], schema: int) -> dict[str, Any]:
    """Return a run's config.yaml with today's keys, its components by class."""
    if schema == 1:
        content = {name: dict(value) if isinstance(value, dict) else value for name, value in content.items()}
        for old, new in MOVED.items():
            section, _, name = old.partition(".")
            value = content[section].pop(name, None)
            if new:
                of, _, name = new.partition(".")
                content[of][name] = value
        content["pooling"]["name"] = RENAMED.get(content["pooling"]["name"], content["pooling"]["name"])
    found = _completed(content, Config)
    return {**found, "task": {**_shown(found["task"]["name"]), **found["task"]}}


def _shown(task: str) -> dict[str, Any]:
    """Return what tables call a task that comes with glue_pool, and where it stands in them; nothing of another."""
    return {key: value for key, value in shipped(task).items() if key in ("title", "order")}


@cache
def shipped(task: str) -> Mapping[str, Any]:
    """Return the YAML of a task that comes with glue_pool, as it is today; of another, nothing."""
    files = {file.stem: file for file in (CONF / "task").glob("*.yaml")}
    return yaml.safe_load(files[task].read_text(encoding="utf-8")) if task in files else {}


def result(content: dict[str, Any], schema: int) -> dict[str, Any]:
    """Return a run's result.json with today's names."""
    if schema == 1 and "pooling" in content:
        pooling = RENAMED.get(content["pooling"], content["pooling"])
        return {**content, "pooling": pooling, "method": pooling, "recipe": "plain", "edit": "none"}
    return content


def _completed(content: Mapping[str, Any], section: Any) -> dict[str, Any]:
    found = dict(content)
    for item in dataclasses.fields(section):
        if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
            found[item.name] = _completed(found.get(item.name, {}), item.type)
        elif item.name not in found and "neutral" in item.metadata:
            found[item.name] = item.metadata["neutral"]
        value = found.get(item.name)
        if isinstance(value, Mapping) and "_target_" in value:
            found[item.name] = _component(value)
    return found


def _component(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component with what was not given in its YAML, its class as a run's key has it; no code of it is run."""
    target = str(section["_target_"])
    said = components.in_source(target) or components.Declared()
    return {**said.missing(section), **section, "_target_": components.class_name(target)}
