"""From a study to its tables: every cell's scores on resampled dev examples, and all pairs of rows."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from glue_pool import stats
from glue_pool.metrics import Metric
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import OfSeeds, all_pairs
from glue_pool.report.kept import Kept
from glue_pool.report.known import Known
from glue_pool.report.panels import Cell, Panel, Row, Subset
from glue_pool.report.predicted import About
from glue_pool.report.scan import Run
from glue_pool.report.scored import Groups, OfTasks, Scored, averages, groups, resampled
from glue_pool.report.study import Study
from glue_pool.report.verdicts import AVERAGE, GAIN, Table
from glue_pool.stats import Scores

MANY = 1000  # runs
MOST_PROCESSES = 8
Runs = tuple[Sequence[tuple[Row, Run]], Metric, Groups | None]  # of a column: what `resampled` takes


def tables(study: Study, margin: float = GAIN, known: Known | None = None) -> list[Table]:
    """Resample every cell's scores; margin: in points, what differences are equivalent within.

    Runs without usable predictions are added to the study's list of what is left out, and where nothing says which dev
    rows belong together, that is to its notes. known: as `resampled`'s.
    """
    known = known or Known()
    together = {task: groups([run for run in study.runs if run.result["task"] == task]) for task in study.tasks}
    study.notes += [note for _, note in together.values() if note]
    places = [(panel, subset) for panel in study.panels for subset in panel.subsets]
    columns = {
        (place, task): (panel.runs(subset, task), study.tasks[task].metric, together[task][0])
        for place, (panel, subset) in enumerate(places)
        for task in panel.tasks
    }
    _compute([of for of in columns.values() if all(run.folder not in known.abouts for _, run in of[0])], known)
    return [
        _table(*at, study, {task: resampled(*columns[place, task], known) for task in at[0].tasks}, margin, known.kept)
        for place, at in enumerate(places)
    ]


def _compute(columns: Sequence[Runs], known: Known) -> None:
    """Add what columns of unknown runs come to, in several processes, where there are so many that starting them pays.

    The tables are then made of it, as they are of what an earlier report has kept.
    """
    if sum(len(runs) for runs, _, _ in columns) < MANY:
        return
    processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for blocks, abouts in pool.map(_computed, columns):
            known.kept.used |= blocks
            known.abouts |= abouts


def _computed(column: Runs) -> tuple[dict[str, bytes], dict[Path, About]]:
    known = Known()
    resampled(*column, known)
    return known.kept.used, known.abouts


def _table(
    panel: Panel, subset: Subset, study: Study, of_tasks: Mapping[str, Scored], margin: float, kept: Kept
) -> Table:
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
        comparisons | {AVERAGE: all_pairs(of_average, kept)},
        {(task, row): items for task, of in of_tasks.items() for row, items in of.left_out.items()},
        {task: float(of.chance.actual[0]) for task, of in of_tasks.items() if of.chance},
        margin,
        kept,
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
