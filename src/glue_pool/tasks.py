"""A task's own consistency: found before a row is read, in one line that names the key."""

import math
import re
from typing import TYPE_CHECKING

from glue_pool.errors import UserError, nearest
from glue_pool.metrics import METRICS, MULTI, REGRESSION, SINGLE, Metric, ProblemType

if TYPE_CHECKING:
    from glue_pool.schema import TaskConfig

NAME = re.compile(r"\w[\w.-]{0,99}")  # it is a folder's
SAID: dict[ProblemType, str] = {SINGLE: "one label a row", MULTI: "any number of labels a row", REGRESSION: "scores"}


def check(task: "TaskConfig") -> None:
    """Raise UserError where keys of a task don't go together."""
    check_name(task.name)
    _check_columns(task)
    _check_labels(task)
    _check_scores(task)
    _check_metrics(task)
    _check_source(task)
    _check_splits(task)


def check_name(name: str) -> None:
    """Raise UserError where this can't be a task's name."""
    if not NAME.fullmatch(name):
        said = "it names folders, and takes up to 100 letters, digits, `_`, `-` and `.`"
        raise _wrong("name", f"={name[:40]}: {said}")


def _check_columns(task: "TaskConfig") -> None:
    if not all(task.columns):
        raise _wrong("columns", ": has an empty name")
    if not 1 <= len(task.columns) <= 2:
        way_out = " (a template joins columns: '{word}: {sentence}')" if task.columns else ""
        raise _wrong("columns", f": {len(task.columns)} of them; a task has one text or two{way_out}")
    if task.label is None and not task.multi_label:
        raise _wrong("label", "=null: only a multi-label task can do without a label column")


def _check_labels(task: "TaskConfig") -> None:
    labels = task.labels
    if twice := next((name for name in labels if labels.count(name) > 1), None):
        raise _wrong("labels", f": {twice!r} stands there twice")
    if not all(labels):
        raise _wrong("labels", ": has an empty name")
    if len(labels) == 1 and not task.multi_label:
        raise _wrong("labels", f": {labels[0]!r} alone leaves nothing to tell apart")
    if task.multi_label and not labels:
        raise _wrong("multi_label", ": task.labels has to name the labels")
    if task.multi_label and not task.separator:
        raise _wrong("separator", ": is empty")
    for value, name in task.label_map.items():
        if name not in labels:
            there = f"is none of the labels ({', '.join(labels)})" if labels else "is no label: task.labels is empty"
            raise _wrong("label_map", f".{value}: {name!r} {there}{nearest(name, labels)}")
    if task.positive is not None and task.positive not in labels:
        raise _wrong(
            "positive", f"={task.positive}: none of the labels ({', '.join(labels)}){nearest(task.positive, labels)}"
        )
    if task.positive is not None and (len(labels) != 2 or task.multi_label):
        raise _wrong("positive", f"={task.positive}: it is for tasks of two labels, of which a row has one")


def _check_scores(task: "TaskConfig") -> None:
    given = task.score_range
    if given is not None and task.labels:
        raise _wrong("score_range", ": a task with labels has no scores; null")
    if given is not None and not (len(given) == 2 and all(map(math.isfinite, given)) and given[0] < given[1]):
        raise _wrong("score_range", f"={given}: takes the lowest and the highest score, as [0, 5], or null")
    if task.standardise and task.labels:
        raise _wrong("standardise", ": a task with labels has no scores")


def _check_metrics(task: "TaskConfig") -> None:
    kind, names = task.problem_type, list(METRICS)
    fitting = [name for name in names if _fits(METRICS[name], task)]
    if not task.metrics:
        raise _wrong("metrics", f": is empty; a task with {SAID[kind]} takes {', '.join(fitting)}")
    for name in task.metrics:
        if name not in METRICS:
            raise _wrong("metrics", f": no metric {name}{nearest(name, names)} (there are {', '.join(names)})")
        if name not in fitting:
            metric = METRICS[name]
            if kind in metric.fits:
                why = f"takes two labels, the task has {len(task.labels)}"
            elif kind == REGRESSION:
                why = "takes classes, and without task.labels the task has scores"
            else:
                why = f"doesn't fit a task with {SAID[kind]}"
            raise _wrong("metrics", f": {name} {why}; of use are {', '.join(fitting)}")
    if task.primary_metric not in task.metrics:
        near = nearest(task.primary_metric, task.metrics)
        raise _wrong(
            "primary_metric", f"={task.primary_metric}: none of task.metrics ({', '.join(task.metrics)}){near}"
        )


def _fits(metric: Metric, task: "TaskConfig") -> bool:
    of_two = metric.two_classes and len(task.labels) != 2
    return task.problem_type in metric.fits and not (of_two and task.problem_type == SINGLE)


def _check_source(task: "TaskConfig") -> None:
    source = task.source
    if source.path is not None and not source.quotes:
        raise _wrong("source.quotes", "=false: is for source.files alone, not for files of source.path")
    for name in ("config", "revision"):
        if source.path is None and getattr(source, name) is not None:
            raise _wrong(f"source.{name}", f"={getattr(source, name)}: is of a Hub data set, source.path")


def _check_splits(task: "TaskConfig") -> None:
    dev = task.dev_splits
    if not dev:
        raise _wrong("dev_splits", ": is empty; dev_share=0.1 takes a tenth of the train split")
    if twice := next((name for name in dev if dev.count(name) > 1), None):
        raise _wrong("dev_splits", f": {twice} stands there twice")
    if both := next((name for name in [task.train_split, *dev] if name in task.test_splits), None):
        raise _wrong("test_splits", f": {both} is trained on or evaluated, too")
    if task.dev_share is not None and dev[0] in task.source.files:
        raise _wrong("dev_share", f"={task.dev_share:g}: source.files has rows for {dev[0]}; leave out one of them")
    if task.dev_share is not None and (len(dev) > 1 or dev[0] == task.train_split):
        raise _wrong("dev_share", f": then dev_splits names the one split that is drawn, as [dev], not {dev}")


def _wrong(key: str, text: str) -> UserError:
    return UserError(f"task.{key}{text}", key=f"task.{key}")
