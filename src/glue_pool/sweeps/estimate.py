"""How long runs would take, from runs that are finished."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from glue_pool import results
from glue_pool.result import Result
from glue_pool.schema import Config

Kind = tuple[str, ...]


class Estimate:
    """Seconds by what finished runs took: those of the same task, method and encoder first, else of the same encoder.

    A run's time is its setup, its examples at the median speed, and its evaluations at their median time.
    """

    def __init__(self, finished: Iterable[Result] = ()) -> None:
        self._setup: list[float] = []
        self._per_example: dict[Kind, list[float]] = defaultdict(list)
        self._per_evaluation: dict[Kind, list[float]] = defaultdict(list)
        self._rows: dict[str, int] = {}  # of a task's whole train split
        for result in finished:
            self.add(result)

    @classmethod
    def from_folder(cls, root: Path) -> "Estimate":
        """Return the estimate that all completed results under a folder allow."""
        estimate = cls()
        for file in root.glob("*/*/*/*/*/result.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):  # not one of ours
                estimate.add(json.loads(file.read_text(encoding="utf-8")))
        return estimate

    def add(self, result: Result) -> None:
        """Take in a completed result; another says nothing about time."""
        timing, encoder, kind = result["timing"], result["encoder"], result["kind"]
        if result["status"] != "completed" or not timing:
            return
        self._setup.append(timing["setup_seconds"])
        if result["subset"]["size"] is None and result["train_rows"]:
            self._rows[result["task"]] = result["train_rows"]
        for group in _groups(result["task"], result["method"], encoder, kind):
            self._per_example[group].append(1 / timing["train_examples_per_second"])
            self._per_evaluation[group].append(timing["eval_seconds"] / timing["evaluations"])

    def seconds(self, cfg: Config) -> float | None:
        """Return what a run would take; None if no run of its encoder is finished, or its rows aren't known."""
        if (rows := train_rows(cfg) or self._rows.get(cfg.task.name)) is None:
            return None
        for group in _groups(cfg.task.name, cfg.method, results.encoder_name(cfg), results.kind(cfg)):
            if group in self._per_example:
                examples = cfg.train.steps(rows) * min(cfg.train.batch_size, rows)
                return (
                    statistics.median(self._setup)
                    + examples * statistics.median(self._per_example[group])
                    + cfg.train.evaluations(rows) * statistics.median(self._per_evaluation[group])
                )
        return None


def train_rows(cfg: Config) -> int | None:
    """Return the train rows that a run will see, as far as its config says; a local folder may have others."""
    if cfg.subset.size is not None:
        return cfg.subset.size
    if cfg.data.name == "synthetic":
        return cfg.data.train_rows
    return cfg.task.official_rows.get(cfg.task.train_split)


def _groups(task: str, method: str, encoder: str, kind: str) -> tuple[Kind, ...]:
    return (task, method, encoder, kind), (task, encoder, kind), (encoder, kind)
