"""What became of a saved model's score, size and speed as ONNX and in int8, and of the difference between methods."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from glue_pool import metrics
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokens, encode
from glue_pool.errors import UserError
from glue_pool.export.session import Session
from glue_pool.metrics import METRICS
from glue_pool.models.classifier import predict
from glue_pool.models.inputs import check_ids
from glue_pool.saved import rows as of_run
from glue_pool.saved.folder import SavedModel, size
from glue_pool.shell import aligned
from glue_pool.tasks import TaskConfig

BATCH = 32
ONE_BY_ONE = 100  # rows of which a single one's time is the median
WARM = 5  # rows before that
Logits = Callable[[Tokens, int], np.ndarray]


@dataclass(frozen=True)
class Score:
    """What one form of a saved model does on a dev split.

    form: torch with the run's precision, ONNX or int8. value: the task's primary metric. seconds: the median of single
    rows; rows_per_second: in batches of BATCH, rows of similar length together. size: bytes.
    """

    folder: Path
    method: str
    form: str
    value: float
    size: int
    seconds: float
    rows_per_second: float


@dataclass(frozen=True)
class Dev:
    """What a saved model is scored on: rows of its task's first dev split; method: what its run is called."""

    task: TaskConfig
    method: str
    rows: Rows


def dev(folder: Path, data: str | None, limit: int | None) -> Dev:
    """Return what a saved model is scored on, all rows or so many drawn of them; UserError where there are none."""
    try:
        source = of_run.of(folder, data)
        return Dev(source.task, source.method, source.read(source.task.dev_splits[0]).some(limit))
    except UserError as error:
        raise UserError(f"{error} (--limit 0 asks for no score)") from None


def measure(saved: SavedModel, dev: Dev, files: Sequence[Path], threads: int) -> list[Score]:
    """Score a saved model as torch, as ONNX and in int8 on the same rows and the same number of threads.

    files: the ONNX file, and the one in int8.
    """
    tokens = encode(dev.rows, saved.tokenizer, saved.max_length)
    classifier, hardware = saved.classifier, saved.hardware
    check_ids(tokens, classifier.encoder.config, saved.tokenizer, "the dev split")

    def of_torch(rows: Tokens, batch_size: int) -> np.ndarray:
        return predict(classifier, rows, hardware, batch_size)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = [_score(saved.folder, dev, f"torch {hardware.precision}", size(classifier), tokens, of_torch)]
    finally:
        torch.set_num_threads(before)
    for form, file in zip(("ONNX fp32", "ONNX int8"), files, strict=True):
        session = Session(file, classifier.encoder.padding_id, threads)
        parts = [part for part in file.parent.iterdir() if part.name in (file.name, f"{file.name}.data")]
        stored = sum(part.stat().st_size for part in parts)
        found.append(_score(saved.folder, dev, form, stored, tokens, session.logits))
    return found


def _score(folder: Path, dev: Dev, form: str, size: int, tokens: Tokens, logits: Logits) -> Score:
    singles = []
    for row in np.arange(min(len(tokens), ONE_BY_ONE + WARM)):
        one = tokens.select(np.array([row]))
        began = time.perf_counter()
        logits(one, 1)
        singles.append(time.perf_counter() - began)
    began = time.perf_counter()
    found = logits(tokens, BATCH)
    seconds = time.perf_counter() - began
    name = dev.task.primary_metric
    value = metrics.compute([name], tokens.labels, found, positive=dev.task.positive_id)[name]
    median = float(np.median(singles[WARM:] or singles))
    return Score(folder, dev.method, form, value, size, median, len(tokens) / seconds)


def lines(scores: Sequence[Score], metric: str, rows: int, threads: int) -> list[str]:
    """Return a table of scores, and how far apart the methods are in each form."""
    scale = METRICS[metric].scale
    header = ("model", "form", METRICS[metric].title, "MB", "ms a row", "rows/s")
    table = [header]
    last: Path | None = None
    for of in scores:
        name = f"{of.method}, {_short(of.folder)}" if of.folder != last else ""
        last = of.folder
        value, rate = f"{of.value * scale:.2f}", f"{of.rows_per_second:,.0f}"
        table.append((name, of.form, value, f"{of.size / 1e6:.1f}", f"{of.seconds * 1e3:.1f}", rate))
    said = aligned(table, left=(0, 1))
    said.append(f"{rows:,} dev rows; ms a row: the median of single rows; rows/s: {BATCH} at once; threads: {threads}")
    return said + _apart(scores, scale)


def _apart(scores: Sequence[Score], scale: float) -> list[str]:
    """Say how far every method is from the first one in each form, as means over its models."""
    values: dict[str, dict[str, list[float]]] = {}
    for of in scores:
        values.setdefault(of.method, {}).setdefault(of.form, []).append(of.value)
    first, *others = values
    said = []
    for other in others:
        forms = [form for form in values[first] if form in values[other]]
        by = (f"{(np.mean(values[other][f]) - np.mean(values[first][f])) * scale:+.2f} {f}" for f in forms)
        counts = [len(next(iter(values[name].values()))) for name in (other, first)]
        said.append(f"{other} less {first}: {', '.join(by)} (means of {counts[0]} and {counts[1]} models)")
    return said


def _short(folder: Path) -> str:
    """Return what tells a model from others: the run's folder, less its key."""
    return folder.absolute().parent.name if folder.name == "model" else folder.name
