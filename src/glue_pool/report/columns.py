"""A table's columns: what a task is called, where it stands, and how its scores read."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glue_pool.metrics import POINTS, Metric
from glue_pool.report.scan import Run

OF_POINTS = 2  # digits behind the point
SIGNIFICANT = 4  # digits of a score in a unit of its own
MOST_DIGITS = 16  # behind the point
LONG = 1e9  # from here on a power of ten stands behind


@dataclass(frozen=True, kw_only=True)
class Column:
    """A task, or the average over tasks: its scores are shown in its unit, with so many digits behind the point.

    Differences are improvements wherever they stand: positive is better, also where lower scores are.
    """

    name: str
    title: str
    unit: str = POINTS
    digits: int = OF_POINTS

    @property
    def in_points(self) -> bool:
        """Whether scores are fractions, shown times 100."""
        return self.unit == POINTS

    def text(self, value: float) -> str:
        """Return a score or a spread as it is shown."""
        return format(value, self._format(value))

    def signed(self, value: float) -> str:
        """Return a difference as it is shown."""
        return format(value, f"+{self._format(value)}")

    def _format(self, value: float) -> str:
        return f".{self.digits}f" if abs(value) < LONG else f".{SIGNIFICANT - 1}e"


@dataclass(frozen=True, kw_only=True)
class Task(Column):
    """A task's column."""

    metric: Metric
    config: Mapping[str, Any]  # the task's

    @property
    def averaged(self) -> bool:
        """Whether it counts in the average: not where its config says no, nor where its scores are no such points."""
        return bool(self.config.get("default_average", True)) and self.in_points and self.metric.higher_is_better

    @property
    def official_rows(self) -> Mapping[str, int]:
        """The rows of the splits that the data set has, by name: a run's may be others. None of one's own task."""
        return self.config.get("official_rows") or {}


def tasks(runs: Sequence[Run]) -> dict[str, Task]:
    """Return the tasks of some runs, in the order that the tasks' configs say, then by name."""
    of_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        of_task[run.result["task"]].append(run)
    return {task.name: task for task in sorted((_task(name, of) for name, of in of_task.items()), key=_place)}


def units(shown: Iterable[Column]) -> str:
    """Return what the scores of some columns are in, in a caption's words."""
    in_points = {column.in_points for column in shown}
    if in_points == {False}:
        return "in the unit at a column's head"
    return "in points" if in_points <= {True} else "in points, or in the unit at a column's head"


def _task(name: str, runs: Sequence[Run]) -> Task:
    """Make a task's column of runs with one metric; the last of them says what it is called."""
    last = ([run for run in runs if run.completed] or runs)[-1]
    config, metric = last.task, last.metric
    title = str(config.get("title") or name)
    digits = _digits(metric, runs)
    return Task(name=name, title=title, unit=metric.unit, digits=digits, metric=metric, config=config)


def _digits(metric: Metric, runs: Sequence[Run]) -> int:
    """Return how many digits behind the point give the median score the significant ones."""
    if metric.unit == POINTS:
        return OF_POINTS
    sizes = [abs(run.shown) for run in runs if math.isfinite(run.shown)]
    size = float(np.median(sizes)) if sizes else 0.0
    return min(MOST_DIGITS, max(0, SIGNIFICANT - 1 - math.floor(math.log10(size)))) if size else OF_POINTS


def _place(task: Task) -> tuple[bool, int, str]:
    order = task.config.get("order")
    return not isinstance(order, int), order if isinstance(order, int) else 0, task.name
