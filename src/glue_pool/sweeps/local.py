"""Runs on this machine, in worker processes that stay warm: one that dies costs its run, never the sweep."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from glue_pool import results
from glue_pool.sweeps.attempt import LESS_MEMORY, Ending
from glue_pool.sweeps.plan import Planned
from glue_pool.sweeps.room import Room

POLL_SECONDS = 0.2
END_SECONDS = 30.0  # in which a worker may leave a checkpoint
LOG_LINES = 3  # of a dead worker's log, in what is said of it


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    endings: IO[str]
    log: Path
    run: Planned | None = None

    def start(self, run: Planned) -> None:
        self.run = run
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died while it had nothing to do: the next look at it finds out
            self.process.stdin.write(json.dumps(results.plain(run.cfg)) + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Tell it that nothing more comes: it ends, a run that goes on as by SIGTERM."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self) -> None:
        """Wait until it has ended, or let it."""
        self.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.endings.close()

    def cause_of_death(self) -> str:
        code = self.process.wait()
        how = f"exit code {code}"
        if code < 0:
            memory = f", which is also what a machine out of memory sends ({LESS_MEMORY})"
            memory = memory if -code == signal.SIGKILL else ""
            how = f"{signal.Signals(-code).name}{memory}"
        said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        return f"its worker ended by {how}" + ("".join(f"\n  {line}" for line in said) if code > 0 else "")


class Workers:
    """Some worker processes; the first starts with the first run, another only where there is a run for it."""

    def __init__(self, logs: Path, room: Room) -> None:
        self.parallel, self.about = room.workers, str(room)
        self._logs = logs
        self._environments = [_environment(place, room) for place in range(room.workers)]
        self._workers: list[_Worker | None] = [None] * room.workers
        self._waiting: deque[Planned] = deque()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers; one with a run gets the time to leave a checkpoint."""
        alive = [worker for worker in self._workers if worker]
        for worker in alive:
            worker.close()
        for worker in alive:
            worker.end()
        self._selector.close()

    def submit(self, run: Planned) -> None:
        """Let a worker take the run as soon as one is free."""
        self._waiting.append(run)

    def endings(self) -> Iterator[tuple[Planned, Ending]]:
        """Return the runs that ended since the last call, after waiting for one for some tenths of a second."""
        self._hand_out()
        for key, _ in self._selector.select(POLL_SECONDS):
            worker: _Worker = key.data
            run, line = worker.run, worker.endings.readline()
            worker.run = None
            if line and run:
                ending = Ending(**json.loads(line))
                if ending.spent:
                    self._retire(worker)
                yield run, ending
            else:
                self._retire(worker)
                if run:
                    yield run, Ending("died", worker.cause_of_death())
        self._hand_out()

    def _hand_out(self) -> None:
        for place, worker in enumerate(self._workers):
            if not self._waiting:
                return
            if worker is None:
                worker = self._workers[place] = self._new(place)
            if worker.run is None:
                worker.start(self._waiting.popleft())

    def _new(self, place: int) -> _Worker:
        read, write = os.pipe()
        log = self._logs / f"worker-{place}.log"
        with log.open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "glue_pool.sweeps.worker", str(write)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[write],
                env=self._environments[place],
                encoding="utf-8",
            )
        os.close(write)
        worker = _Worker(process, os.fdopen(read, encoding="utf-8"), log)
        self._selector.register(worker.endings, selectors.EVENT_READ, worker)
        return worker

    def _retire(self, worker: _Worker) -> None:
        """Let another worker take the place of one that is dead, or unfit for another run."""
        self._selector.unregister(worker.endings)
        self._workers[self._workers.index(worker)] = None
        worker.end()


def _environment(place: int, room: Room) -> Mapping[str, str]:
    """Return a worker's environment: its share of the CPU, and a GPU of its own where there are several."""
    environment = dict(os.environ)
    if room.threads < len(os.sched_getaffinity(0)):
        for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # torch, and the tokenizers
            environment.setdefault(name, str(room.threads))
    if len(room.gpus) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = room.gpus[place % len(room.gpus)]
    return environment
