"""A report's tables: a panel an encoder, a column a task, a row a method, a cell its runs over seeds."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np

from glue_pool import stats
from glue_pool.report.scan import Run
from glue_pool.result import MethodPart
from glue_pool.stats import Summary

PARTS: tuple[MethodPart, ...] = get_args(MethodPart)
MADE_OF = ("model.", *(f"{part}." for part in PARTS))  # what a method is made of: no reason not to compare it
Subset = tuple[int | None, int | tuple[int, ...]]  # rows, and the seed that drew them; of pooled draws, their seeds


@dataclass(frozen=True)
class Row:
    """A method, with the settings that tell its rows apart."""

    method: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def pooler(self) -> str:
        """The method without its edit and its recipe."""
        return self.method.partition("+")[0]

    @cached_property
    def label(self) -> str:
        """The name in tables: `max_cls k=2, optimizer.lr=1e-05`, `mean+mixout recipe.p=0.5`."""
        return f"{self.method} {self.told_by}".strip()

    @property
    def told_by(self) -> str:
        """The settings in the name: `k=2, optimizer.lr=1e-05`."""
        return ", ".join(f"{key.removeprefix('pooling.')}={plain(value)}" for key, value in self.settings)


@dataclass
class Cell:
    """The runs of one row on one task and subset, by seed."""

    runs: list[Run] = field(default_factory=list)  # completed, one a seed
    failed: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the completed runs, rising."""
        return [run.result["seed"] for run in self.runs]

    @property
    def without_score(self) -> list[Run]:
        """Failed runs, and completed ones whose score is not a number."""
        return [*self.failed, *(run for run in self.runs if math.isnan(run.score))]

    @property
    def points(self) -> list[tuple[int, float, bool]]:
        """Seed and score, as it is shown, of what the mean is over, and whether it collapsed."""
        return [(run.result["seed"], run.shown, run.result["collapsed"] is True) for run in self.runs]

    @property
    def fixed(self) -> bool:
        """Whether its score is that of every seed: its runs say so, and have the same."""
        return all(run.result.get("deterministic") for run in self.runs) and len({run.score for run in self.runs}) == 1

    @cached_property
    def summary(self) -> Summary:
        """Of the scores as they are shown; failed runs, and those without a score, count as failed."""
        scores = np.array([run.shown for run in self.runs] + [math.nan] * len(self.failed))
        return stats.summarise(scores, [run.result["collapsed"] is True for run in self.runs])


@dataclass
class Draws(Cell):
    """The runs of one row on one task on several draws of as many rows: a draw counts as one, the mean of its runs."""

    draws: dict[int, Cell] = field(default_factory=dict)  # with runs, by the seed that drew the rows

    @property
    def fixed(self) -> bool:
        """Never: a draw has rows of its own."""
        return False

    @property
    def points(self) -> list[tuple[int, float, bool]]:
        """Seed and mean score of each draw, and whether a run of it collapsed."""
        return [(seed, cell.summary.mean, cell.summary.collapsed > 0) for seed, cell in self.draws.items()]

    @cached_property
    def summary(self) -> Summary:
        """Of the draws' means; collapsed and failed are runs."""
        means = np.array([cell.summary.mean for cell in self.draws.values()])
        collapsed, failed = (
            sum(getattr(cell.summary, name) for cell in self.draws.values()) for name in ("collapsed", "failed")
        )
        return replace(stats.summarise(means), collapsed=collapsed, failed=failed)


@dataclass
class Panel:
    """All runs of one encoder, fine-tuned or as probes."""

    encoder: str
    kind: str
    rows: list[Row]
    subsets: list[Subset]
    tasks: list[str]
    cells: dict[tuple[Row, Subset, str], Cell]
    pooled: dict[tuple[Row, Subset, str], Draws] = field(default_factory=dict)  # of sizes with several draws
    default: str = ""  # the method that rows are compared with, unless the user says or a row has its own
    _distances: dict[tuple[Row, Row, Subset], int | None] = field(default_factory=dict, repr=False)

    def cell(self, row: Row, subset: Subset, task: str) -> Cell:
        """Return a cell, empty where no run is over."""
        at = row, subset, task
        return self.cells.get(at) or self.pooled.get(at) or Cell()

    def ordered(self, baseline: str | None = None) -> list[Row]:
        """Return the rows as tables show them: what most are compared with, what adds to it, and the others."""
        return sorted(self.rows, key=lambda row: self.rank(row, baseline))

    def rank(self, row: Row, baseline: str | None = None) -> int:
        """Return 0 of a row of the baseline, 1 of what adds an edit or a recipe to it, 2 of another."""
        name = baseline or self.default
        if name in (row.method, row.label):
            return 0
        method = next((other.method for other in self.rows if other.label == name), name)
        return 1 if row.method.startswith(f"{method}+") else 2

    def runs(self, subset: Subset, task: str) -> list[tuple[Row, Run]]:
        """Return the runs that have a score, row by row."""
        return [
            (row, run) for row in self.rows for run in self.cell(row, subset, task).runs if not math.isnan(run.score)
        ]

    def compared_with(self, row: Row, subset: Subset, baseline: str | None = None) -> str:
        """Return the name of what a row is compared with: `baseline`, a method or a row's label, if that is given.

        Else a method with an edit or a recipe is compared with its pooler without them, where both have runs of a task
        on this subset, and everything else with the panel's default.
        """
        if baseline is not None:
            return baseline
        own = self._rows_of.get(row.pooler, []) if row.pooler != row.method else []
        return row.pooler if any(self._distance(row, other, subset) is not None for other in own) else self.default

    def baseline_of(self, row: Row, subset: Subset, baseline: str | None = None) -> Row | None:
        """Return the row that one is compared with: that of the label, or the method's row of the nearest settings.

        None where the method has no row on the same task and subset, or several that differ as much.
        """
        name = self.compared_with(row, subset, baseline)
        rows = self._rows_of.get(name, [])
        if rows and rows[0].label == name:
            return rows[0]
        far = {other: n for other in rows if (n := self._distance(row, other, subset)) is not None}
        nearest = [other for other, n in far.items() if n == min(far.values())]
        return nearest[0] if len(nearest) == 1 else None

    @cached_property
    def collapses(self) -> dict[Row, tuple[int, int]]:
        """How many of a row's completed runs collapsed, on all tasks and subsets, and how many there are."""
        found: dict[Row, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for (row, _, _), cell in self.cells.items():
            collapsed, runs = found[row]
            found[row] = collapsed + cell.summary.collapsed, runs + len(cell.runs)
        return found

    @cached_property
    def mishaps(self) -> set[Row]:
        """Rows of which a run collapsed, or has no score, on any task and subset."""
        return {row for (row, _, _), cell in self.cells.items() if cell.summary.collapsed or cell.without_score}

    @cached_property
    def _rows_of(self) -> dict[str, list[Row]]:
        """Rows by method, and each by its label: one that is called as its method stands for it."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.method].append(row)
        return found | {row.label: [row] for row in self.rows}

    def _distance(self, row: Row, other: Row, subset: Subset) -> int | None:
        """Return how many settings differ, less those of parts that only one has; None without a common task."""
        if (row, other, subset) not in self._distances:
            cells = ((self.cell(row, subset, task), self.cell(other, subset, task)) for task in self.tasks)
            both = next(((one.runs[0], another.runs[0]) for one, another in cells if one.runs and another.runs), None)
            self._distances[row, other, subset] = _distance(*both) if both else None
        return self._distances[row, other, subset]


def subset_label(subset: Subset) -> str:
    """Return `all rows`, `500 rows` with the seed that drew them if it is not 0, or `500 rows, 3 draws pooled`."""
    size, seed = subset
    if size is None:
        return "all rows"
    if isinstance(seed, tuple):
        return f"{size} rows, {len(seed)} draws pooled"
    return f"{size} rows" + (f" (subset seed {seed})" if seed else "")


def counted(subset: Subset) -> str:
    """Return what n is a number of, which a mean is over and a comparison pairs."""
    return "draw" if isinstance(subset[1], tuple) else "seed"


def differing(runs: Sequence[Run]) -> set[str]:
    """Return the settings whose values differ; what a failed run has not come to know is no difference."""
    if len(runs) < 2:
        return set()
    keys = {key for run in runs for key in run.settings}
    return {
        key for key in keys if len({value_of(run, key) for run in runs if run.completed or key in run.settings}) > 1
    }


def _distance(run: Run, other: Run) -> int:
    parts = tuple(f"{part}." for part in PARTS if run.result[part] != other.result[part])
    return len([key for key in differing([run, other]) if not key.startswith(("model.", *parts))])


def value_of(run: Run, key: str) -> Any:
    """Return a run's value of a setting."""
    return run.settings.get(key, "not recorded")


def plain(value: Any) -> str:
    """Return a setting's value as a config file has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
