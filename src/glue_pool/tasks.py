"""A task: its config keys, and what of them doesn't go together, said in one line before a row is read."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from glue_pool.errors import UserError, nearest
from glue_pool.fields import check_name, key
from glue_pool.metrics import METRICS, MULTI, REGRESSION, SINGLE, Metric, ProblemType

SAID: dict[ProblemType, str] = {SINGLE: "one label a row", MULTI: "any number of labels a row", REGRESSION: "scores"}


@dataclass
class SourceConfig:
    """A task's own source: a Hub data set, files, or files of a Hub data set."""

    path: str | None = key(None, in_key=False, path=True)
    """The Hub data set, or a folder laid out like one; null where files alone are the source."""
    config: str | None = key(None, in_key=False)
    """The Hub data set's configuration."""
    revision: str | None = key(None, in_key=False)
    """Branch, tag or commit of the Hub data set; null is the default branch."""
    files: dict[str, Any] = key({}, in_key=False)
    """By split a file, a glob of shards or a list (csv, tsv, jsonl, parquet, arrow), of `path` if that is given."""
    quotes: bool = key(True, in_key=False)
    """Of csv and tsv without a `path`: a text in quotes may hold separators and line breaks; false: quotes are text."""


@dataclass
class TaskConfig:
    """One task: where its rows come from, what they look like and how they are scored."""

    name: str = key(in_key=False)  # the data's identity has what depends on it
    """The task's name: that of its folder and its results."""
    title: str | None = key(None, in_key=False)
    """What tables to print call it; null is its name."""
    order: int | None = key(None, in_key=False)
    """Its place among a table's columns; tasks without one come last, by name."""
    source: SourceConfig = field(default_factory=SourceConfig)
    """Where its rows are."""
    language: str | None = key(None, in_key=False)
    """The texts' language, as the Hub writes it (`en`); null: not stated."""
    license: str | None = key(None, in_key=False)
    """The rows' licence, as the Hub writes it; `mit of NAME` is of the Hub data set NAME alone; null: not stated."""
    columns: list[str] = key([])
    """The texts, one for single sentences or two for pairs: columns, or templates such as `{word}: {sentence1}`."""
    label: str | None = key("label", neutral="label")
    """The label column; null in a multi-label task with a column of 0 and 1 for every label, by its name."""
    idx: str | None = key("idx", neutral="idx")
    """The column of whole numbers that rows go by in predictions; null, or no column `idx`, numbers them from 0."""
    group: str | None = key(None, in_key=False)
    """A column, or a template of some, equal in dev rows that belong together: no two of them count as independent."""
    labels: list[str] = key([])
    """Label names by class id, asserted against the data set; empty for a regression task."""
    label_map: dict[Any, str] = key({}, neutral={})
    """What the data say for each label, if that is not its name or its id, as in `{1: negative, 5: positive}`."""
    multi_label: bool = key(False, neutral=False)
    """Whether a row has any number of labels: a logit a label, threshold 0.5."""
    separator: str = key(",", neutral=",")
    """What stands between the labels of a row where a multi-label task's column is text."""
    positive: str | None = key(None, neutral=None)
    """The label that f1 and its like are of, in a task of two; null is the second."""
    score_range: list[float] | None = key(None)
    """Lowest and highest gold score of a regression task; null for classification, and where any score will do."""
    standardise: bool = key(False, neutral=False)
    """Whether a regression task trains on scores of mean 0 and deviation 1; predictions are in the data's unit."""
    metrics: list[str] = key([])
    """What is computed on every dev split (names of `glue_pool.metrics`)."""
    primary_metric: str = key()
    """The metric that becomes a run's score, on the first dev split."""
    train_split: str = key("train")
    """The split to train on."""
    dev_splits: list[str] = key([])
    """The splits to evaluate; the first carries the score."""
    dev_share: float | None = key(None, above=0, below=1, neutral=None)
    """This share of the train split's rows, stratified, is the dev split, and not trained on; null reads dev splits."""
    dev_seed: int = key(0, at_least=0, neutral=0)
    """Which rows `dev_share` takes, whatever the training seed."""
    test_splits: list[str] = key([], in_key=False)
    """The splits that are neither trained on nor evaluated; GLUE's server keeps the labels of its own."""
    official_rows: dict[str, int] = key({}, in_key=False)
    """Rows of every official split: a split of another size is reported as not official."""
    submission: dict[str, str] = key({}, in_key=False)
    """The file name that GLUE's server wants for each test split."""
    default_average: bool = key(True, in_key=False)
    """Whether the task counts in the average over tasks (WNLI does not: GLUE FAQ 12)."""
    synthetic: str | None = key(None, in_key=False)
    """Which generator `data=synthetic` has for it; null is one for any task."""

    @property
    def problem_type(self) -> ProblemType:
        """The kind of task, by transformers' name of it."""
        if not self.labels:
            return REGRESSION
        return MULTI if self.multi_label else SINGLE

    @property
    def outputs(self) -> int:
        """Logits a row: one a label, or one for a regression task."""
        return len(self.labels) or 1

    @property
    def positive_id(self) -> int:
        """The class that f1 and its like are of."""
        return 1 if self.positive is None else self.labels.index(self.positive)

    @property
    def metric(self) -> Metric:
        """The metric that is the score."""
        return METRICS[self.primary_metric]


def settle(task: TaskConfig) -> None:
    """Give what can be said in several ways one form, which is the one in the key."""
    said: dict[str, str] = {}
    for value, name in task.label_map.items():
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if said.setdefault(text, name) != name:
            raise UserError(f"task.label_map: {text} is {said[text]!r} and {name!r}", key="task.label_map")
    task.label_map = said
    if task.dev_share is not None and not task.dev_splits:
        task.dev_splits = ["dev"]
    if len(task.labels) == 2 and task.positive == task.labels[1]:
        task.positive = None


def check(task: TaskConfig) -> None:
    """Raise UserError where keys of a task don't go together."""
    check_name("task.name", task.name)
    _check_columns(task)
    _check_labels(task)
    _check_scores(task)
    _check_metrics(task)
    _check_source(task)
    _check_splits(task)


def _check_columns(task: TaskConfig) -> None:
    if not all(task.columns):
        raise _wrong("columns", ": has an empty name")
    if not 1 <= len(task.columns) <= 2:
        way_out = " (a template joins columns: '{word}: {sentence}')" if task.columns else ""
        raise _wrong("columns", f": {len(task.columns)} of them; a task has one text or two{way_out}")
    if task.label is None and not task.multi_label:
        raise _wrong("label", "=null: only a multi-label task can do without a label column")


def _check_labels(task: TaskConfig) -> None:
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


def _check_scores(task: TaskConfig) -> None:
    given = task.score_range
    if given is not None and task.labels:
        raise _wrong("score_range", ": a task with labels has no scores; null")
    if given is not None and not (len(given) == 2 and all(map(math.isfinite, given)) and given[0] < given[1]):
        raise _wrong("score_range", f"={given}: takes the lowest and the highest score, as [0, 5], or null")
    if task.standardise and task.labels:
        raise _wrong("standardise", ": a task with labels has no scores")


def _check_metrics(task: TaskConfig) -> None:
    if not task.metrics:
        raise _wrong("metrics", f": is empty; a task with {SAID[task.problem_type]} takes {', '.join(_fitting(task))}")
    if said := unfit_metric(task.metrics, task):
        raise _wrong("metrics", f": {said}")
    if task.primary_metric not in task.metrics:
        near = nearest(task.primary_metric, task.metrics)
        raise _wrong(
            "primary_metric", f"={task.primary_metric}: none of task.metrics ({', '.join(task.metrics)}){near}"
        )


def unfit_metric(names: Iterable[str], task: TaskConfig) -> str | None:
    """Say which of some names is that of no metric, or of none for a task of its kind, and why; None where all fit."""
    for name in names:
        if name not in METRICS:
            return f"no metric {name}{nearest(name, list(METRICS))} (there are {', '.join(METRICS)})"
        if name not in (fitting := _fitting(task)):
            if task.problem_type in METRICS[name].fits:
                why = f"takes two labels, the task has {len(task.labels)}"
            elif task.problem_type == REGRESSION:
                why = "takes classes, and without task.labels the task has scores"
            else:
                why = f"doesn't fit a task with {SAID[task.problem_type]}"
            return f"{name} {why}; of use are {', '.join(fitting)}"
    return None


def _fitting(task: TaskConfig) -> list[str]:
    return [name for name, metric in METRICS.items() if _fits(metric, task)]


def _fits(metric: Metric, task: TaskConfig) -> bool:
    of_two = metric.two_classes and len(task.labels) != 2
    return task.problem_type in metric.fits and not (of_two and task.problem_type == SINGLE)


def _check_source(task: TaskConfig) -> None:
    source = task.source
    if source.path is not None and not source.quotes:
        raise _wrong("source.quotes", "=false: is for source.files alone, not for files of source.path")
    for name in ("config", "revision"):
        if source.path is None and getattr(source, name) is not None:
            raise _wrong(f"source.{name}", f"={getattr(source, name)}: is of a Hub data set, source.path")


def _check_splits(task: TaskConfig) -> None:
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
