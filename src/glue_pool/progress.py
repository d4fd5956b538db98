"""What a person sees during a run: a bar on a terminal, plain lines anywhere else, a small table at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LINES = 10  # plain lines about steps, at most
LOST: list[str] = []  # why what was printed could not be written
FIRST_LINE = 10_000  # half the rows at which predictions say for the first time how far they are


class Progress:
    """Shows the steps of a training and its evaluations while the `with` lasts.

    file is stdout unless given. Characters that it can't encode are shown as escapes.
    """

    def __init__(self, total_steps: int, description: str, file: TextIO | None = None) -> None:
        self._total = max(total_steps, 1)
        self._description = description
        self._file = file or sys.stdout
        self._bar: Bar | None = None
        self._shown = 0
        self._first = 0
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        if is_terminal(self._file):
            self._bar = _bar(self._file, ["{task.description}"], ["{task.fields[loss]}", "{task.fields[speed]}"])
            self._bar.add_task(printable(self._description, self._file), total=self._total, loss="", speed="")
            self._bar.start()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def expect(self, steps: int) -> None:
        """Show that so many steps are to be taken, at most."""
        self._total = max(steps, 1)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], total=self._total)

    def resumed(self, step: int) -> None:
        """Show that the training goes on after a step; the time left is reckoned from what follows."""
        self._first, self._shown, self._started = step, step * LINES // self._total, time.perf_counter()
        if self._bar:
            self._bar.reset(self._bar.task_ids[0], completed=step, loss="", speed="")
        self._print(f"{self._description}: resumed at step {step} of {self._total}")

    def step(self, step: int, loss: float, examples_per_second: float) -> None:
        """Show how far the training is; steps count from 1."""
        loss_text, speed = f"loss {loss:.4f}", f"{examples_per_second:.1f} examples/s"
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, loss=loss_text, speed=speed)
            return
        share = step * LINES // self._total
        if share > self._shown:
            self._shown = share
            left = (time.perf_counter() - self._started) * (self._total - step) / (step - self._first)
            self._print(f"{self._description}: step {step}/{self._total}, {loss_text}, {speed}, {clock(left)} left")

    def evaluation(self, epoch: float, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Show what the dev splits said: `{split: {name: value}}`."""
        splits = "; ".join(
            split + " " + ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            for split, values in metrics.items()
        )
        self._print(f"{self._description}: epoch {epoch:g}, {splits}")

    def _print(self, line: str) -> None:
        say(line, self._file, self._bar)


class RowBar:
    """Shows on a terminal how many rows are done, of how many where that is known, while the `with` lasts."""

    def __init__(self, total: int | None, file: TextIO) -> None:
        self._total = total
        self._file = file
        self._bar: Bar | None = None
        self._said = FIRST_LINE

    def __enter__(self) -> Self:
        if is_terminal(self._file):
            self._bar = _bar(self._file, (), ("rows", "{task.fields[speed]}"))
            self._bar.add_task("", total=self._total, speed="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, rows: int, rows_per_second: float) -> None:
        """Show how many rows are done, and how fast."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=rows, speed=f"{rows_per_second:,.0f} rows/s")
        elif rows >= 2 * self._said:  # ever more rarely, since nobody knows how many will come
            self._said = rows
            self.say(f"{rows:,} rows, {rows_per_second:,.0f} rows/s")

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        say(line, self._file, self._bar)


def say(line: str, file: TextIO | None, bar: Bar | None = None) -> None:
    """Print a line, above the bar if there is one.

    Where nobody reads, nothing comes of it; where the disk is full, `LOST` has why: work goes on, and the command ends
    with it.
    """
    if file is None:  # closed from the start
        return
    text = printable(line, file)
    try:
        if bar:
            bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=file, flush=True)
    except BrokenPipeError:
        pass
    except OSError as error:
        LOST[:] = [error.strerror or str(error)]


def print_table(rows: Mapping[str, object] | Iterable[tuple[str, object]], file: TextIO | None = None) -> None:
    """Print names and values in two columns; a value of several lines keeps its column.

    Nothing is wrapped or drawn around them, so that paths and commands can be copied.
    """
    file = file or sys.stdout
    pairs = list(rows.items() if isinstance(rows, Mapping) else rows)
    width = max((len(name) for name, _ in pairs), default=0)
    say("", file)
    for name, value in pairs:
        for i, line in enumerate(str(value).splitlines() or [""]):
            label = "" if i else name
            say(f"  {label:{width}}  {line}".rstrip(), file)
    say("", file)


def is_terminal(file: TextIO) -> bool:
    """Say whether a bar can be drawn there."""
    return file.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def status_bar(file: TextIO, total: int) -> Bar:
    """Return the bar below a sweep's lines: how many runs have ended, and `state`."""
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[state]}", markup=False),
        console=Console(file=file),
        refresh_per_second=2,
    )
    bar.add_task("", total=total, state="")
    return bar


def _bar(file: TextIO, before: Sequence[str], after: Sequence[str]) -> Bar:
    """Return a bar with texts before and after what is done of what; they may name a task's fields."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        *(progress.TextColumn(text, markup=False) for text in before),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        *(progress.TextColumn(text) for text in after),
        progress.TimeRemainingColumn(compact=True),
        console=Console(file=file),
        refresh_per_second=4,
    )


def clock(seconds: float) -> str:
    """Return a length of time as `1:02:03` or `2:03`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def printable(text: str, file: TextIO) -> str:
    """Return a text with escapes for the characters that a file can't encode."""
    encoding = file.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
