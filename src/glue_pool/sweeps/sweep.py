"""A sweep: every run that isn't done yet, through a launcher, until each has a result or has failed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Protocol, Self

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from glue_pool import locks, results, sweeps
from glue_pool.errors import Held, TrainingFailed
from glue_pool.sweeps.attempt import Ending
from glue_pool.sweeps.estimate import Estimate
from glue_pool.sweeps.plan import Planned, plan
from glue_pool.sweeps.screen import Screen, dry_run

HELD_SECONDS = 1.0  # between two looks at the runs that other processes hold
DEAD_LOOKS = 10  # at a run that a dead process holds


class Launcher(AbstractContextManager["Launcher"], Protocol):
    """Where runs are carried out: worker processes, Slurm, Ray.

    What ends inside the `with` is seen; on leaving it nothing goes on that was started in it, but for Slurm's jobs.
    """

    @property
    def parallel(self) -> int | None:
        """How many runs go on at once, if that is known."""

    def __enter__(self) -> Self: ...

    def submit(self, run: Planned) -> None:
        """Carry out a run as soon as there is room, in `glue_pool.sweeps.attempt`."""

    def endings(self) -> Iterator[tuple[Planned, Ending]]:
        """Return the runs that ended since the last call, after waiting a moment."""


class WorkerDied(Exception):
    """The process that worked on a run ended without a word, twice."""


def carry_out(
    loader: ConfigLoader, config: DictConfig, jobs: Sequence[Sequence[str]], launcher: Launcher
) -> list[float | None]:
    """Run those of a sweep's jobs that aren't done, and return the scores of all; None for a NaN and for a failure.

    jobs: the overrides of each. With `dry_run=true` it only says what it would do. Failures are added to
    `glue_pool.sweeps.failures`. Raises UserError, before anything runs, if any job's config can't be used.
    """
    runs = plan(loader, config, jobs)
    unique = list({run.folder.key: run for run in runs}.values())
    estimate = Estimate.from_folder(Path(config.output_root))
    if config.dry_run:
        dry_run(unique, estimate, launcher.parallel)
    else:
        with Screen(unique, estimate, launcher.parallel) as screen:
            failed = _Sweep(launcher, screen).carry_out(unique)
            screen.end(failed)
            sweeps.failures |= failed
    return [(run.result() or {}).get("score") for run in runs]


class _Sweep:
    """The state of a sweep: what goes on, what lost its process once, what others hold, what failed."""

    def __init__(self, launcher: Launcher, screen: Screen) -> None:
        self._launcher, self._screen = launcher, screen
        self._going_on = 0
        self._died: set[str] = set()
        self._held: list[Planned] = []
        self._failed: dict[str, str] = {}

    def carry_out(self, runs: Sequence[Planned]) -> dict[str, str]:
        """Run what isn't done, retry once what lost its process, wait for what others work on; return what failed."""
        left = [run for run in runs if run.is_left()]
        if not left:
            return {}
        with self._launcher:
            for run in left:
                self._submit(run)
            while self._going_on or self._held:
                for run, ending in self._launcher.endings():
                    self._going_on -= 1
                    self._take(run, ending)
                if not self._going_on:
                    self._look_at_held()
                self._screen.tick()
        return self._failed

    def _submit(self, run: Planned) -> None:
        self._going_on += 1
        self._launcher.submit(run)

    def _take(self, run: Planned, ending: Ending) -> None:
        if ending.kind == "held":
            self._screen.say(f"{run.label}: {ending.message}; the others go on")
            self._held.append(run.unforced())
        elif ending.kind == "died" and run.folder.key not in self._died:
            self._died.add(run.folder.key)
            self._screen.say(f"{run.label}: {ending.message}; once more")
            self._submit(run.again())
        else:
            if ending.kind == "died":
                _record_death(run, ending.message)
            self._close(run, ending.message)

    def _close(self, run: Planned, error: str | None = None) -> None:
        if error is None:
            self._screen.done(run, run.folder.read() or {})
        else:
            self._failed[run.label] = f"{error} ({run.folder.path})"
            self._screen.failed(run, error)

    def _look_at_held(self) -> None:
        """Take in what other processes have finished, and run what they left."""
        held, self._held = self._held, []
        for run in held:
            if run.result():
                self._close(run)
                continue
            try:
                with locks.hold(run.folder.lock):
                    pass
            except Held:
                self._held.append(run)
            else:
                self._submit(run)
        if self._held and not self._going_on:
            time.sleep(HELD_SECONDS)


def _record_death(run: Planned, message: str | None) -> None:
    """Write down that a run's process died, since it could not do so itself."""
    about = results.describe(run.cfg, run.folder.key)
    for _ in range(DEAD_LOOKS):
        try:
            with suppress(TrainingFailed), locks.hold(run.folder.lock):
                run.folder.record_failure(run.cfg, results.failed(about, WorkerDied(message)))
            return
        except Held:  # by someone who came in between, or still by the dead one, whose parent has not taken note
            time.sleep(HELD_SECONDS)
