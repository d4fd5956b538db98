"""Makes W&B's own offline runs of journals, in a process beside the training: `python -m glue_pool.on_wandb.writer`.

One writer a folder is at work at a time, at the lowest priority. It goes on until nothing is pending that is over, so
a run that ends meanwhile needs none of its own.
"""

import fcntl
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glue_pool.on_wandb import journal
from glue_pool.on_wandb.journal import Told
from glue_pool.progress import say
from glue_pool.schema import TrackingConfig

LOWEST = 19  # os.nice's
PATIENCE_SECONDS = 60.0  # with W&B's service, which is as low
ENDS_WITH_JOB = "SLURM_JOB_ID"  # in whose environment a job's end ends every process that it started

_started: list[subprocess.Popen[bytes]] = []  # by this process; each is waited for when it has ended


def start(folder: Path) -> None:
    """Let a process of its own write what is pending in a `tracking.dir`, unless one is at work that will.

    Returns at once, but where the process would be killed with this one, or can't be started: there it is waited for.
    """
    _started[:] = [process for process in _started if process.poll() is None]
    with _alone(folder, wait=False) as alone:
        if not alone:  # whoever writes looks again after it has let go
            return
    command = [sys.executable, "-m", "glue_pool.on_wandb.writer", str(folder)]
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    except OSError:  # no memory, no more processes
        write(folder)
        return
    if ENDS_WITH_JOB in os.environ:
        process.wait()
    else:
        _started.append(process)


def write(folder: Path, *, wait: bool = False) -> set[Path]:
    """Write all that is pending in a `tracking.dir` and over, the oldest first; return what could not be written.

    wait: for a writer that is at work; else everything is left to it. A journal that can't be written stays, with a
    log beside it.
    """
    there, failed = journal.pending(folder), set[Path]()
    while any(told.file not in failed for told in journal.over(there)):
        with _alone(folder, wait=wait) as alone:
            if not alone:
                break
            while left := [told for told in journal.over(there) if told.file not in failed]:
                failed |= {told.file for told in left if not _written(folder, told)}
    if wait:
        with _alone(folder, wait=True):
            pass
    return failed


def write_below(outputs: Path) -> None:
    """Write what is pending anywhere below a folder, wait for writers at work, and say what could not be written."""
    for there in sorted(outputs.rglob("wandb/pending")):
        for file in sorted(write(there.parents[1], wait=True)):
            say(f"{file}: can't be made a W&B run; {file.stem}.log beside it says why", sys.stderr)


def _written(folder: Path, told: Told) -> bool:
    """Make W&B's own run of a journal, which goes; return whether that could be done."""
    from glue_pool.on_wandb import live, wandb_file

    log = told.file.with_suffix(".log")
    about = dict(told.init)
    cfg = TrackingConfig(mode="offline", project=about.pop("project"), entity=about.pop("entity"), dir=str(folder))
    _wait_for_another_second(folder, about["id"])
    try:
        run = live.start(cfg, folder, about)
        if run is None:
            raise RuntimeError("W&B did not start")
        for what, value, at in told.things():
            run.tell(what, value, at)
        wandb_file.ended(run.file, PATIENCE_SECONDS)
    except Exception:  # whatever W&B's service, or the disk, says
        with suppress(OSError):
            log.write_text(traceback.format_exc(), encoding="utf-8")
        live.forget_service()
        return False
    told.file.unlink()
    log.unlink(missing_ok=True)
    return True


def _wait_for_another_second(folder: Path, name: str) -> None:
    """Wait where an attempt at the run was started in this second: W&B's folders are named by it and the run alone."""
    while list((folder / "wandb").glob(f"offline-run-{time.strftime('%Y%m%d_%H%M%S')}-{name}")):
        time.sleep(0.1)


@contextmanager
def _alone(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of those who write in a `tracking.dir`; yield False where another has it, and is not waited for."""
    try:
        lock = (journal.pending(folder) / "lock").open("a", encoding="utf-8")
    except OSError:  # there is no such folder, or nobody can write in it
        yield True
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True


if __name__ == "__main__":
    os.nice(LOWEST)
    write(Path(sys.argv[1]))
