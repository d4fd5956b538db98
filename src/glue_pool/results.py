"""A run on disk: its key, its folder, and files that are written whole or not at all.

The folder follows from the config, so a single run, a sweep's job and a job on another host agree on it. It holds
config.yaml, manifest.json, history.jsonl, predictions.parquet and, last, result.json; until then, now and then, a
checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from glue_pool import components
from glue_pool.disk import check_room
from glue_pool.errors import NotWritten, UserError
from glue_pool.keys import SCHEMA, run_key
from glue_pool.result import Result
from glue_pool.shell import readable

if TYPE_CHECKING:
    from glue_pool.data.tokens import Split
    from glue_pool.schema import Config
    from glue_pool.training.loop import Outcome

RESULT_BYTES = 4_000_000  # room for predictions, history and W&B's file


def plain(cfg: Config) -> dict[str, Any]:
    """Return the resolved config as plain data."""
    return asdict(cfg)


def subset_name(cfg: Config) -> str:
    """Return the subset's name in folders: full, or the rows and the seed that drew them."""
    return "full" if cfg.subset.size is None else f"n{cfg.subset.size}-seed{cfg.subset.seed}"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path
    key: str

    @property
    def lock(self) -> Path:
        """What the process that works on the run holds (`glue_pool.locks`): in `output_root`, under `.locks`."""
        return self.path.parents[4] / ".locks" / f"{self.key[:16]}.lock"

    @property
    def result_file(self) -> Path:
        """Where the result is, once the run is over."""
        return self.path / "result.json"

    @property
    def model(self) -> Path:
        """Where the trained model is, if it was to be kept."""
        return self.path / "model"

    @property
    def checkpoint(self) -> Path:
        """Where the state of the training is kept until the run is over."""
        return self.path / "checkpoint.safetensors"

    def read(self) -> Result | None:
        """Return the result that is there, completed or failed; None if there is none of this key, or a damaged one."""
        try:
            result = json.loads(self.result_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        same = isinstance(result, dict) and result.get("run_key") == self.key
        return cast(Result, result) if same and result.get("schema") == SCHEMA else None

    def read_completed(self, *, with_model: bool) -> Result | None:
        """Return the result if it is a completed one (and its model was kept, if that is asked for)."""
        result = self.read()
        if result is None or result.get("status") != "completed" or (with_model and not self.model.is_dir()):
            return None
        return result

    def create(self, cfg: Config, manifest: Mapping[str, Any]) -> None:
        """Make the folder, empty it of an earlier attempt, and write what is known before training.

        The earlier attempt's checkpoint stays, to go on from, unless the run is to be made anew.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in ("result.json", "predictions.parquet", "history.jsonl"):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.model, ignore_errors=True)
            self._drop_unfinished_checkpoints()
            if cfg.force:
                self.checkpoint.unlink(missing_ok=True)
            write_config(self.path / "config.yaml", cfg)
            write_json(self.path / "manifest.json", manifest)
            (self.path / "history.jsonl").touch()
        except OSError as error:
            raise UserError(
                f"output_root={cfg.output_root}: {self.path} can't be written ({error.strerror}); "
                "choose another with output_root=… or GLUE_POOL_OUTPUTS"
            ) from None

    def record_failure(self, cfg: Config, result: Result) -> None:
        """Write the result of a run that failed, perhaps before its folder was made."""
        with writing(self.path / "config.yaml"):
            self.path.mkdir(parents=True, exist_ok=True)
            write_config(self.path / "config.yaml", cfg)
        self.write_result(result)

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint: the run is over, or is to start over."""
        with suppress(OSError):
            self.checkpoint.unlink(missing_ok=True)
            self._drop_unfinished_checkpoints()

    def _drop_unfinished_checkpoints(self) -> None:
        """Remove what a process that was killed while it wrote a checkpoint left."""
        for file in self.path.glob(f".{self.checkpoint.name}-*"):
            file.unlink(missing_ok=True)

    def append_history(self, record: Mapping[str, Any]) -> None:
        """Add one evaluation to history.jsonl; the line is on disk when this returns."""
        path = self.path / "history.jsonl"
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(without_nan(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_predictions(self, columns: Mapping[str, np.ndarray]) -> None:
        """Write predictions.parquet: a row an example, `logits` as a list."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = {
            name: pa.array(list(values)) if values.ndim == 2 else pa.array(values) for name, values in columns.items()
        }
        path = self.path / "predictions.parquet"
        with writing(path):
            write_atomically(path, lambda file: pq.write_table(pa.table(arrays), file, compression="zstd"))

    def write_result(self, result: Result) -> None:
        """Write result.json, which says that the run is over."""
        with writing(self.result_file):
            write_json(self.result_file, result)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write what a training gave; raises NotWritten, with nothing half-written, if the disk is full."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise NotWritten(f"{path} can't be written ({reason}); mend that and run the same command again") from error


def encoder_name(cfg: Config) -> str:
    """Return the encoder's short name for folders and tables: the last part of its Hub name or folder."""
    return os.path.basename(os.path.abspath(cfg.encoder.name)).lstrip(".") or "encoder"  # none is hidden from reports


def kind(cfg: Config) -> Literal["fine-tuned", "probe"]:
    """Return "fine-tuned", or "probe" where the encoder was frozen: their scores are never averaged together."""
    return "probe" if cfg.encoder.freeze else "fine-tuned"


def find(cfg: Config) -> RunFolder:
    """Return the folder of a run, whether it is there or not.

    Raises UserError if its data or its encoder are not where the config says.
    """
    from glue_pool.data import sources
    from glue_pool.models import identity

    key = run_key(
        cfg,
        data_id=sources.content_id(cfg.data, cfg.task),
        encoder_id=identity.identity(cfg),
        recipe_id=recipe_id(cfg),
    )
    return run_folder(cfg, key)


def recipe_id(cfg: Config) -> str | None:
    """Return what outside the config the recipe rests on; one that says nothing of that is not imported."""
    if not components.declared(str(cfg.recipe["_target_"]), "recipe").identifies:
        return None
    from glue_pool.training.recipe import build_recipe

    return build_recipe(cfg.recipe).identity()


def run_folder(cfg: Config, key: str) -> RunFolder:
    """Return the folder of a run: `<task>/<method>/<encoder>/<subset>/seed=<seed>-<key8>` under `output_root`."""
    place = (cfg.task.name, cfg.method, encoder_name(cfg), subset_name(cfg), f"seed={cfg.seed}-{key[:8]}")
    return RunFolder(Path(cfg.output_root, *place), key)


def check_output_root(cfg: Config, folder: RunFolder, checkpoint_bytes: int = 0, model_bytes: int = 0) -> None:
    """Refuse, before any long work, an output folder in which the run's can't be made or has too little room.

    checkpoint_bytes, model_bytes: what a checkpoint and a saved model will take there, beside the result; a checkpoint
    is written beside the one that it takes the place of.
    """
    checkpoints = 1 if os.path.exists(folder.checkpoint) else 2
    needed = RESULT_BYTES + checkpoints * checkpoint_bytes + model_bytes
    way_out = "choose another with output_root=… or GLUE_POOL_OUTPUTS"
    check_room(folder.path, needed, f"output_root={cfg.output_root}", way_out)


def write_config(path: Path, cfg: Config, without: Sequence[str] = ()) -> None:
    """Write the resolved config as YAML, atomically; without: keys and sections that are left out."""
    from omegaconf import OmegaConf

    content = as_text(plain(cfg))
    for name in without:
        section, _, key = name.rpartition(".")
        del (content[section] if section else content)[key]
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(content)))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; a NaN becomes null, since JSON has none."""
    write_text(path, json.dumps(without_nan(as_text(content)), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_atomically(path: Path, write: Callable[[Any], object]) -> None:
    """Let `write` fill a file beside `path`, bring it to disk and rename it into place: readers see all or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def as_text(value: Any) -> Any:
    """Return plain data that text files and W&B can hold: all its texts are UTF-8."""
    if isinstance(value, Mapping):
        return {name: as_text(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_text(item) for item in value]
    return readable(value) if isinstance(value, str) else value


def without_nan(value: Any) -> Any:
    """Return plain data as JSON can hold them: a NaN is null."""
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def describe(cfg: Config, key: str) -> Result:
    """Return what result.json says of a run before anything of it is loaded, whatever its end."""
    return {
        "schema": SCHEMA,
        "run_key": key,
        "status": None,
        "task": cfg.task.name,
        "pooling": cfg.pooling["name"],
        "edit": cfg.edit["name"],
        "recipe": cfg.recipe["name"],
        "method": cfg.method,
        "encoder": encoder_name(cfg),
        "kind": kind(cfg),
        "subset": {"size": cfg.subset.size, "seed": cfg.subset.seed},
        "seed": cfg.seed,
        "train_rows": None,
        "metrics": {},
        "best": None,
        "primary_metric": cfg.task.primary_metric,
        "score": None,
        "collapsed": None,
        "splits": {},
        "parameters": None,
        "timing": None,
        "peak_memory_bytes": None,
        "resumed_at_steps": [],
        "error": None,
        "traceback": None,
    }


def failed(about: Result, error: BaseException) -> Result:
    """Return the result of a run that failed: its error, never a number."""
    return {
        **about,
        "status": "failed",
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
    }


def completed(about: Result, outcome: Outcome, setup_seconds: float, total_seconds: float) -> Result:
    """Return the result of a run that trained to its end; its score is the last evaluation's, not the best one's."""
    return {
        **about,
        "status": "completed",
        "metrics": outcome.last.metrics,
        "best": {
            "epoch": outcome.best.epoch,
            "metrics": outcome.best.metrics,
            "score": outcome.best.score,
        },
        "score": outcome.last.score,
        "collapsed": outcome.last.collapsed,
        "timing": {
            "setup_seconds": setup_seconds,
            "train_seconds": outcome.cost.train_seconds,
            "eval_seconds": outcome.cost.eval_seconds,
            "total_seconds": total_seconds,
            "train_steps": outcome.steps,
            "evaluations": outcome.cost.evaluations,
            "train_examples_per_second": outcome.cost.examples / outcome.cost.train_seconds,
            "train_tokens_per_second": outcome.cost.tokens / outcome.cost.train_seconds,
        },
        "peak_memory_bytes": outcome.cost.peak_memory_bytes,
    }


def predictions(dev: Mapping[str, Split], outcome: Outcome) -> dict[str, np.ndarray]:
    """Return the columns of predictions.parquet: the last epoch's, and the best one's if that is another.

    Where the task says which rows belong together, group is the idx of the first row that a row belongs to.
    """
    chosen = {"last": outcome.last} | ({"best": outcome.best} if outcome.best.step != outcome.last.step else {})
    parts = [(which, name, split) for which in chosen for name, split in dev.items()]
    groups = [_first_of_group(split.groups, split.idx) for _, _, split in parts if split.groups is not None]
    return {
        "epoch": np.concatenate([np.repeat(which, len(split)) for which, _, split in parts]),
        "split": np.concatenate([np.repeat(name, len(split)) for _, name, split in parts]),
        "idx": np.concatenate([split.idx for _, _, split in parts]),
        **({"group": np.concatenate(groups)} if groups else {}),
        "label": np.concatenate([split.labels for _, _, split in parts]),
        "logits": np.concatenate([chosen[which].logits[name] for which, name, _ in parts]),
    }


def _first_of_group(groups: np.ndarray, idx: np.ndarray) -> np.ndarray:
    """Return the idx of the first row of each row's group, `(rows,)`."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(idx[first[which]])
