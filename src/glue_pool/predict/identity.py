"""What predictions depend on: the contents of models and input, and options. Equal identities give equal rows."""

import hashlib
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from glue_pool.errors import UserError
from glue_pool.hardware import Hardware


def identity(
    models: Sequence[tuple[Path, Hardware]], rows: str | None, options: dict[str, Any], classes: Sequence[type]
) -> dict[str, Any]:
    """Return what predictions depend on, as plain data; folders and files may be moved.

    models: the folder of each, and what it computes on. rows: the input's hash.
    """
    return {
        "version": metadata.version("glue-pool"),
        "models": [_of_folder(folder) for folder, _ in models],
        "input": rows,
        **options,
        "device": models[0][1].device.type,
        "precision": [hardware.precision for _, hardware in models],
        "classes": [f"{cls.__module__}.{cls.__qualname__}" for cls in classes],
    }


def of_source(source: str) -> str | None:
    """Return the hash of an input: of all of its content. Standard input and pipes have none.

    Reading it once more is little beside predicting it, and neither a copy nor a change that leaves size and time is
    mistaken.
    """
    return _of_file(Path(source)) if is_file(source) else None


def is_file(source: str) -> bool:
    """Whether an input is there to be read again."""
    return source != "-" and os.path.isfile(source)


def count(source: str, format: str | None) -> int | None:
    """Return how many rows an input has, where it says so: in a parquet file."""
    if not is_file(source) or (format or Path(source).suffix.lower().lstrip(".")) != "parquet":
        return None
    import pyarrow.parquet as pq

    return int(pq.read_metadata(source).num_rows)


def _of_folder(folder: Path) -> str:
    """Return the hash of a model's configs, weights and tokenizer; a card beside them changes nothing."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.suffix != ".md":
            digest.update(f"{file.name} {_of_file(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _of_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror})") from None
