"""Rows of the Hugging Face Hub, or of a folder laid out like a data set there."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.data import files
from glue_pool.errors import UserError
from glue_pool.tasks import SourceConfig

if TYPE_CHECKING:
    from glue_pool.data.columns import Named


def read(source: SourceConfig, splits: list[str], label: str | None) -> "dict[str, Named]":
    """Return the splits' tables, and the names that the data set has for its class ids.

    Raises UserError where the data set can't be had, with the ways out.
    """
    import datasets

    assert source.path is not None
    reachable = is_folder(source) or _answers(source)
    if not reachable:
        datasets.config.HF_HUB_OFFLINE = True  # else it tries for half a minute before it looks into its cache
    try:
        loaded = datasets.load_dataset(
            str(_folder(source)) if is_folder(source) else source.path,
            source.config,
            revision=source.revision,
            data_files=dict(source.files) or None,
        )
    except Exception as error:  # the hub's client raises some ten unrelated types
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise UserError(
            f"{name(source)} can't be loaded from the Hugging Face Hub: "
            f"{said if reachable else 'it is out of reach, and the local cache has no such data set'}. "
            "Three ways out: data=local data.dir=PATH reads a folder of parquet files; "
            "data=synthetic (or experiment=offline) generates rows; HF_HOME=PATH names a Hugging "
            "Face cache that has the data set (HF_HUB_OFFLINE=1 then asks nobody)"
        ) from error
    found: dict[str, Named] = {}
    for split in splits:
        if split not in loaded:
            raise UserError(f"{name(source)} has no split {split}: there are {', '.join(sorted(loaded))}")
        feature = loaded[split].features.get(label) if label else None
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        found[split] = loaded[split].with_format("arrow")[:], names
    return found


def identity(source: SourceConfig) -> str:
    """Identify a data set: one of the Hub by its name and the revision asked for, a folder by the bytes in it."""
    if not is_folder(source):
        asked = f"{source.path}/{source.config}@{source.revision}"
        return f"{asked} {sorted(source.files.items())}" if source.files else asked
    root = _folder(source)
    there = sorted(file for file in root.rglob("*") if file.is_file() and not _hidden(file.relative_to(root)))
    digest = hashlib.sha256(files.digest({"": there}).encode())
    digest.update("\0".join(file.relative_to(root).as_posix() for file in there).encode("utf-8", "surrogateescape"))
    digest.update(f"{source.config} {sorted(source.files.items())}".encode())
    return f"sha256:{digest.hexdigest()}"


def is_folder(source: SourceConfig) -> bool:
    """Whether the data set is a folder here, and none of the Hub."""
    return _folder(source).is_dir()


def _folder(source: SourceConfig) -> Path:
    return Path(str(source.path))


def name(source: SourceConfig) -> str:
    """Return what messages call the data set."""
    return f"{source.path} ({source.config})" if source.config else str(source.path)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _answers(source: SourceConfig) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(str(source.path), revision=source.revision, timeout=10)
    except HfHubHTTPError:
        pass  # it answers; `datasets` then says what is wrong
    except Exception:  # its transport's own errors
        return False
    return True
