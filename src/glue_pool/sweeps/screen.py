"""What a person sees of a sweep: a line a run as it ends, how far it is, and in the end what failed."""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TextIO

from glue_pool import locks
from glue_pool.progress import clock, is_terminal, print_table, say, status_bar
from glue_pool.result import Result, Timing
from glue_pool.sweeps.estimate import Estimate
from glue_pool.sweeps.plan import Planned

TICK_SECONDS = 1.0


def dry_run(runs: Sequence[Planned], estimate: Estimate, parallel: int | None = None, about: str | None = None) -> None:
    """Print which runs are done, which failed, who works on which, and how long the rest would take."""
    rows: list[tuple[str, str]] = []
    left: list[float | None] = []
    for run in runs:
        result, holder = run.folder.read(), locks.holder(run.folder.lock)
        if result and not run.is_left():
            rows.append(("done", f"{run.label}: {_score(result)}"))
            continue
        left.append(estimate.seconds(run.cfg))
        takes = "" if left[-1] is None else f", about {clock(left[-1])}"
        if holder:
            rows.append(("running", f"{run.label}: {holder}{takes}"))
        elif result and result["status"] == "failed":
            rows.append(("failed", f"{run.label}: to run again{takes}; {result['error']}"))
        else:
            rows.append(("to run", f"{run.label}{takes}"))
    print_table(rows)
    print(f"{_runs(runs)}, {len(runs) - len(left)} of them done, {len(left)} to run{_total(left, parallel)}")
    if about and left:
        print(about)


class Screen:
    """Shows a sweep's runs as they end, and on a terminal a bar below them.

    parallel: how many runs go on at once, if that is known. about: why so many.
    """

    def __init__(
        self,
        runs: Sequence[Planned],
        estimate: Estimate,
        parallel: int | None = None,
        about: str | None = None,
        file: TextIO | None = None,
    ) -> None:
        self._file = file or sys.stdout
        self._runs = runs
        self._left = {run.folder.key: run for run in runs if run.is_left()}
        self._estimate, self._parallel, self._about = estimate, parallel, about
        self._total, self._done, self._failed = len(self._left), 0, 0
        self._bar = status_bar(self._file, self._total) if is_terminal(self._file) else None
        self._started = self._ticked = time.monotonic()
        self._timings: list[Timing] = []

    def __enter__(self) -> Self:
        there = len(self._runs) - self._total
        self.say(f"{_runs(self._runs)}: {there} done before, {self._total} to run{self._time_left()}")
        if self._about and self._total:
            self.say(self._about)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def done(self, run: Planned, result: Result) -> None:
        """Say that a run has its result."""
        self._done += 1
        timing = result["timing"]
        assert timing
        self._timings.append(timing)
        self._estimate.add(result)
        self._ends(run, f"{_score(result)}, {clock(timing['total_seconds'])}")

    def failed(self, run: Planned, error: str) -> None:
        """Say that a run failed."""
        self._failed += 1
        self._ends(run, f"failed: {error}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        say(line, self._file, self._bar)

    def tick(self) -> None:
        """Bring the bar up to date, once a second at most."""
        if self._bar and time.monotonic() - self._ticked > TICK_SECONDS:
            self._show(self._state())

    def end(self, failed: Mapping[str, str]) -> None:
        """Print what the sweep came to, and what failed with its error."""
        if self._bar:
            self._bar.stop()
        there = len(self._runs) - self._total
        before = f"{there} before, " if there else ""
        rows = [("done", f"{before}{self._done} now, {clock(time.monotonic() - self._started)}")]
        if self._timings:
            rows.append(("a run", _medians(self._timings)))
        if failed:
            rows.append(("failed", "\n".join(f"{label}: {error}" for label, error in failed.items())))
            rows.append(("try next", "the same command runs what failed once more, and nothing else"))
        print_table(rows, self._file)

    def _ends(self, run: Planned, what: str) -> None:
        self._left.pop(run.folder.key, None)
        state = self._state()
        self.say(f"[{self._done + self._failed}/{self._total}] {run.label}: {what} ({state})")
        self._show(state)

    def _show(self, state: str) -> None:
        self._ticked = time.monotonic()
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done + self._failed, state=state)

    def _state(self) -> str:
        running = sum(locks.holder(run.folder.lock) is not None for run in self._left.values())
        left = len(self._left) - running
        return f"{self._done} done, {running} running, {self._failed} failed, {left} left{self._time_left()}"

    def _time_left(self) -> str:
        return _total([self._estimate.seconds(run.cfg) for run in self._left.values()], self._parallel)


def _medians(timings: Sequence[Timing]) -> str:
    train = [timing["train_seconds"] for timing in timings]
    evaluation = [timing["eval_seconds"] for timing in timings]
    total = [timing["total_seconds"] for timing in timings]
    rest = [t - a - b for t, a, b in zip(total, train, evaluation, strict=True)]
    parts = {"training": train, "evaluation": evaluation, "the rest": rest}
    return ", ".join(f"{statistics.median(seconds):.2f} s {part}" for part, seconds in parts.items()) + " (medians)"


def _runs(runs: Sequence[Planned]) -> str:
    return f"{len(runs)} run" + "s" * (len(runs) != 1)


def _total(seconds: Sequence[float | None], parallel: int | None) -> str:
    """Return `, about 1:23`; runs of unknown length count as the mean of the others."""
    known = [s for s in seconds if s is not None]
    if not known:
        return ", for which no finished run of the same encoder gives an estimate" if seconds else ""
    at_once = min(parallel or 1, len(seconds))
    return f", about {clock(sum(known) / len(known) * len(seconds) / at_once)}" + (
        f" ({at_once} at once)" if at_once > 1 else "" if parallel else " one after another"
    )


def _score(result: Result) -> str:
    score = "NaN" if result["score"] is None else f"{result['score']:.4f}"
    return f"{score} {result['primary_metric']}" + (", collapsed" if result["collapsed"] else "")
