"""What is odd about rows and yet no error: ids that come twice, dev rows that are trained on, classes without a row."""

from collections.abc import Mapping, Sequence

import numpy as np

from glue_pool import metrics
from glue_pool.data.rows import Rows
from glue_pool.tasks import TaskConfig


def of(rows: Mapping[str, Rows], task: TaskConfig) -> list[str]:
    """Return what is to be said of a task's splits, a line each, counted."""
    found = [line for split, of_split in rows.items() for line in _repeated(split, of_split)]
    train = rows[task.train_split].texts
    for split, of_split in rows.items():
        if split != task.train_split and (also := in_train(of_split.texts, train)):
            found.append(f"{also} of {len(of_split)} rows of {split} are in {task.train_split}, too, word for word")
    of_labels = _one_score if task.problem_type == metrics.REGRESSION else _empty
    return found + [line for split, of_split in rows.items() for line in of_labels(split, of_split, task.labels)]


def in_train(texts: Sequence[Sequence[str]], train: Sequence[Sequence[str]]) -> int:
    """Count the rows whose texts are those of a train row, word for word; texts as those of `Rows`."""
    both = set(zip(*texts, strict=True)).intersection(zip(*train, strict=True))
    return sum(row in both for row in zip(*texts, strict=True))


def _repeated(split: str, rows: Rows) -> list[str]:
    ids, counts = np.unique(rows.idx, return_counts=True)
    if len(ids) == len(rows):
        return []
    times = int(counts.max())
    return [
        f"{len(rows) - len(ids)} of {len(rows)} rows of {split} repeat an idx ({ids[counts.argmax()]}, {times} times)"
    ]


def _empty(split: str, rows: Rows, labels: list[str]) -> list[str]:
    ids = np.flatnonzero(rows.labels.any(axis=0)) if rows.labels.ndim == 2 else np.unique(rows.labels)
    without = [name for i, name in enumerate(labels) if i not in ids]
    return [f"no row of {split} has the label {', '.join(without[:10])}"] if without else []


def _one_score(split: str, rows: Rows, labels: list[str]) -> list[str]:
    return [f"all rows of {split} have the score {rows.labels[0]:g}"] if np.ptp(rows.labels) == 0 else []
