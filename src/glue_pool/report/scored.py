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
from glue_pool.report.kept import Kept, digest
from glue_pool.report.known import Known
from glue_pool.report.panels import Row
from glue_pool.report.predicted import Predicted, most_common
from glue_pool.report.scan import LeftOut, Predictions, Run, no_comparison, read_groups
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


def resampled(
    runs: Sequence[tuple[Row, Run]],
    metric: Metric,
    groups: Groups | None = None,
    known: Known | None = None,
) -> Scored:
    """Score each row's runs on resamples of the dev examples; groups: `groups` of the task.

    known: what is known of the runs; what is found out is added.
    """
    known = known or Known()
    kept = known.kept
    found = [(row, Predicted(run, known.abouts.get(run.folder))) for row, run in runs]
    known.abouts |= {item.run.folder: item.about for _, item in found}
    examples = most_common([item for _, item in found if not item.unusable], kept)
    left_out: dict[Row, list[LeftOut]] = defaultdict(list)
    fits: list[tuple[Row, Predicted]] = []
    for row, item in found:
        if item.unusable:
            left_out[row].append(item.unusable)
        elif examples and (said := item.differs(examples, kept)):
            left_out[row].append(no_comparison(item.run, said))
        else:
            fits.append((row, item))
    if not examples:
        return Scored(left_out=dict(left_out))
    scores = _scores(examples, [item for _, item in fits], metric, groups, kept)
    of_rows: dict[Row, list[int]] = defaultdict(list)
    for index, (row, item) in enumerate(fits):
        actual, score = scores.actual[index], item.run.score
        if abs(actual - score) < TOLERANCE * max(1.0, abs(score)):
            of_rows[row].append(index)
        else:
            reason = f"they give a score of {actual:.4f}, result.json says {score:.4f}"
            left_out[row].append(no_comparison(item.run, reason))
    factor = metric.better * metric.scale
    shown = replace(scores, actual=factor * scores.actual, resampled=factor * scores.resampled)
    scored: dict[Row, OfSeeds] = {}
    for row, at in of_rows.items():
        of_row = [fits[i][1] for i in at]
        if _fixed(of_row):
            scored[row] = None, shown.of(at[:1])
            continue
        reasons = _repeats(of_row)
        left_out[row] += [no_comparison(of.run, said) for of, said in zip(of_row, reasons, strict=True) if said]
        if indices := [i for i, said in zip(at, reasons, strict=True) if said is None]:
            scored[row] = [fits[i][1].run.result["seed"] for i in indices], shown.of(indices)
    return Scored(
        scored,
        all_pairs(scored, kept),
        {row: items for row, items in left_out.items() if items},
        shown.of([len(fits)]),
    )


def _scores(
    examples: Predicted, fits: Sequence[Predicted], metric: Metric, groups: Groups | None, kept: Kept
) -> Scores:
    """Return the scores of these runs, and last that of a constant prediction, as the metric has them.

    A run's are the same whatever runs it is scored with, and are kept by what they are made of.
    """
    of_task = fits[0].run
    seed = zlib.crc32(of_task.result["task"].encode())  # each task is resampled by its own: their average needs that
    together = None if groups is None else np.array(sorted(groups.items()))
    made_of = digest(examples.about.rows, together, metric.name, of_task.positive, seed, stats.RESAMPLES)
    names = [digest(made_of, item.about.rows, item.about.logits) for item in fits] + [digest(made_of, "constant")]
    if new := [at for at, name in enumerate(names) if name not in kept]:
        constant = _constant(examples.there, metric)
        outputs = [fits[at].there.outputs if at < len(fits) else constant for at in new]
        scores = stats.resample(
            examples.there.labels,
            np.stack([of.astype(np.result_type(of, constant), copy=False) for of in outputs]),
            metric.name,
            positive=of_task.positive,
            groups=_together(examples.there.idx, groups),
            seed=seed,
        )
        if new[-1] == len(fits) and np.isnan(scores.actual[-1]):
            scores.actual[-1] = 0.0
            scores.resampled[:, -1] = 0.0
        for at, actual, of_run in zip(new, scores.actual, scores.resampled.T, strict=True):
            kept.put(names[at], np.concatenate([[scores.examples, actual], of_run]).tobytes())
    found = np.stack([np.frombuffer(kept.get(name)) for name in names])
    return Scores(found[:, 1].copy(), found[:, 2:].T.copy(), int(found[0, 0]))


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


def _fixed(runs: Sequence[Predicted]) -> bool:
    """Whether a row's runs are the same whatever the seed, and say so."""
    return all(of.run.result.get("deterministic") for of in runs) and len({of.about.logits for of in runs}) == 1


def _repeats(runs: Sequence[Predicted]) -> list[str | None]:
    """Say for each of a row's runs why it is another's once more; None where it is not.

    Number for number, two seeds never come to the same: one that does is a copy, or has had no effect. Collapsed runs
    may.
    """
    first: dict[str, int] = {}
    seeds = [
        (seed := of.run.result["seed"], seed if of.run.result["collapsed"] else first.setdefault(of.about.logits, seed))
        for of in runs
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
