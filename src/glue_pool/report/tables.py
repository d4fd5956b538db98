"""From a study to its tables: every cell's scores on resampled dev examples, and all pairs of rows."""

import os
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np

from glue_pool import stats
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import OfSeeds, all_pairs
from glue_pool.report.panels import Cell, Panel, Row, Subset
from glue_pool.report.scored import OfTasks, Scored, averages, groups, resampled
from glue_pool.report.study import Study
from glue_pool.report.verdicts import AVERAGE, GAIN, Table
from glue_pool.stats import Scores

MANY = 1000  # runs
MOST_PROCESSES = 8


def tables(study: Study, margin: float = GAIN) -> list[Table]:
    """Resample every cell's scores; margin: in points, what differences are equivalent within.

    Runs without usable predictions are added to the study's list of what is left out, and where nothing says which dev
    rows belong together, that is to its notes.
    """
    together = {task: groups([run for run in study.runs if run.result["task"] == task]) for task in study.tasks}
    study.notes += [note for _, note in together.values() if note]
    places = [(panel, subset) for panel in study.panels for subset in panel.subsets]
    with _executor(len(study.runs)) as pool:
        jobs = [
            {
                task: pool.submit(resampled, panel.runs(subset, task), study.tasks[task].metric, together[task][0])
                for task in panel.tasks
            }
            for panel, subset in places
        ]
        return [
            _table(*place, study, {task: job.result() for task, job in of_tasks.items()}, margin)
            for place, of_tasks in zip(places, jobs, strict=True)
        ]


def _executor(runs: int) -> Executor:
    """Return what computes: processes, where there are so many runs that starting them pays."""
    if runs < MANY:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(min(MOST_PROCESSES, os.cpu_count() or 1), mp_context=get_context("spawn"))


def _table(panel: Panel, subset: Subset, study: Study, of_tasks: Mapping[str, Scored], margin: float) -> Table:
    study.left_out += [item for of in of_tasks.values() for items in of.left_out.values() for item in items]
    there = {task for (_, of, task), cell in panel.cells.items() if of == subset and cell.runs}
    tasks = [task for task in of_tasks if task in there]
    averaged = [task for task in tasks if study.tasks[task].averaged]
    scores = {(task, row): of for task in of_tasks for row, of in of_tasks[task].of_rows.items()}
    failures = {
        (task, row): filled
        for (task, row), of in scores.items()
        if (filled := _with_failures(of, panel.cell(row, subset, task), of_tasks[task].chance))
    }
    comparisons = {task: of.comparisons for task, of in of_tasks.items()}
    of_average = averages(scores, panel.rows, averaged)
    return Table(
        panel,
        subset,
        tasks,
        averaged,
        {**study.tasks, AVERAGE: Column(name=AVERAGE, title=f"average of {len(averaged)}")},
        _and_average(scores, of_average),
        _and_average(failures, averages({**scores, **failures}, [row for _, row in failures], averaged)),
        comparisons | {AVERAGE: all_pairs(of_average)},
        {(task, row): items for task, of in of_tasks.items() for row, items in of.left_out.items()},
        {task: float(of.chance.actual[0]) for task, of in of_tasks.items() if of.chance},
        margin,
    )


def _and_average(scores: OfTasks, of_average: Mapping[Row, OfSeeds]) -> OfTasks:
    return scores | {(AVERAGE, row): of for row, of in of_average.items()}


def _with_failures(of: OfSeeds, cell: Cell, chance: Scores | None) -> OfSeeds | None:
    """Return a row's seeds and scores with its failed runs', at the score of a constant prediction; None without."""
    seeds, scores = of
    failed = [run.result["seed"] for run in cell.without_score]
    new = sorted(set(failed) - set(seeds or ()))
    if seeds is None or chance is None or not new:
        return None
    filled = stats.with_failures(scores, chance, len(new))
    return sorted([*seeds, *new]), filled.of(np.argsort([*seeds, *new]))
