"""Makes W&B's own offline runs of journals, in a process beside the training: `python -m glue_pool.on_wandb.writer`.

One writer a folder is at work at a time, at the lowest priority. It goes on until nothing is pending that is over, so
a run that ends meanwhile needs none of its own.
"""

import fcntl
import glob
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glue_pool.on_wandb import journal
from glue_pool.on_wandb.journal import Told
from glue_pool.progress import say
from glue_pool.schema import TrackingConfig

LOWEST = 19  # os.nice's
STARTED = "started"  # beside a `.wandb` file: when its attempt began; W&B's own time is that of writing
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


def write(folder: Path, *, wait: bool = False) -> dict[Path, str]:
    """Write all that is pending in a `tracking.dir` and over, the oldest first; return what is left, and why.

    wait: for a writer that is at work; else everything is left to it. A journal that can't be written stays, with a
    log beside it.
    """
    there, failed = journal.pending(folder), dict[Path, str]()
    while _next(there, failed):
        with _alone(folder, wait=wait) as alone:
            if not alone:
                break
            while told := _next(there, failed):
                if not _written(folder, told):
                    failed[told.file] = f"can't be made a W&B run; {told.file.stem}.log beside it says why"
    if wait:
        with _alone(folder, wait=True):
            pass
    return journal.look(there)[1] | failed


def write_below(outputs: Path) -> None:
    """Write what is pending anywhere below a folder, wait for writers at work, and say what is left and why.

    The folder may be W&B's own, too.
    """
    top = Path(os.path.abspath(outputs))
    for there in sorted([top, *top.rglob("pending")]):
        if there.parts[-2:] == ("wandb", "pending"):
            for file, why in sorted(write(there.parents[1], wait=True).items()):
                say(f"{file}: {why}", sys.stderr)


def _next(there: Path, failed: Container[Path]) -> Told | None:
    over, _ = journal.look(there)
    return next((told for told in over if told.file not in failed), None)


def _written(folder: Path, told: Told) -> bool:
    """Make W&B's own run of a journal, which goes; return whether that could be done. If not, no half of it stays."""
    from glue_pool.on_wandb import live, wandb_file

    log, done, run = told.file.with_suffix(".log"), False, None
    before = _attempts(folder, told)
    try:
        about = dict(told.init)
        cfg = TrackingConfig(mode="offline", project=about.pop("project"), entity=about.pop("entity"), dir=str(folder))
        _wait_for_another_second(folder, told)
        run = live.start(cfg, folder, about)
        if run is None:
            raise RuntimeError("W&B did not start")
        (run.file.parent / STARTED).write_text(str(told.started), encoding="utf-8")
        for what, value, at in told.things():
            run.tell(what, value, at)
        wandb_file.ended(run.file, PATIENCE_SECONDS)
        told.file.unlink(missing_ok=True)
        done = True
    except Exception:  # whatever W&B's service, or the disk, says
        with suppress(OSError):
            log.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        if not done:
            with suppress(Exception):  # else W&B goes on writing a log where the folder was
                if run:
                    run.tell("finish", 1)
            live.forget_service()
            for half in _attempts(folder, told) - before:
                shutil.rmtree(half, ignore_errors=True)
    if done:
        with suppress(OSError):
            log.unlink()
    return done


def started(file: Path) -> float | None:
    """Return when the attempt began whose `.wandb` file was made of a journal; None of another, or if that is lost."""
    try:
        return float((file.parent / STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _wait_for_another_second(folder: Path, told: Told) -> None:
    """Wait where an attempt at the run was started in this second: W&B's folders are named by it and the run alone."""
    while _attempts(folder, told, time.strftime("%Y%m%d_%H%M%S")):
        time.sleep(0.1)


def _attempts(folder: Path, told: Told, second: str = "*") -> set[Path]:
    """Return W&B's folders of a journal's run."""
    return set((folder / "wandb").glob(f"offline-run-{second}-{glob.escape(str(told.init.get('id')))}"))


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
