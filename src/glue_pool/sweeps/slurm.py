"""Runs as Slurm jobs, through submitit: one that is preempted or runs out of time is requeued and goes on.

A job and the process that submitted it meet in a folder, so nothing is lost when either of them ends: `<ticket>.begun`
says that a job has begun a run, `<ticket>.json` how it ended.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glue_pool import results, schema
from glue_pool.errors import UserError
from glue_pool.sweeps import remote
from glue_pool.sweeps.attempt import LESS_MEMORY, Ending, attempt
from glue_pool.sweeps.plan import Planned

POLL_SECONDS = 1.0
ACCOUNTING_SECONDS = (2.0, 60.0)  # between two calls of sacct, at first and at most
SETTLE_SECONDS = 5.0  # a state has to last so long: a job that is being requeued passes through others
ARRAY_JOBS = 1000  # Slurm's own limit, if MaxArraySize is not set
LOG_LINES = 3  # of a job that began no run, in what is said of it
ENDED = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED RECONFIG_FAIL "
    "REVOKED TIMEOUT".split()
)


@dataclass(frozen=True)
class JobRuns:
    """What a Slurm job does: its runs, one after another; those that it had ended before it was requeued are left.

    folder: where it says how they end.
    """

    folder: Path

    def __call__(self, runs: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Carry out runs, given as tickets and plain configs."""
        threads = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE", "1")
        for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # torch, and the tokenizers
            os.environ.setdefault(name, threads)
        for ticket, config in runs:
            ending, begun = ending_file(self.folder, ticket), begun_file(self.folder, ticket)
            if ending.exists():
                continue
            if begun.exists():
                config = _again(config)
            begun.touch()
            results.write_json(ending, asdict(attempt(config)))

    def checkpoint(self, runs: Sequence[tuple[int, Mapping[str, Any]]]) -> Any:
        """Return what submitit is to requeue: the same, since the folder tells what is done."""
        return remote.library("slurm").helpers.DelayedSubmission(self, runs)


def _again(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run that goes on: a forced one is not to begin anew once more."""
    cfg = schema.from_plain(config)
    return results.plain(Planned(cfg, results.find(cfg), "").again().cfg)


def begun_file(folder: Path, ticket: int) -> Path:
    """Return the file that is there once a job has begun a run."""
    return folder / f"{ticket}.begun"


def ending_file(folder: Path, ticket: int) -> Path:
    """Return the file that is there once a run has ended, and says how."""
    return folder / f"{ticket}.json"


@dataclass
class _Job:
    """A submitted job, the tickets of its runs, and since when Slurm calls it ended."""

    id: str
    log: Path
    tickets: Sequence[int]
    ended_at: float | None = None


class SlurmJobs:
    """Slurm jobs: what is submitted together becomes one job array.

    runs_per_job: so many runs one after another in a job; max_num_timeout: how often a job that ran out of time is
    requeued; parameters: of submitit's SlurmExecutor, None for Slurm's own default.
    """

    parallel = about = None

    def __init__(
        self, logs: Path, parameters: Mapping[str, Any], *, runs_per_job: int = 1, max_num_timeout: int = 3
    ) -> None:
        self._logs, self._folder = logs.absolute(), logs.absolute() / "runs"
        given = {name: value for name, value in parameters.items() if value is not None}
        more = {"requeue": True, **given.pop("additional_parameters", {})}
        self._parameters = {"job_name": "glue_pool", "stderr_to_stdout": True, "additional_parameters": more, **given}
        self._runs_per_job, self._max_num_timeout = runs_per_job, max_num_timeout
        self._waiting: list[Planned] = []
        self._runs: dict[int, Planned] = {}  # by ticket, in order of submission
        self._jobs: list[_Job] = []
        self._tickets = 0
        self._news_at = self._asked_at = 0.0

    def __enter__(self) -> Self:
        for command in ("sbatch", "srun", "scontrol", "sacct"):
            if shutil.which(command) is None:
                raise UserError(f"hydra/launcher=slurm: there is no {command} here; a login node has Slurm's commands")
        _sacct([])
        submitit = remote.library("slurm")
        self._executor = submitit.SlurmExecutor(self._logs, max_num_timeout=self._max_num_timeout)
        try:
            self._executor.update_parameters(**self._parameters)
        except (TypeError, ValueError) as error:
            raise UserError(f"hydra.launcher: {error}") from None
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave Slurm's jobs alone, and say so."""
        if left := sorted({job.id.partition("_")[0] for job in self._jobs}, key=int):
            ids = " ".join(left)
            said = f"Slurm's jobs go on: the same command later takes in what they did; scancel {ids} ends them"
            print(said, file=sys.stderr)

    def submit(self, run: Planned) -> None:
        """Put a run into the next job array."""
        self._waiting.append(run)

    def endings(self) -> Iterator[tuple[Planned, Ending]]:
        """Submit what waits, wait a moment, and return the runs that ended since the last call."""
        self._submit_waiting()
        time.sleep(POLL_SECONDS)
        yield from self._ended()
        yield from self._lost()

    def _submit_waiting(self) -> None:
        """Submit all that waits, as few arrays."""
        groups, tickets = [], []
        for start in range(0, len(self._waiting), self._runs_per_job):
            group = self._waiting[start : start + self._runs_per_job]
            tickets.append(range(self._tickets, self._tickets + len(group)))
            self._tickets += len(group)
            self._runs |= zip(tickets[-1], group, strict=True)
            groups.append([(t, remote.portable(run.cfg)) for t, run in zip(tickets[-1], group, strict=True)])
        self._waiting = []
        for start in range(0, len(groups), ARRAY_JOBS):
            jobs = self._submit(groups[start : start + ARRAY_JOBS])
            for job, mine in zip(jobs, tickets[start:], strict=False):
                self._jobs.append(_Job(job.job_id, job.paths.stdout, mine))
            self._news_at = time.monotonic()

    def _submit(self, groups: Sequence[Any]) -> list[Any]:
        errors = remote.library("slurm").core.utils
        try:
            with _outside_a_job():
                return list(self._executor.map_array(JobRuns(self._folder), groups))
        except (errors.FailedJobError, errors.FailedSubmissionError) as error:
            said = [line for line in str(error).splitlines() if line.startswith("sbatch:")]
            raise UserError(f"hydra/launcher=slurm: {' '.join(said) or error}") from None

    def _ended(self) -> Iterator[tuple[Planned, Ending]]:
        for name in os.listdir(self._folder):
            ticket, _, kind = name.partition(".")
            if kind == "json" and int(ticket) in self._runs:
                ending = Ending(**json.loads((self._folder / name).read_text(encoding="utf-8")))
                run = self._runs.pop(int(ticket))
                yield run, remote.seen(run, ending)
        self._jobs = [job for job in self._jobs if self._left(job)]

    def _left(self, job: _Job) -> list[int]:
        return [ticket for ticket in job.tickets if ticket in self._runs]

    def _lost(self) -> Iterator[tuple[Planned, Ending]]:
        """Return the runs whose jobs ended without a word, by Slurm's accounting."""
        now, (first, most) = time.monotonic(), ACCOUNTING_SECONDS
        if not self._jobs or now - self._asked_at < min(max((now - self._news_at) / 2, first), most):
            return
        self._asked_at = now
        states = _sacct(sorted({job.id.partition("_")[0] for job in self._jobs}, key=int))
        yield from self._ended()  # what ended while sacct was asked is not lost
        for job in list(self._jobs):
            state = states.get(job.id, "UNKNOWN")
            if state not in ENDED:
                job.ended_at = None
            elif job.ended_at is None:
                job.ended_at = self._news_at = now  # look again soon
            elif now - job.ended_at >= SETTLE_SECONDS:
                yield from self._lost_with(job, state)

    def _lost_with(self, job: _Job, state: str) -> Iterator[tuple[Planned, Ending]]:
        """Return the run that a job was at, or all of its runs if it began none; the others go into another job."""
        self._jobs.remove(job)
        left = self._left(job)
        begun = [ticket for ticket in left if begun_file(self._folder, ticket).exists()]
        memory = f" ({LESS_MEMORY})" if state == "OUT_OF_MEMORY" else ""
        log = f"{job.log}{'' if begun else _last_lines(job.log)}"
        why = f"its Slurm job {job.id} ended as {state}{memory}; its log is {log}"
        for ticket in left:
            run = self._runs.pop(ticket)
            if state == "COMPLETED" and not run.is_left():
                yield run, Ending("over")
            elif ticket in (begun or left):
                yield run, Ending("died", why)
            else:
                self.submit(run)


def _sacct(ids: Sequence[str]) -> dict[str, str]:
    """Return the states of jobs and of arrays' jobs, as `sacct` has them; without ids, only see that it answers."""
    command = ["sacct", "-X", "-o", "JobID,State,NodeList", "--parsable2"]
    for job in ids:
        command += ["-j", job]
    called = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if called.returncode == 0:
        watcher = remote.library("slurm").slurm.slurm.SlurmInfoWatcher()
        return {job: info["State"].split()[0] for job, info in watcher.read_info(called.stdout).items()}
    if ids:
        return {}  # the accounting database is away; it is asked again
    said = (called.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise UserError(
        f"hydra/launcher=slurm: sacct does not answer ({said}), and without Slurm's accounting a job that died is "
        "never noticed; ask the cluster's administrator for slurmdbd"
    )


def _last_lines(log: Path) -> str:
    try:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return " (not there)"
    return "".join(f"\n  {line}" for line in said)


@contextmanager
def _outside_a_job() -> Iterator[None]:
    """Hide from sbatch, and so from the jobs, that this process is in a Slurm job itself."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("SLURM_") and name != "SLURM_CONF"}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
