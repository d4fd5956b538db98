"""A sweep: every run that isn't done yet, through a launcher, until each has a result or has failed."""

import json
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Protocol, Self

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from glue_pool import locks, results, sweeps
from glue_pool.data import load, sources
from glue_pool.errors import Held, Interrupted, TrainingFailed, UserError
from glue_pool.models import shape
from glue_pool.result import objective
from glue_pool.schema import Config
from glue_pool.sweeps.attempt import Ending
from glue_pool.sweeps.estimate import Estimate
from glue_pool.sweeps.plan import Planned, naming, plan
from glue_pool.sweeps.screen import Screen, dry_run

HELD_SECONDS = 1.0  # between two looks at the runs that other processes hold


class Backend(AbstractContextManager["Backend"], Protocol):
    """Where runs are carried out: worker processes, Slurm, Ray.

    What ends inside the `with` is seen; on leaving it nothing goes on that was started in it, but for Slurm's jobs.
    """

    @property
    def parallel(self) -> int | None:
        """How many runs go on at once, if that is known."""

    @property
    def about(self) -> str | None:
        """Why so many, for the person who watches."""

    def __enter__(self) -> Self: ...

    def submit(self, run: Planned) -> None:
        """Carry out a run as soon as there is room, in `glue_pool.sweeps.attempt`."""

    def endings(self) -> Iterator[tuple[Planned, Ending]]:
        """Return the runs that ended since the last call, after waiting a moment."""


class WorkerDied(Exception):
    """The process that worked on a run ended without a word, twice."""


def run_sweep(
    loader: ConfigLoader,
    config: DictConfig,
    jobs: Sequence[Sequence[str]],
    backend_for: Callable[[Sequence[Config]], Backend],
) -> list[float | None]:
    """Run those of a sweep's jobs that aren't done, and return what a search maximises, None where there is none.

    jobs: the overrides of each. backend_for: takes the configs of those that are left to where they are carried out.
    With `dry_run=true` it only says what it would do. Failures are added to `glue_pool.sweeps.failures`.
    Raises UserError, before anything runs, if any job's config can't be used.
    """
    runs = plan(loader, config, jobs)
    unique = list({run.folder.path: run for run in runs}.values())
    _check_encoders(unique)
    _check_rows(unique)
    estimate = Estimate.from_folder(Path(config.output_root))
    left = [run for run in unique if run.is_left()]
    backend = backend_for([run.cfg for run in left])
    if config.dry_run:
        dry_run(unique, estimate, backend.parallel, backend.about)
    else:
        if left:
            results.check_output_root(left[0].cfg, left[0].folder)
        with _interruptible(), Screen(unique, estimate, backend.parallel, backend.about) as screen:
            failed = _Sweep(backend, screen).run(unique)
            screen.end(failed)
            sweeps.failures |= failed
        if left and (kept := [run.folder.path for run in unique if run.cfg.save_model and run.result()]):
            from glue_pool.saved import card

            card.renew(kept)  # those of the first seeds don't know of the last
    return [objective(result) if (result := run.result()) else None for run in runs]


def _check_encoders(runs: Sequence[Planned]) -> None:
    """Raise UserError, which names the run, for one that is left and does not fit its encoder's sizes."""
    for run in runs:
        if run.is_left():
            with naming(run.label):
                shape.check(run.cfg)


def _check_rows(runs: Sequence[Planned]) -> None:
    """Read every data set of the user's own that runs are left on, so that a slip in it ends the sweep at once.

    Raises UserError, which names the task where there are several. The Hub's data sets are left to the runs.
    """
    of_rows: dict[str, list[Planned]] = defaultdict(list)
    for run in runs:
        if run.cfg.rows_from in ("files", "local"):
            of_rows[json.dumps([sources.content_id(run.cfg.data, run.cfg.task), asdict(run.cfg.task)])].append(run)
    for alike in of_rows.values():
        if any(run.is_left() for run in alike):
            try:
                load.check([run.cfg for run in alike])
            except UserError as error:
                before = f"task={alike[0].cfg.task.name}: " if len({run.cfg.task.name for run in runs}) > 1 else ""
                raise UserError(f"{before}{error}", key=error.key) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGUSR2 end a sweep as Ctrl-C does: its runs get the time to leave a checkpoint."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        by = signal.Signals(number)
        raise Interrupted(by, f"interrupted by {by.name}; the same command goes on")

    earlier = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


class _Sweep:
    """The state of a sweep: what goes on, what lost its process once, what others hold, what failed."""

    def __init__(self, backend: Backend, screen: Screen) -> None:
        self._backend, self._screen = backend, screen
        self._going_on = 0
        self._died: set[str] = set()
        self._dead: dict[str, str] = {}  # what died twice and is not yet written down, by the last message
        self._held: list[Planned] = []
        self._failed: dict[str, str] = {}

    def run(self, runs: Sequence[Planned]) -> dict[str, str]:
        """Run what isn't done, retry once what lost its process, wait for what others work on; return what failed."""
        left = [run for run in runs if run.is_left()]
        if not left:
            return {}
        with self._backend:
            for run in left:
                self._submit(run)
            while self._going_on or self._held:
                for run, ending in self._backend.endings():
                    self._going_on -= 1
                    self._take(run, ending)
                if not self._going_on:
                    self._look_at_held()
                self._screen.tick()
        return self._failed

    def _submit(self, run: Planned) -> None:
        self._going_on += 1
        self._backend.submit(run)

    def _take(self, run: Planned, ending: Ending) -> None:
        if ending.kind == "held":
            self._screen.say(f"{run.label}: {ending.message}; the others go on")
            self._held.append(run.unforced())
        elif ending.kind == "over":
            self._close(run, ending.message)
        elif run.folder.key not in self._died:
            self._died.add(run.folder.key)
            self._screen.say(f"{run.label}: {ending.message}; once more")
            self._submit(run.again())
        else:
            self._record_death(run.again(), str(ending.message))

    def _close(self, run: Planned, error: str | None = None) -> None:
        result = run.result()
        if error is None and result:
            self._screen.done(run, result)
        else:
            error = error or "its result is not there"
            self._failed[run.label] = f"{error} ({run.folder.path})"
            self._screen.failed(run, error)

    def _record_death(self, run: Planned, message: str) -> None:
        """Write down that a run's process died, since it could not do so itself; unless there is a result."""
        try:
            with locks.hold(run.folder.lock):
                if run.result() and not run.cfg.force:  # it died when it was done, or another process came in between
                    return self._close(run)
                if not run.result():
                    about = results.describe(run.cfg, run.folder.key)
                    with suppress(TrainingFailed):  # a full disk
                        run.folder.record_failure(run.cfg, results.failed(about, WorkerDied(message)))
                self._close(run, message)
        except Held as held:  # by the process that is dying, for one
            self._dead[run.folder.key] = message
            self._take(run, Ending("held", str(held)))

    def _look_at_held(self) -> None:
        """Take in what other processes have finished, and run what they left."""
        held, self._held = self._held, []
        for run in held:
            try:
                with locks.hold(run.folder.lock):
                    done = run.result()
            except Held:
                self._held.append(run)
                continue
            if done:
                self._close(run)
            elif message := self._dead.pop(run.folder.key, None):
                self._record_death(run, message)
            else:
                self._submit(run)
        if self._held and not self._going_on:
            time.sleep(HELD_SECONDS)
