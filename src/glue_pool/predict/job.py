"""Prediction under way: windows of rows go through the models into the partial output, and someone may watch."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from glue_pool.errors import UserError
from glue_pool.hardware import give_back_memory
from glue_pool.locks import Lease
from glue_pool.predict import windows
from glue_pool.predict.models import Models
from glue_pool.predict.partial import Partial
from glue_pool.predict.reading import Row
from glue_pool.predict.scores import Gold
from glue_pool.progress import RowBar
from glue_pool.shell import one_line

NAMED = 10  # rows that can't be read


@dataclass
class Job:
    """What is to be predicted, and how far it is.

    done: rows that were there already. skips: whether a row that can't be read has no values; else it ends the job.
    rows, skipped: rows of the input so far, and those among them without values. now: rows predicted by this job; cut:
    those of them whose text was too long; seconds: what they took.
    """

    models: Models
    partial: Partial
    gold: Gold | None
    source: str
    done: int
    skips: bool
    batch_size: int
    rows: int = 0
    skipped: int = 0
    now: int = 0
    cut: int = 0
    seconds: float = 0.0

    def run(self, rows: Iterator[Row], size: int, lease: Lease, total: int | None) -> None:
        """Predict rows in windows of `size`; total: how many there are, where that is known."""
        began = time.perf_counter()
        found = windows.tokenised(windows.windows(rows, size), self.models, self.done)
        with RowBar(total, sys.stderr) as bar:
            for window, tokens in found:
                self._name_unreadable(window, bar)
                if self.gold is not None:
                    self.gold.add(window.rows)
                if window.end > self.done:
                    values = None
                    if tokens is not None:
                        values = self.models.predict(tokens, self.batch_size)
                        self.cut += max(of_model.truncated for of_model in tokens)
                    missing = windows.spread(window, values)[max(self.done - window.first, 0) :]
                    lease.check()
                    self.partial.add(missing)
                    self.now += len(missing)
                    give_back_memory()
                self.rows = window.end
                self.seconds = time.perf_counter() - began
                bar.show(self.rows, self.now / self.seconds)
            if self.skipped > NAMED:
                bar.say(f"{self.source}: {self.skipped - NAMED:,} more rows that can't be read have no values")

    def _name_unreadable(self, window: windows.Window, bar: RowBar) -> None:
        for row in window.wrong:
            said = one_line(f"{self.source}, line {row.line}: {row.wrong}")
            if not self.skips:
                raise UserError(f"{said}; --on-error skip leaves its values empty")
            self.skipped += 1
            if self.skipped <= NAMED:
                bar.say(f"{said}; it has no values")

    def summary(self) -> str:
        """Say in a line what was done."""
        parts = [f"{self.rows:,} rows"]
        if self.skipped:
            parts.append(f"{self.skipped:,} of them without values")
        if self.done:
            parts.append(f"{self.done:,} were there already")
        if self.cut:
            lengths = " or ".join(dict.fromkeys(str(model.max_length) for model in self.models.members))
            parts.append(f"{self.cut:,} cut to {lengths} tokens")
        if self.now:
            parts.append(f"{self.now / self.seconds:,.0f} rows/s")
        return ", ".join(parts)
