"""What says which run it is: a hash of everything that can change its numbers, and of nothing else.

A key of the config is hashed with its value, defaults included, so a default that changes never finds another number's
result. A config key that came later (`fields.key(neutral=…)`, a component's `added`) is left out while it has the value
that changes nothing, so that it changes no key of a run made before. What is hashed changes with `SCHEMA` only.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection
from typing import Any

from glue_pool import components
from glue_pool.schema import Config

SCHEMA = 2


def run_key(cfg: Config, *, data_id: str, encoder_id: str, recipe_id: str | None = None) -> str:
    """Return the hash of everything that can change a run's numbers: the config, the data, the encoder, the recipe.

    data_id: `data.sources.content_id`; encoder_id: `models.identity.identity`, in which the edit is; recipe_id: what
    outside the config the recipe rests on (`training.recipe.Recipe.identity`).
    """
    identities = {"data": data_id, "encoder": encoder_id} | ({} if recipe_id is None else {"recipe": recipe_id})
    others = keyed(cfg, leave_out=("encoder", "edit"))
    content = {"schema": SCHEMA, "config": {**others, "freeze": cfg.encoder.freeze}, "identities": identities}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def keyed(section: Any, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Return as plain data what can change a run's numbers in a section of the config, or in all of it.

    A part in which nothing can is not there, so that one which is added later changes nothing.
    """
    content = {}
    for item in dataclasses.fields(section):
        if item.name not in leave_out and item.metadata.get("in_key", True):
            value = _keyed(getattr(section, item.name), item.name)
            is_neutral = "neutral" in item.metadata and value == _keyed(item.metadata["neutral"], item.name)
            if not is_neutral and not (dataclasses.is_dataclass(getattr(section, item.name)) and not value):
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
