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


def dev_rows(saved: SavedModel, data: str | None, limit: int | None) -> Rows:
    """Return the rows of a saved model's first dev split, or so many drawn of them; UserError where there are none."""
    try:
        source = of_run.of(saved.folder, data)
        rows = source.read(source.task.dev_splits[0])
    except UserError as error:
        raise UserError(f"{error} (--limit 0 asks for no score)") from None
    if limit is None or limit >= len(rows):
        return rows
    return rows.select(np.sort(np.random.default_rng(0).permutation(len(rows))[:limit]))


def measure(saved: SavedModel, rows: Rows, files: Sequence[Path], threads: int) -> list[Score]:
    """Score a saved model as torch, as ONNX and in int8 on the same rows and the same number of threads.

    files: the ONNX file, and the one in int8.
    """
    tokens = encode(rows, saved.tokenizer, saved.max_length)
    classifier = saved.classifier
    check_ids(tokens, classifier.encoder.config, saved.tokenizer, "the dev split")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        of_torch = _score(
            saved,
            f"torch {saved.hardware.precision}",
            size(classifier),
            tokens,
            lambda rows, batch_size: predict(classifier, rows, saved.hardware, batch_size),
        )
    finally:
        torch.set_num_threads(before)
    found = [of_torch]
    for form, file in zip(("ONNX fp32", "ONNX int8"), files, strict=True):
        session = Session(file, classifier.encoder.padding_id, threads)
        parts = [part for part in file.parent.iterdir() if part.name in (file.name, f"{file.name}.data")]
        found.append(_score(saved, form, sum(part.stat().st_size for part in parts), tokens, session.logits))
    return found


def _score(saved: SavedModel, form: str, size: int, tokens: Tokens, logits: Logits) -> Score:
    singles = []
    for row in np.arange(min(len(tokens), ONE_BY_ONE + WARM)):
        one = tokens.select(np.array([row]))
        began = time.perf_counter()
        logits(one, 1)
        singles.append(time.perf_counter() - began)
    began = time.perf_counter()
    found = logits(tokens, BATCH)
    seconds = time.perf_counter() - began
    task = saved.task
    value = metrics.compute([task.primary_metric], tokens.labels, found, positive=task.positive_id)[task.primary_metric]
    median = float(np.median(singles[WARM:] or singles))
    return Score(saved.folder, method(saved), form, value, size, median, len(tokens) / seconds)


def method(saved: SavedModel) -> str:
    """Return what tables call a saved model's method, without the recipe: pooler and edit."""
    edit = saved.model.config.edit
    plain = str(edit.get("_target_", "")).endswith(".Edit")
    return saved.pooling if plain else f"{saved.pooling}+{edit['name']}"


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
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    said = []
    for line in table:
        left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        said.append("  ".join([*left, *right]))
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
