"""Metrics of predicted rows whose labels are known: over all of them, and by the categories in some columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glue_pool.errors import UserError, nearest
from glue_pool.metrics import METRICS, MULTI, REGRESSION, SINGLE, Metric
from glue_pool.predict.models import Models
from glue_pool.predict.reading import Row
from glue_pool.predict.table import Values
from glue_pool.shell import aligned
from glue_pool.tasks import TaskConfig, unfit_metric

SHOWN = 50  # categories of a column
ALL, ANY, NONE = "all", "(any)", "(none)"


@dataclass(frozen=True)
class Question:
    """What is asked of rows with labels.

    labels: their column. task: what its values are of, and the metrics. positive: the model's class that is asked for,
    against all others: the task has these two, not it and it; None where it is the model's own. by: columns of
    categories; separator: what stands between several of a row, None where each has one.
    """

    labels: str
    task: TaskConfig
    positive: int | None
    by: Sequence[str]
    separator: str | None


@dataclass(frozen=True)
class Score:
    """The metrics of some rows.

    column: the one that the category is of, empty where it is all rows. category: `(any)` are a column's rows that have
    one, `(none)` those that have none.
    """

    column: str
    category: str
    rows: int
    metrics: Mapping[str, float]


class Gold:
    """The labels and categories of rows that can be read: a few numbers a row."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._labels: list[np.ndarray] = []
        self._cells: list[np.ndarray] = []
        self._codes: list[dict[str, int]] = [{} for _ in question.by]

    def add(self, rows: Iterable[Row]) -> None:
        """Keep what some rows have."""
        there = [row for row in rows if row.texts is not None]
        if there:
            kind = np.float32 if self._question.task.problem_type == REGRESSION else np.int32
            self._labels.append(np.array([row.label for row in there], kind))
            coded = [[of.setdefault(row.categories[i], len(of)) for row in there] for i, of in enumerate(self._codes)]
            self._cells.append(np.array(coded, np.int64).reshape(len(coded), len(there)))

    def scores(self, values: Iterable[Values], outputs: int) -> list[Score]:
        """Return the metrics of all rows, and then by category, each column's largest first.

        values: those of every row, None or as many as the model's outputs.
        """
        if not self._labels:
            return []
        labels, cells = np.concatenate(self._labels), np.concatenate(self._cells, axis=1)
        numbers = np.fromiter((one for row in values if row is not None for one in row), float, len(labels) * outputs)
        predicted = numbers.reshape(len(labels), outputs)
        found = [self._score("", ALL, labels, predicted)]
        for column, codes, of_rows in zip(self._question.by, self._codes, cells, strict=True):
            groups = self._groups(codes, of_rows)
            found += [self._score(column, name, labels[rows], predicted[rows]) for name, rows in groups]
        return found

    def _groups(self, codes: Mapping[str, int], of_rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Return a column's categories and which rows have each; codes: of its cells, of_rows: `(rows,)`."""
        of_codes = np.split(np.argsort(of_rows, kind="stable"), np.cumsum(np.bincount(of_rows))[:-1])
        having: dict[str, list[np.ndarray]] = {}
        for cell, code in codes.items():
            for name in self._parts(cell):
                having.setdefault(name, []).append(of_codes[code])
        rows = {name: np.sort(np.concatenate(of)) for name, of in having.items()}
        groups = sorted(rows.items(), key=lambda one: (one[0] == NONE, -len(one[1]), one[0]))
        if NONE not in rows or len(groups) == 1:
            return groups
        return [(ANY, np.setdiff1d(np.arange(len(of_rows)), rows[NONE])), *groups]

    def _parts(self, cell: str) -> Sequence[str]:
        between = self._question.separator
        found = [cell.strip()] if between is None else [part.strip() for part in cell.split(between)]
        return list(dict.fromkeys(part for part in found if part)) or [NONE]

    def _score(self, column: str, category: str, labels: np.ndarray, predicted: np.ndarray) -> Score:
        task = self._question.task
        named = [METRICS[name] for name in task.metrics]
        values = {one.name: one.plain(labels, self._taken(one, predicted), task.positive_id) for one in named}
        return Score(column, category, len(labels), values)

    def _taken(self, metric: Metric, predicted: np.ndarray) -> np.ndarray:
        kind, positive = self._question.task.problem_type, self._question.positive
        if kind == REGRESSION:
            return predicted[:, 0]
        if metric.takes == "probabilities":
            return predicted if positive is None else np.stack([1 - predicted[:, positive], predicted[:, positive]], 1)
        if kind == MULTI:
            return (predicted > 0.5).astype(np.int8)
        classes = np.asarray(predicted.argmax(axis=1))
        return classes if positive is None else (classes == positive).astype(np.int32)


def question(
    models: Models,
    labels: str | None,
    by: Sequence[str],
    separator: str | None,
    metrics: str | Sequence[str] | None,
    positive: str | None,
) -> Question | None:
    """Return what is asked, None where no labels are named; raises UserError for what can't be scored.

    metrics: those wanted, the task's own by default. positive: the label that is asked for, against all others.
    """
    task, folder = models.task, models.members[0].folder
    if labels is None:
        given = {"by": by, "by-separator": separator, "metrics": metrics, "positive": positive}
        if odd := next((name for name, value in given.items() if value), None):
            said = given[odd] if isinstance(given[odd], str) else ",".join(map(str, given[odd] or ()))
            raise UserError(f"--{odd} {said}: is for metrics; --labels names the column of labels")
        return None
    if separator is not None and not (by and separator):
        raise UserError(f"--by-separator {separator!r}: is what stands between the categories of a --by column")
    if twice := next((name for name in by if by.count(name) > 1), None):
        raise UserError(f"--by {twice}: stands there twice")
    of = task if positive is None else against_rest(task, positive)
    if metrics is not None:
        metrics = [name.strip() for name in ([metrics] if isinstance(metrics, str) else metrics)]
        if not all(metrics) or not metrics:
            raise UserError("--metrics: has an empty name; it takes names with commas between them")
        if said := unfit_metric(metrics, of):
            raise UserError(f"--metrics: {said}")
        of = replace(of, metrics=list(dict.fromkeys(metrics)))
    if not of.metrics:
        said = "doesn't say which metrics its task has (an earlier version saved it)"
        raise UserError(f"{folder}: {said}; --metrics names some, or leave out --labels")
    return Question(labels, of, None if positive is None else task.labels.index(positive), by, separator)


def against_rest(task: TaskConfig, positive: str) -> TaskConfig:
    """Return a task of two labels, not_X and X, X one of a task's: the others, and what says not X, are not X."""
    if task.problem_type != SINGLE:
        raise UserError(f"--positive {positive}: is for a task with one label a row; {task.name} is none")
    if positive not in task.labels:
        there = ", ".join(task.labels)
        raise UserError(
            f"--positive {positive}: none of {task.name}'s labels ({there}){nearest(positive, task.labels)}"
        )
    rest = f"not_{positive}"
    said = {f"{word}{between}{positive}": rest for word in ("not", "non") for between in "_- "}
    said |= {name: positive if name == positive else rest for name in task.labels}
    said |= {value: said[name] for value, name in task.label_map.items()}
    return replace(task, labels=[rest, positive], label_map=said, positive=None)


def lines(scores: list[Score]) -> Iterator[str]:
    """Yield the lines of a table: a category, its rows and its metrics."""
    if not scores:
        return
    columns = list(dict.fromkeys(one.column for one in scores))
    named = len(columns) > 2
    table: list[list[str]] = [["", "rows", *scores[0].metrics]]
    for column in columns:
        of_column = [one for one in scores if one.column == column]
        categories = [one for one in of_column if one.category not in (ANY, NONE)]
        left_out = {id(one) for one in categories[SHOWN:]}
        for one in of_column:
            if id(one) not in left_out:
                name = f"{column}: {one.category}" if named and column else one.category
                table.append([name, f"{one.rows:,}", *(f"{value:.4f}" for value in one.metrics.values())])
        if left_out:
            table.append([f"and {len(left_out):,} smaller categories{f' of {column}' if named else ''}"])
    yield from aligned(table)
