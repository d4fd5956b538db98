"""What says which run it is: a hash of everything that can change its numbers, and of nothing else.

A key of the config is hashed with its value, defaults included, so a default that changes never finds another number's
result. A config key that came later (`schema.key(neutral=…)`, a component's `added`) is left out while it has the value
that changes nothing, so that it changes no key of a run made before. What is hashed changes with `SCHEMA` only.
"""

import dataclasses
import hashlib
import json
from typing import Any

from glue_pool import components
from glue_pool.schema import Config

SCHEMA = 2


def run_key(cfg: Config, *, data_id: str, encoder_id: str, recipe_id: str | None = None) -> str:
    """Return the hash of everything that can change a run's numbers: the config, the data and the encoder.

    data_id: `data.sources.content_id`; encoder_id: `models.identity.identity`, in which the edit is; recipe_id: what
    outside the config the recipe rests on (`training.recipe.Recipe.identity`).
    """
    content = keyed(cfg)
    content.pop("edit", None)
    content["encoder"] = {"identity": encoder_id, "freeze": cfg.encoder.freeze}
    content["data"] = data_id
    if recipe_id is not None:
        content["recipe_id"] = recipe_id
    return hashlib.sha256(json.dumps({"schema": SCHEMA, **content}, sort_keys=True).encode()).hexdigest()


def keyed(section: Any) -> dict[str, Any]:
    """Return as plain data what can change a run's numbers in a section of the config, or in all of it."""
    content = {}
    for item in dataclasses.fields(section):
        value = _keyed(getattr(section, item.name), item.name)
        is_neutral = "neutral" in item.metadata and value == _keyed(item.metadata["neutral"], item.name)
        if item.metadata.get("in_key", True) and not is_neutral:
            content[item.name] = value
    return content


def unkeyed(section: Any = Config, prefix: str = "") -> list[str]:
    """Return the names of the config's keys that can't change a run's numbers, as `train.threads`."""
    names = []
    for item in dataclasses.fields(section):
        if isinstance(item.type, type) and dataclasses.is_dataclass(item.type):
            names += unkeyed(item.type, f"{prefix}{item.name}.")
        elif not item.metadata.get("in_key", True):
            names.append(prefix + item.name)
    return names


def _keyed(value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(value):
        return keyed(value)
    return components.keyed(value, name) if isinstance(value, dict) and "_target_" in value else value
