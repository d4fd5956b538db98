"""The rows of a split: which layers and tokens their pooled vectors came from, as means with the spread over rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glue_pool.data.batches import over
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokens
from glue_pool.errors import UserError, nearest
from glue_pool.inspection.kinds import KINDS, Kinds
from glue_pool.inspection.sources import Traced, trace
from glue_pool.metrics import MULTI, REGRESSION
from glue_pool.saved import rows as of_run
from glue_pool.saved.folder import SavedModel, load
from glue_pool.shell import expanded

AT_ONCE = 32  # rows: slopes take as much memory again as the hidden states that the pooler reads
TENTHS = tuple(f"{10 * i} to {10 * i + 10} %" for i in range(10))


@dataclass(frozen=True)
class Spread:
    """Shares as means over rows and their standard deviation from row to row, `(heads + 2, groups)` each.

    Their first line is the mean over heads, the last one what would be if each layer and token gave the same.
    """

    rows: int
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def all_heads(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the mean over heads, `(groups,)`."""
        return self.mean[0], self.deviation[0]

    @property
    def alike(self) -> np.ndarray:
        """The shares if each layer and token gave the same, `(groups,)`."""
        alike: np.ndarray = self.mean[-1]
        return alike


@dataclass(frozen=True)
class Overview:
    """What the pooled vectors of a split's rows came from.

    groups: by `layer`, `position` (tenths of the row's tokens) and `token` (see KINDS) the names of what is told apart;
    position and token only where the pooler reads tokens. spread: by the same name, `all` the rows, `correct` and
    `wrong` ones if there are labels. rows: those inspected, of_rows: those of the split.
    """

    task: str
    pooler: str
    split: str
    rows: int
    of_rows: int
    truncated: int
    heads: int
    method: str
    groups: Mapping[str, tuple[str, ...]]
    spread: Mapping[str, Mapping[str, Spread]]


def over_split(
    folder: str | Path,
    split: str,
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    classes: Sequence[type] = (),
    device: str = "auto",
    precision: str = "auto",
    between: Callable[[], None] = lambda: None,
) -> Overview:
    """Inspect the model in a folder on the rows of a split of its task.

    data: a folder of <task>/<split>.parquet, if the rows are not where the run's config says. limit: so many rows,
    drawn at random, the same ones each time. classes, device, precision: as `glue_pool.load` takes them. between:
    called after each batch; it may raise. Raises UserError before the work for a folder or a split that is none.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: has to be at least 1")
    folder = Path(expanded(str(folder)))
    model = load(folder, classes, device=device, precision=precision)
    source = of_run.of(folder, None if data is None else expanded(str(data)))
    task = source.task
    there = [task.train_split, *task.dev_splits, *task.test_splits]
    if split not in there:
        raise UserError(f"--split {split}: {task.name} has {', '.join(there)}{nearest(split, there)}")
    rows = source.read(split)
    if (task.columns, task.labels) != (model.columns, model.labels):
        raise UserError(f"{folder}: its config has another task than the model ({task.name}, {model.task.name})")
    chosen = rows.some(limit)
    tokens = model.tokens(*chosen.texts)
    groups, tally = _Groups(model, tokens), _Tally()

    def each(batch: Any) -> None:
        for traced in trace(model.classifier, batch):
            tally.method = traced.method
            tally.add(_outcome(model, task.problem_type, traced, chosen), groups.of(traced))
        between()

    over(tokens, each, model.hardware, AT_ONCE)
    return Overview(
        task.name,
        model.pooling,
        split,
        len(chosen),
        len(rows),
        tokens.truncated,
        tally.heads,
        tally.method,
        groups.names,
        {name: tally.spread(groups.names, outcomes) for name, outcomes in OUTCOMES.items() if tally.rows(outcomes)},
    )


OUTCOMES = {"all": ("correct", "wrong", "unknown"), "correct": ("correct",), "wrong": ("wrong",)}


def _outcome(model: SavedModel, kind: str, traced: Traced, rows: Rows) -> str:
    """Say whether a row's prediction is correct, wrong, or unknown: of a score, or where the label is hidden."""
    label = rows.labels[traced.row]
    if kind == REGRESSION or np.min(label) < 0:
        return "unknown"
    predicted = traced.logits > 0 if kind == MULTI else traced.logits.argmax()
    return "correct" if np.array_equal(predicted, label) else "wrong"


class _Groups:
    """How a row's shares are summed up: by layer, by tenths of the row, by kind of token."""

    def __init__(self, model: SavedModel, tokens: Tokens) -> None:
        pooler = model.classifier.pooler
        self._tokens, self._kinds = tokens, Kinds(model.tokenizer)
        by_token = {} if pooler.reads == "cls" else {"position": TENTHS, "token": KINDS}
        self.names = {"layer": tuple(f"layer {layer}" for layer in pooler.layers), **by_token}

    def of(self, traced: Traced) -> np.ndarray:
        """Return the sums, `(heads + 2, groups of all kinds)`."""
        layers, count = traced.shares.shape[1:]
        alike = np.full((1, layers, count), 1 / layers / count)
        lines = np.concatenate([traced.shares.mean(0, keepdims=True), traced.shares, alike]).astype(float)
        parts = [lines.sum(2)]
        if len(self.names) > 1:
            of_tokens, length = lines.sum(1), int(self._tokens.lengths[traced.row])
            first = self._tokens.offsets[traced.row]
            kinds = self._kinds.of(self._tokens.input_ids[first : first + length], self._tokens.cls)
            for which, groups in ((10 * traced.positions // length, TENTHS), (kinds[traced.positions], KINDS)):
                parts.append(of_tokens @ (which[:, None] == np.arange(len(groups))))
        return np.concatenate(parts, axis=1)


class _Tally:
    """Sums over rows, by outcome: what a mean and a standard deviation take."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Any]] = {}
        self.method, self.heads = "", 0

    def add(self, outcome: str, shares: np.ndarray) -> None:
        count, total, squares = self._sums.get(outcome, [0, 0.0, 0.0])
        self._sums[outcome] = [count + 1, total + shares, squares + shares**2]
        self.heads = len(shares) - 2

    def rows(self, outcomes: Sequence[str]) -> int:
        return sum(self._sums[outcome][0] for outcome in outcomes if outcome in self._sums)

    def spread(self, names: Mapping[str, tuple[str, ...]], outcomes: Sequence[str]) -> dict[str, Spread]:
        parts = [self._sums[outcome] for outcome in outcomes if outcome in self._sums]
        count, total, squares = (sum(of) for of in zip(*parts, strict=True))
        mean = total / count
        variance = (squares - count * mean**2) / (count - 1) if count > 1 else np.full_like(mean, np.nan)
        deviation = np.sqrt(np.maximum(variance, 0))
        cuts = np.cumsum([len(of) for of in names.values()])[:-1]
        split = zip(names, np.split(mean, cuts, axis=1), np.split(deviation, cuts, axis=1), strict=True)
        return {name: Spread(count, *of) for name, *of in split}
