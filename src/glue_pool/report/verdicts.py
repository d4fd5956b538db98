"""The tables with the scores on resampled dev examples, and the verdict on any two of their rows."""

import math
import os
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from glue_pool import stats
from glue_pool.metrics import POINTS, Metric
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import Comparison, OfSeeds, Pair, all_pairs, pair
from glue_pool.report.panels import Panel, Row, Subset, subset_label
from glue_pool.report.scan import NO_COMPARISON, LeftOut, Predictions, Run, read_predictions
from glue_pool.report.study import Study
from glue_pool.stats import Difference

MANY = 1000  # runs
MOST_PROCESSES = 8
AVERAGE = "/average"  # the name of the column; no task, which is a folder, can be called so
TOLERANCE = 1e-6  # between a score and what its predictions give
OfTasks = dict[tuple[str, Row], OfSeeds]
Resampled = tuple[dict[Row, OfSeeds], list[Comparison], list[LeftOut]]


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
        return len(self.scores[AVERAGE, row][0]) if (AVERAGE, row) in self.scores else 0

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

    Runs without usable predictions are added to the study's list of what is left out.
    """
    places = [(panel, subset) for panel in study.panels for subset in panel.subsets]
    with _executor(len(study.runs)) as pool:
        jobs = [
            [
                (task, pool.submit(_resampled, panel.runs(subset, task), study.tasks[task].metric))
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


def _table(panel: Panel, subset: Subset, study: Study, of_tasks: "Sequence[tuple[str, Future[Resampled]]]") -> Table:
    scores: OfTasks = {}
    comparisons = {}
    for task, job in of_tasks:
        of_rows, comparisons[task], left_out = job.result()
        study.left_out += left_out
        scores |= {(task, row): of_row for row, of_row in of_rows.items()}
    there = {task for (_, of, task), cell in panel.cells.items() if of == subset and cell.runs}
    tasks = [task for task, _ in of_tasks if task in there]
    averaged = [task for task in tasks if study.tasks[task].averaged]
    averages = _averages(scores, panel.rows, averaged)
    comparisons[AVERAGE] = all_pairs(averages)
    scores |= {(AVERAGE, row): of_row for row, of_row in averages.items()}
    columns = {**study.tasks, AVERAGE: Column(name=AVERAGE, title=f"average of {len(averaged)}")}
    return Table(panel, subset, tasks, averaged, columns, scores, comparisons)


def _resampled(runs: Sequence[tuple[Row, Run]], metric: Metric) -> Resampled:
    """Return each row's seeds and scores, on the same resamples of the dev examples for all rows.

    Scores are in points or the metric's own unit, and negative where lower is better.
    """
    found = [read_predictions(run) for _, run in runs]
    examples = _most_common([item for item in found if isinstance(item, Predictions)])
    left_out: list[LeftOut] = []
    fits: list[tuple[Row, Run, Predictions]] = []
    for (row, run), item in zip(runs, found, strict=True):
        if isinstance(item, LeftOut):
            left_out.append(item)
        elif examples and not item.same_examples(examples):
            left_out.append(_no_comparison(run, "other dev rows or labels than most runs of this task have"))
        else:
            fits.append((row, run, item))
    if not examples:
        return {}, [], left_out
    outputs = np.stack([item.outputs for _, _, item in fits])
    of_task = fits[0][1]
    seed = zlib.crc32(of_task.result["task"].encode())  # each task is resampled by its own: their average needs that
    scores = stats.resample(examples.labels, outputs, metric.name, positive=of_task.positive, seed=seed)
    of_rows: dict[Row, list[int]] = defaultdict(list)
    for index, (row, run, _) in enumerate(fits):
        if abs(scores.actual[index] - run.score) < TOLERANCE * max(1.0, abs(run.score)):
            of_rows[row].append(index)
        else:
            reason = f"they give a score of {scores.actual[index]:.4f}, result.json says {run.score:.4f}"
            left_out.append(_no_comparison(run, reason))
    factor = metric.better * metric.scale
    shown = replace(scores, actual=factor * scores.actual, resampled=factor * scores.resampled)
    seeds = [run.result["seed"] for _, run, _ in fits]
    scored = {row: ([seeds[i] for i in at], shown.of(at)) for row, at in of_rows.items()}
    return scored, all_pairs(scored, in_points=metric.unit == POINTS), left_out


def _most_common(found: Sequence[Predictions]) -> Predictions | None:
    """Return predictions on the dev rows that most runs have."""
    counts: list[tuple[Predictions, int]] = []
    for item in found:
        at = next((i for i, (other, _) in enumerate(counts) if item.same_examples(other)), None)
        if at is None:
            counts.append((item, 1))
        else:
            counts[at] = (counts[at][0], counts[at][1] + 1)
    return max(counts, key=lambda pair: pair[1])[0] if counts else None


def _no_comparison(run: Run, reason: str) -> LeftOut:
    return LeftOut(run.folder / "predictions.parquet", reason, NO_COMPARISON)


def _averages(of_tasks: OfTasks, rows: Sequence[Row], tasks: Sequence[str]) -> dict[Row, OfSeeds]:
    """Return the mean over tasks of the seeds that a row has on all of them."""
    averages = {}
    for row in rows:
        if len(tasks) < 2 or any((task, row) not in of_tasks for task in tasks):
            continue
        found = [of_tasks[task, row] for task in tasks]
        seeds = sorted(set.intersection(*(set(seeds) for seeds, _ in found)))
        if seeds:
            aligned = [scores.of([of.index(seed) for seed in seeds]) for of, scores in found]
            averages[row] = seeds, stats.average(aligned)
    return averages
