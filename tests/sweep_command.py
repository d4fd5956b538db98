"""What the tests of launchers share: a sweep's command in a process of its own, and what its runs leave on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from glue_pool import locks
from test_train import TINY

SECONDS = 240
RUN = (*TINY, "pooling=mean", "tracking=none", "data.train_rows=96", "train.batch_size=32", "train.max_steps=60")
# twenty epochs: some seconds, for a test on a busy machine to find it at work after the first
ENDLESS = "train.max_steps=1000000"  # for what is to be killed, however late


@dataclass
class Sweep:
    """A place in which sweeps are run.

    command: what stands before Python's own, and what stands after it.
    """

    folder: Path
    before: Sequence[str] = ()
    launcher: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a sweep of tiny runs."""
        self.folder.mkdir(exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.environment}
        command = [*self.before, sys.executable, "-m", "glue_pool.train", "-m", "output_root=outputs", *RUN]
        return subprocess.Popen(
            [*command, *self.launcher, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a sweep of tiny runs; return its exit code and what it printed."""
        return finish(self.start(*arguments))

    def path(self, seed: int) -> Path | None:
        """Return the folder of the run of a seed, if it is there; of several, the one that went well."""
        folders = sorted(self.outputs.glob(f"rte/mean/*/*/seed={seed}-*"), key=lambda f: self._status(f) == "completed")
        return folders[-1] if folders else None

    def result(self, seed: int) -> dict[str, Any]:
        folder = self.path(seed)
        return json.loads((folder / "result.json").read_text()) if folder else {}

    def predictions(self, seed: int) -> Any:
        folder = self.path(seed)
        assert folder
        return pq.read_table(folder / "predictions.parquet")

    def wait_for_first_epoch(self, seed: int, other_than: int | None = None) -> int:
        """Return the process that works on the run of a seed, once an epoch of it is over; not this one again."""

        def busy() -> int | None:
            folder = self.path(seed)
            if not folder or not (folder / "history.jsonl").exists() or not (folder / "history.jsonl").read_text():
                return None
            for lock in self.outputs.glob(f".locks/{folder.name.partition('-')[2]}*.lock"):
                if holder := locks.holder(lock):
                    pid = int(holder.split()[1])
                    return None if pid == other_than else pid
            return None

        return int(wait_for(busy))

    def logs(self) -> str:
        """Return all that runs printed."""
        return "".join(log.read_text() for log in sorted(self.outputs.glob(".sweeps/*/*")) if log.suffix in _LOGS)

    def _status(self, folder: Path) -> str | None:
        try:
            return str(json.loads((folder / "result.json").read_text())["status"])
        except OSError:
            return None


_LOGS = (".log", ".out")


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a sweep; return its exit code and what it printed."""
    try:
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, said


def wait_for(condition: Callable[[], Any]) -> Any:
    """Return what a condition gives as soon as it gives anything."""
    until = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < until, f"{condition} did not come about"
        time.sleep(0.05)
    return found


def kill(pid: int) -> None:
    """End a process as the kernel does when memory runs out."""
    os.kill(pid, signal.SIGKILL)
