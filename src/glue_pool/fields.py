"""How a config key is declared: its default, the values it may take, and whether it is in a run's key."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from omegaconf import MISSING

NOT_GIVEN: Any = object()


def key(
    default: Any = MISSING,
    *,
    in_key: bool = True,
    neutral: Any = NOT_GIVEN,
    choices: Sequence[str] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A config key with its default and the values it may take; null is allowed where the type allows it.

    in_key: whether the value can change a run's numbers, and so is in the run's key. neutral: of a key that came after
    results were written without it, the value that changes nothing: it is in no run's key, and results without it have
    it. The default is another thing, and may change.
    """
    limits = {
        "choices": choices,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
    }
    metadata: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None} | {"in_key": in_key}
    if neutral is not NOT_GIVEN:
        metadata["neutral"] = neutral
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
