"""The tables with their rows' scores, and the verdict on any two of their rows."""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from glue_pool import stats
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import Comparison, Pair, all_pairs, pair
from glue_pool.report.panels import Panel, Row, Subset, subset_label
from glue_pool.report.scored import OfTasks, Scored, averages, groups, resampled
from glue_pool.report.study import Study
from glue_pool.stats import Difference

MANY = 1000  # runs
MOST_PROCESSES = 8
AVERAGE = "/average"  # the name of the column; no task, which is a folder, can be called so


@dataclass(frozen=True)
class Verdict:
    """A difference, positive where the method is better, and its p corrected for all tasks of the table."""

    difference: Difference
    adjusted_p: float

    @property
    def sign(self) -> int:
        """1 where the method is better than the baseline, -1 where it is worse, 0 where that isn't shown."""
        return int(np.sign(self.difference.estimate)) if self.adjusted_p < stats.ALPHA else 0


@dataclass(frozen=True)
class Table:
    """The comparisons of one panel and subset, by task; AVERAGE is the mean over the tasks of the default average."""

    panel: Panel
    subset: Subset
    tasks: list[str]  # with a run that is over
    average_tasks: list[str]
    columns: Mapping[str, Column]  # of all tasks, and of AVERAGE
    scores: OfTasks  # seeds with predictions, and their scores
    comparisons: dict[str, list[Comparison]]  # all pairs, by task

    def average_of(self, row: Row) -> float | None:
        """Return the mean over tasks of a row's mean scores; None where a task has none."""
        means = [self.panel.cell(row, self.subset, task).summary.mean for task in self.average_tasks]
        return sum(means) / len(means) if len(means) > 1 and not math.isnan(sum(means)) else None

    def pairs_of(self, row: Row) -> int:
        """Return how many seeds the average of a row is of in comparisons: those with predictions on all its tasks."""
        return len(self.scores[AVERAGE, row][1].actual) if (AVERAGE, row) in self.scores else 0

    def baseline_of(self, row: Row, baseline: str | None = None) -> Row | None:
        """Return the row that one is compared with here (`Panel.baseline_of`)."""
        return self.panel.baseline_of(row, self.subset, baseline)

    def own_baseline(self, row: Row) -> str | None:
        """Return what a row is compared with by default, less shared settings; None where it is the panel's default."""
        other = self.baseline_of(row)
        if other is None or other.method == self.panel.default:
            return None
        return replace(other, settings=tuple(of for of in other.settings if of not in row.settings)).label

    def name(self, row: Row, baseline: str | None) -> str:
        """Return a row's label, by default with its own baseline in brackets."""
        own = self.own_baseline(row) if baseline is None else None
        return f"{row.label} (to {own})" if own else row.label

    def uncompared(self, baseline: str | None = None) -> list[str]:
        """Say which rows are compared with nothing: what they would be has no run here, or no single row is nearest."""
        where = f"{self.panel.encoder}, {self.panel.kind}, {subset_label(self.subset)}"
        here = {row for (row, of, _), cell in self.panel.cells.items() if of == self.subset and cell.runs}
        names = {name for row in here for name in (row.method, row.label)}
        of_rows = {r: self.panel.compared_with(r, self.subset, baseline) for r in self.panel.rows if r in here}
        lacking = [name for name in of_rows.values() if name not in names]
        alone = [(r.label, name) for r, name in of_rows.items() if name in names and not self.baseline_of(r, baseline)]
        what = "nothing" if len(lacking) == len(here) else "only what has a baseline of its own"
        return [f"{where}: no run of {name}, so {what} is compared" for name in dict.fromkeys(lacking)] + [
            f"{where}: {label} is compared with nothing: no single row of {name} is nearest to its settings"
            for label, name in alone
        ]

    def pair(self, task: str, baseline: Row, method: Row) -> Pair | None:
        """Return both rows' scores of the seeds that both have; None where they have none."""
        both = [self.scores[task, row] for row in (baseline, method) if (task, row) in self.scores]
        return pair(*both) if len(both) == 2 else None

    def verdicts(self, baseline: str | None, tasks: Sequence[str]) -> dict[tuple[Row, str], Verdict]:
        """Return every row's verdict on each task, Holm's correction being over the tasks, and on the average."""
        found: dict[tuple[Row, str], Verdict] = {}
        for row in self.panel.rows:
            other = self.baseline_of(row, baseline)
            if other is None or other == row:
                continue
            of_tasks = {task: pair.difference() for task in tasks if (pair := self.pair(task, other, row))}
            adjusted = stats.holm(np.array([d.p for d in of_tasks.values()]))
            found |= {
                (row, task): Verdict(d, float(p)) for (task, d), p in zip(of_tasks.items(), adjusted, strict=True)
            }
            if average := self.pair(AVERAGE, other, row):
                overall = average.difference()
                found[row, AVERAGE] = Verdict(overall, overall.p)
        return found


def versus(tables: Sequence[Table], baseline: str | None) -> str:
    """Return what the rows of tables are compared with, in a legend's words."""
    if baseline is not None:
        return baseline
    own = any(table.own_baseline(row) for table in tables for row in table.panel.rows)
    return tables[0].panel.default + (" or the method in brackets" if own else "")


def tables(study: Study, tasks: Sequence[str]) -> list[Table]:
    """Resample every cell's scores on these tasks, which are those of the average, too.

    Runs without usable predictions are added to the study's list of what is left out, and where nothing says which dev
    rows belong together, that is to its notes.
    """
    together = {task: groups([run for run in study.runs if run.result["task"] == task]) for task in tasks}
    study.notes += [note for _, note in together.values() if note]
    places = [(panel, subset) for panel in study.panels for subset in panel.subsets]
    with _executor(len(study.runs)) as pool:
        jobs = [
            [
                (task, pool.submit(resampled, panel.runs(subset, task), study.tasks[task].metric, together[task][0]))
                for task in panel.tasks
                if task in tasks
            ]
            for panel, subset in places
        ]
        return [_table(*place, study, of_tasks) for place, of_tasks in zip(places, jobs, strict=True)]


def _executor(runs: int) -> Executor:
    """Return what computes: processes, where there are so many runs that starting them pays."""
    if runs < MANY:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(min(MOST_PROCESSES, os.cpu_count() or 1), mp_context=get_context("spawn"))


def _table(panel: Panel, subset: Subset, study: Study, of_tasks: "Sequence[tuple[str, Future[Scored]]]") -> Table:
    scores: OfTasks = {}
    comparisons = {}
    for task, job in of_tasks:
        scored = job.result()
        comparisons[task] = scored.comparisons
        study.left_out += [item for items in scored.left_out.values() for item in items]
        scores |= {(task, row): of_row for row, of_row in scored.of_rows.items()}
    there = {task for (_, of, task), cell in panel.cells.items() if of == subset and cell.runs}
    tasks = [task for task, _ in of_tasks if task in there]
    averaged = [task for task in tasks if study.tasks[task].averaged]
    of_average = averages(scores, panel.rows, averaged)
    comparisons[AVERAGE] = all_pairs(of_average)
    scores |= {(AVERAGE, row): of_row for row, of_row in of_average.items()}
    columns = {**study.tasks, AVERAGE: Column(name=AVERAGE, title=f"average of {len(averaged)}")}
    return Table(panel, subset, tasks, averaged, columns, scores, comparisons)
