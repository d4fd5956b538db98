"""From runs' predictions to their scores on resampled dev examples, row by row."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from glue_pool import stats
from glue_pool.metrics import POINTS, Metric
from glue_pool.report.comparisons import Comparison, OfSeeds, all_pairs
from glue_pool.report.panels import Row
from glue_pool.report.scan import LeftOut, Predictions, Run, read_predictions

TOLERANCE = 1e-6  # between a score and what its predictions give
OfTasks = dict[tuple[str, Row], OfSeeds]
Resampled = tuple[dict[Row, OfSeeds], list[Comparison], list[LeftOut]]


def resampled(runs: Sequence[tuple[Row, Run]], metric: Metric) -> Resampled:
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
    return LeftOut(run.folder / "predictions.parquet", reason, "scores, but no comparison")


def averages(of_tasks: OfTasks, rows: Sequence[Row], tasks: Sequence[str]) -> dict[Row, OfSeeds]:
    """Return the mean over tasks of the seeds that a row has on all of them."""
    of_rows = {}
    for row in rows:
        if len(tasks) < 2 or any((task, row) not in of_tasks for task in tasks):
            continue
        found = [of_tasks[task, row] for task in tasks]
        seeds = sorted(set.intersection(*(set(seeds) for seeds, _ in found)))
        if seeds:
            aligned = [scores.of([of.index(seed) for seed in seeds]) for of, scores in found]
            of_rows[row] = seeds, stats.average(aligned)
    return of_rows
