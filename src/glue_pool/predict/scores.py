"""The task's metrics on predicted rows whose labels are known, over all of them and by category."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from glue_pool.errors import UserError
from glue_pool.metrics import METRICS, MULTI, REGRESSION, Metric
from glue_pool.predict.models import Models
from glue_pool.predict.reading import Row
from glue_pool.predict.table import Values
from glue_pool.tasks import TaskConfig

SHOWN = 50  # categories
ALL = "all"


@dataclass(frozen=True)
class Score:
    """The metrics of some rows."""

    category: str
    rows: int
    metrics: Mapping[str, float]


class Gold:
    """The labels and categories of rows that can be read: a few numbers a row."""

    def __init__(self, task: TaskConfig) -> None:
        self._task = task
        self._labels: list[np.ndarray] = []
        self._categories: list[np.ndarray] = []
        self._codes: dict[str, int] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Keep what some rows have."""
        there = [row for row in rows if row.texts is not None]
        if there:
            kind = np.float32 if self._task.problem_type == REGRESSION else np.int32
            self._labels.append(np.array([row.label for row in there], kind))
            named = [row.category or "(none)" for row in there]
            self._categories.append(np.array([self._codes.setdefault(name, len(self._codes)) for name in named]))

    def scores(self, values: Iterable[Values], *, by: bool) -> list[Score]:
        """Return the metrics of all rows, and then by category, the largest first; values are those of every row."""
        if not self._labels:
            return []
        labels, codes = np.concatenate(self._labels), np.concatenate(self._categories)
        width = len(self._task.labels) or 1
        numbers = np.fromiter((one for row in values if row is not None for one in row), float, len(labels) * width)
        predicted = numbers.reshape(len(labels), width)
        found = [self._score(ALL, labels, predicted)]
        if by:
            names = list(self._codes)
            order = np.argsort(codes, kind="stable")
            parts = np.split(order, np.cumsum(np.bincount(codes))[:-1])
            of_categories = sorted(zip(names, parts, strict=True), key=lambda one: (-len(one[1]), one[0]))
            found += [self._score(name, labels[part], predicted[part]) for name, part in of_categories]
        return found

    def _score(self, category: str, labels: np.ndarray, predicted: np.ndarray) -> Score:
        named = [METRICS[name] for name in self._task.metrics]
        positive = self._task.positive_id
        values = {one.name: one.plain(labels, self._taken(one, predicted), positive) for one in named}
        return Score(category, len(labels), values)

    def _taken(self, metric: Metric, predicted: np.ndarray) -> np.ndarray:
        if self._task.problem_type == REGRESSION:
            return predicted[:, 0]
        if metric.takes == "probabilities":
            return predicted
        is_multi = self._task.problem_type == MULTI
        return (predicted > 0.5).astype(np.int8) if is_multi else np.asarray(predicted.argmax(axis=1))


def check(models: Models, labels: str | None, by: str | None) -> None:
    """Refuse what can't be scored."""
    if by is not None and labels is None:
        raise UserError(f"--by {by}: is for metrics; --labels names the column of labels")
    if labels is not None and not models.task.metrics:
        said = "doesn't say which metrics its task has (an earlier version saved it)"
        raise UserError(f"{models.members[0].folder}: {said}; leave out --labels")


def lines(scores: list[Score]) -> Iterator[str]:
    """Yield the lines of a table: a category, its rows and its metrics."""
    if not scores:
        return
    shown = scores[: SHOWN + 1]
    table: list[list[Any]] = [["", "rows", *scores[0].metrics]]
    table += [[one.category, f"{one.rows:,}", *(f"{value:.4f}" for value in one.metrics.values())] for one in shown]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for name, *numbers in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:], strict=True)]
        yield "  ".join([f"{name:{widths[0]}}", *cells])
    if rest := scores[len(shown) :]:
        yield f"and {len(rest):,} smaller categories"
