"""From runs' predictions to their scores on resampled dev examples, row by row."""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from glue_pool import stats
from glue_pool.metrics import Metric
from glue_pool.report.comparisons import Comparison, OfSeeds, all_pairs, common_seeds, of_seeds
from glue_pool.report.earlier import shipped
from glue_pool.report.panels import Row
from glue_pool.report.scan import LeftOut, Predictions, Run, no_comparison, read_groups, read_predictions
from glue_pool.stats import Scores

TOLERANCE = 1e-6  # between a score and what its predictions give
LEAST = 1e-30  # a share of 0 as a probability that has a logit
OfTasks = dict[tuple[str, Row], OfSeeds]
Groups = Mapping[int, int]  # by idx; rows of one group belong together


@dataclass(frozen=True)
class Scored:
    """The rows of one task, panel and subset, on the same resamples of the dev examples.

    Scores are in points or the metric's own unit, and negative where lower is better.
    """

    of_rows: dict[Row, OfSeeds] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    left_out: dict[Row, list[LeftOut]] = field(default_factory=dict)  # runs in a row's mean, but in no comparison
    chance: Scores | None = None  # one run: the best constant prediction; None without any predictions


def groups(runs: Sequence[Run]) -> tuple[Groups | None, str | None]:
    """Return which dev rows of a task's runs belong together, and what a reader has to know where that isn't said.

    The newest run that says it counts: all runs of a task are on the same dev rows.
    """
    saying = [run for run in runs if run.completed and run.task.get("group") is not None]
    for run in sorted(saying, key=lambda run: run.written, reverse=True):
        if found := read_groups(run):
            return found, None
    task = runs[0].result["task"]
    real = [run for run in runs if run.completed and run.settings.get("data.name") != "synthetic"]
    share = shipped(task).get("group")
    if not real or share is None or any("group" in run.task and run.task["group"] is None for run in real):
        return None, None
    return None, f"{task}: rows share a {share}, these runs don't say which: the interval takes rows for independent"


def resampled(runs: Sequence[tuple[Row, Run]], metric: Metric, groups: Groups | None = None) -> Scored:
    """Score each row's runs on resamples of the dev examples; groups: `groups` of the task."""
    found = [read_predictions(run) for _, run in runs]
    examples = _most_common([item for item in found if isinstance(item, Predictions)])
    left_out: dict[Row, list[LeftOut]] = defaultdict(list)
    fits: list[tuple[Row, Run, Predictions]] = []
    for (row, run), item in zip(runs, found, strict=True):
        if isinstance(item, LeftOut):
            left_out[row].append(item)
        elif examples and (said := item.differs(examples)):
            left_out[row].append(no_comparison(run, said))
        else:
            fits.append((row, run, item))
    if not examples:
        return Scored(left_out=dict(left_out))
    scores = _scores(examples, fits, metric, groups)
    of_rows: dict[Row, list[int]] = defaultdict(list)
    for index, (row, run, _) in enumerate(fits):
        if abs(scores.actual[index] - run.score) < TOLERANCE * max(1.0, abs(run.score)):
            of_rows[row].append(index)
        else:
            reason = f"they give a score of {scores.actual[index]:.4f}, result.json says {run.score:.4f}"
            left_out[row].append(no_comparison(run, reason))
    factor = metric.better * metric.scale
    shown = replace(scores, actual=factor * scores.actual, resampled=factor * scores.resampled)
    scored: dict[Row, OfSeeds] = {}
    for row, at in of_rows.items():
        of_row = [(run, item) for _, run, item in (fits[i] for i in at)]
        if _fixed(of_row):
            scored[row] = None, shown.of(at[:1])
            continue
        reasons = _repeats(of_row)
        left_out[row] += [no_comparison(run, said) for (run, _), said in zip(of_row, reasons, strict=True) if said]
        if kept := [i for i, said in zip(at, reasons, strict=True) if said is None]:
            scored[row] = [fits[i][1].result["seed"] for i in kept], shown.of(kept)
    return Scored(
        scored,
        all_pairs(scored),
        {row: items for row, items in left_out.items() if items},
        shown.of([len(fits)]),
    )


def _scores(
    examples: Predictions, fits: Sequence[tuple[Row, Run, Predictions]], metric: Metric, groups: Groups | None
) -> Scores:
    """Return the scores of these runs, and last that of a constant prediction, as the metric has them."""
    together = _together(examples.idx, groups)
    outputs = np.stack([*(item.outputs for _, _, item in fits), _constant(examples, metric)])
    of_task = fits[0][1]
    seed = zlib.crc32(of_task.result["task"].encode())  # each task is resampled by its own: their average needs that
    scores = stats.resample(
        examples.labels, outputs, metric.name, positive=of_task.positive, groups=together, seed=seed
    )
    if np.isnan(scores.actual[-1]):
        scores.actual[-1] = 0.0
        scores.resampled[:, -1] = 0.0
    return scores


def _together(idx: np.ndarray, groups: Groups | None) -> np.ndarray | None:
    """Return each row's group, `(examples,)`; rows of one idx are one group. None where every row stands alone."""
    if groups is not None and all(row in groups for row in idx.tolist()):
        return np.array([groups[row] for row in idx.tolist()])
    return idx if (np.diff(idx) == 0).any() else None


def _constant(examples: Predictions, metric: Metric) -> np.ndarray:
    """Return outputs that say of every row what is right most often: the class, the mean score, or the shares."""
    labels, outputs = examples.labels, examples.outputs
    if metric.takes == "scores":
        constant = labels.mean()
    elif labels.ndim == 2:
        share = np.clip(labels.mean(axis=0), LEAST, 1 - np.finfo(float).eps)
        constant = np.log(share / (1 - share)) if metric.takes == "probabilities" else np.sign(2 * share - 1)
    elif metric.takes == "probabilities":
        shares = np.array([(labels == label).mean() for label in range(outputs.shape[1])])
        constant = np.log(np.maximum(shares, LEAST))
    else:
        classes, counts = np.unique(labels, return_counts=True)
        constant = classes[counts.argmax()]
    return np.broadcast_to(constant, outputs.shape)


def _most_common(found: Sequence[Predictions]) -> Predictions | None:
    """Return predictions on the dev rows that most runs have."""
    counts: list[tuple[Predictions, int]] = []
    for item in found:
        at = next((i for i, (other, _) in enumerate(counts) if item.differs(other) is None), None)
        if at is None:
            counts.append((item, 1))
        else:
            counts[at] = (counts[at][0], counts[at][1] + 1)
    return max(counts, key=lambda pair: pair[1])[0] if counts else None


def _fixed(runs: Sequence[tuple[Run, Predictions]]) -> bool:
    """Whether a row's runs are the same whatever the seed, and say so."""
    return all(run.result.get("deterministic") for run, _ in runs) and len({item.digest for _, item in runs}) == 1


def _repeats(runs: Sequence[tuple[Run, Predictions]]) -> list[str | None]:
    """Say for each of a row's runs why it is another's once more; None where it is not.

    Number for number, two seeds never come to the same: one that does is a copy, or has had no effect. Collapsed runs
    may.
    """
    first: dict[bytes, int] = {}
    seeds = [
        (seed := run.result["seed"], seed if run.result["collapsed"] else first.setdefault(item.digest, seed))
        for run, item in runs
    ]
    if len(runs) > 1 and {of for _, of in seeds} == {seeds[0][0]}:
        return [f"its {len(runs)} runs are one and the same: the seed has no effect"] * len(runs)
    return [None if seed == of else f"one and the same as the run of seed {of}" for seed, of in seeds]


def averages(of_tasks: OfTasks, rows: Sequence[Row], tasks: Sequence[str]) -> dict[Row, OfSeeds]:
    """Return the mean over tasks of the seeds that a row has on all of them."""
    of_rows: dict[Row, OfSeeds] = {}
    for row in rows:
        if len(tasks) < 2 or any((task, row) not in of_tasks for task in tasks):
            continue
        found = [of_tasks[task, row] for task in tasks]
        seeds = common_seeds(found)
        if seeds is None or seeds:
            of_rows[row] = seeds, stats.average([of_seeds(of_task, seeds) for of_task in found])
    return of_rows
