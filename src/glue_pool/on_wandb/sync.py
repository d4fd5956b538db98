"""Uploads offline W&B runs, each of them once.

What offline runs wrote down for W&B becomes W&B's own files first, if it isn't yet (`glue_pool.on_wandb.writer`). A run
that was killed and started again has one folder an attempt, all with its W&B id. Of those that are over, the one that
began last holds the whole run, whenever W&B's file was made of it: it alone is uploaded, if no other was before. An
upload that breaks off leaves no mark, and the next one sends that run again, under its id.
"""

import fcntl
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_pool.disk import missing
from glue_pool.errors import Failed, Held, UserError
from glue_pool.on_wandb import wandb_file, writer
from glue_pool.progress import say

UPLOAD, BEFORE, NOT_OVER, OLDER = "to upload", "uploaded before", "not over", "older attempt"


@dataclass(frozen=True)
class Attempt:
    """One `.wandb` file: its run's name, group and state (finished, failed, or why it can't be told)."""

    file: Path
    name: str
    group: str
    state: str
    started: float

    @property
    def over(self) -> bool:
        """Whether the run came to an end, a good one or a bad one."""
        return self.state in ("finished", "failed")


def sync(outputs: Path, *, upload: bool) -> None:
    """Say what below a folder of results is to be uploaded, or upload it.

    Raises UserError if there is no such folder, Held if another upload from it is going on, and in the end Failed if
    something could not be uploaded.
    """
    if not os.path.isdir(outputs):
        raise UserError(f"{outputs}: {missing(outputs)}")
    writer.write_below(outputs)
    if not upload:
        report(plan(outputs))
        return
    with alone(outputs):
        planned = plan(outputs)
        report(planned)
        failed = [attempt for attempt, fate in planned if fate == UPLOAD and not arrived(attempt)]
    if failed:
        raise Failed


def plan(outputs: Path) -> list[tuple[Attempt, str]]:
    """Return every attempt below a folder with its fate, run by run, the oldest first."""
    runs: dict[str, list[Path]] = defaultdict(list)
    for file in outputs.rglob("run-*.wandb"):
        runs[file.name].append(file)  # it has the W&B id
    planned = [fate for files in runs.values() for fate in fates(files)]
    return sorted(planned, key=lambda fate: fate[0].started)


def fates(files: Sequence[Path]) -> Iterator[tuple[Attempt, str]]:
    """Yield each attempt at one run with what is to become of it."""
    if all(uploaded(file) for file in files):
        yield from ((unread(file, "uploaded"), BEFORE) for file in files)
        return
    *older, newest = sorted(map(read, files), key=lambda attempt: (attempt.over, attempt.started))
    before = [attempt for attempt in (*older, newest) if uploaded(attempt.file)]
    yield from ((attempt, BEFORE if before else OLDER) for attempt in older)
    if newest in before or any(attempt.state == "finished" for attempt in before):
        yield newest, BEFORE
    else:  # if something was uploaded it had failed: this attempt holds the whole run, and takes its place
        yield newest, UPLOAD if newest.over else NOT_OVER


def uploaded(file: Path) -> bool:
    """Whether `wandb sync` marked a file as uploaded, or its run was online and so uploaded itself."""
    return mark(file).exists() or not file.parent.name.startswith("offline-")


def mark(file: Path) -> Path:
    """Return the file that `wandb sync` leaves beside one that it uploaded."""
    return file.with_suffix(".wandb.synced")


def unread(file: Path, state: str) -> Attempt:
    """Return what is known of a file without its content."""
    return Attempt(file, file.parent.name, "-", state, file.stat().st_mtime)


def read(file: Path) -> Attempt:
    """Return what a `.wandb` file says of itself; nothing it holds or lacks is an error."""
    try:
        records = wandb_file.read(file)
    except (OSError, ValueError) as error:
        say(str(error), sys.stderr)
        return unread(file, "damaged")
    if not any(record.HasField("run") for record in records):
        return unread(file, "nothing was written")
    run = wandb_file.run(records)
    started = writer.started(file) or run.start_time.ToNanoseconds() / 1e9
    return Attempt(file, run.display_name, run.run_group, state(records), started)


def state(records: Sequence[Any]) -> str:
    """Return how a run ended, or that it has not."""
    code = wandb_file.exit_code(records)
    if code is None:
        return "running or killed"
    if wandb_file.preempted(records):
        return "stopped or killed"
    return "failed" if code else "finished"


def report(planned: Sequence[tuple[Attempt, str]]) -> None:
    """Print what is to be uploaded and what is not over, a line each, and how many there are of everything."""
    for attempt, fate in planned:
        if fate != BEFORE:
            about = f"{fate}: {attempt.name}, group {attempt.group}, {attempt.state} ({attempt.file.parent})"
            say(about, sys.stdout)
    counts = Counter(fate for _, fate in planned)
    say(", ".join(f"{counts[fate]} {fate}" for fate in (UPLOAD, BEFORE, NOT_OVER, OLDER)), sys.stdout)


def arrived(attempt: Attempt) -> bool:
    """Let `wandb sync` upload an attempt's folder, and return whether all of it arrived.

    wandb 0.31 marks a run as synced, and exits with 0, even if its rows were refused: then the mark goes again.
    """
    command = [sys.executable, "-m", "wandb", "sync", str(attempt.file.parent)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if "ERROR" in done.stderr:
        mark(attempt.file).unlink(missing_ok=True)
    if not uploaded(attempt.file):
        say(f"failed: {attempt.name}\n{done.stdout}{done.stderr}", sys.stderr)
        return False
    say(f"uploaded: {attempt.name}", sys.stdout)
    return True


@contextmanager
def alone(outputs: Path) -> Iterator[None]:
    """Keep a second upload from the same folder out: both would find the same runs to upload."""
    descriptor = os.open(outputs, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(f"another upload from {outputs} is going on") from None
        yield
    finally:
        os.close(descriptor)
