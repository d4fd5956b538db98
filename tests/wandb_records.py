"""What tests read of W&B's offline runs: one run's records, and what of them W&B would show."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made when imported

from glue_pool.on_wandb import writer
from glue_pool.on_wandb.wandb_file import ended, run


def find(folder: Path, run_key: str) -> list[Record]:
    """Return the records of the one W&B run of a run key below `folder`, once it has ended."""
    (path,) = folder.rglob(f"run-{run_key[:16]}.wandb")
    return ended(path, 10)


def written(folder: Path, run_key: str) -> list[Record]:
    """Write what is pending below `folder`, and return the records of the one W&B run of a run key."""
    writer.write_below(folder)
    return find(folder, run_key)


def config(records: Iterable[Record]) -> dict[str, Any]:
    """Return the config less wandb's own entry."""
    found = {item.key: json.loads(item.value_json) for item in run(records).config.update}
    found.pop("_wandb", None)
    return found


def history(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the logged rows in order, less wandb's own columns."""
    rows = [record.history.item for record in records if record.HasField("history")]
    return [_values(row) for row in rows]


def summary(records: Iterable[Record]) -> dict[str, Any]:
    """Return the last value of every summary entry, less wandb's own."""
    values: dict[str, Any] = {}
    for record in records:
        if record.HasField("summary"):
            values |= _values(record.summary.update)
    return values


def _values(items: Iterable[Any]) -> dict[str, Any]:
    named = (("/".join(item.nested_key) or item.key, item.value_json) for item in items)
    return {name: json.loads(value) for name, value in named if not name.startswith("_")}
