"""How a config key is declared, and what a name may be that folders go by."""

import errno
import re
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from glue_pool.errors import UserError

NOT_GIVEN: Any = object()
EXACT = 2**53  # whole numbers from here on are not exact everywhere: in JSON's readers, in W&B, as a float
MOST = 80  # bytes of a name: a method joins up to three, and a folder's has 255


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
    path: bool = False,
) -> Any:
    """A config key with its default and the values it may take; null is allowed where the type allows it.

    in_key: whether the value can change a run's numbers, and so is in the run's key. neutral: of a key that came after
    results were written without it, the value that changes nothing: it is in no run's key, and results without it have
    it. The default is another thing, and may change. path: whether it names a file or a folder, or may do so; `~` at
    its start is a home folder.
    """
    limits = {
        "choices": choices,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
    }
    metadata: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None} | {"in_key": in_key}
    if path:
        metadata["path"] = True
    if neutral is not NOT_GIVEN:
        metadata["neutral"] = neutral
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def check_name(key: str, name: str) -> None:
    """Raise UserError where folders and tables can't go by the name that a key gives."""
    if not re.fullmatch(r"\w[\w.-]*", name) or len(name.encode()) > MOST:
        said = f"it names folders, and takes up to {MOST} letters, digits, `_`, `-` and `.`"
        raise UserError(f"{key}={name[:40]}: {said}", key=key)


def check_path(key: str, name: str) -> None:
    """Raise UserError where no file can go by a name, whether there is one or not."""
    try:
        Path(name).stat()
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            return
        said = error.strerror if isinstance(error, OSError) else str(error)
        said = "this locale has no such letters; LC_ALL=C.UTF-8 has" if isinstance(error, UnicodeEncodeError) else said
        raise UserError(f"{key}={name[:40]}: can't be a path ({said})", key=key) from None


def literal(text: str) -> str:
    """Return text that OmegaConf reads as this very text: `${…}` in it is no reference."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def literals(value: Any) -> Any:
    """Return plain data with every text in it `literal`."""
    if isinstance(value, dict):
        return {name: literals(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [literals(inner) for inner in value]
    return literal(value) if isinstance(value, str) else value
