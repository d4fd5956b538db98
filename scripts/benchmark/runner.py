"""How things are measured: every contender in processes of its own, one after another in every round."""

import fcntl
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SCRIPTS = Path(__file__).parents[1]
LOCK = "BENCH_LOCK"
SAMPLE_SECONDS = 0.1  # between two looks at a run's memory

Numbers = dict[str, Any]
Contender = Callable[[int], Numbers]  # takes the round, from 0


class Size(NamedTuple):
    """How much is measured. None of dev rows is all of them."""

    steady_rows: int
    command_rows: Mapping[str, int]
    loaded_rows: Mapping[str, int]
    """Of the whole commands beside busy processes."""
    busy: Sequence[int]
    """With how many busy processes beside."""
    dev_rows: int | None
    sweep_runs: int
    trainer_jobs: int
    """Of those that the Trainer would take for the sweep."""
    results: int
    layers: int | None = None


COMMANDS = {"cola": 960, "rte": 480}
SIZES = {
    "tiny": Size(64, {"cola": 64}, {"cola": 64}, (1,), 48, 8, 1, 90, 3),
    "usual": Size(160, COMMANDS, {"cola": 320, "rte": 160}, (1,), None, 40, 4, 10_000),
    "full": Size(640, COMMANDS, COMMANDS, (1, 2), None, 40, 40, 10_000),
}


@dataclass(frozen=True)
class Options:
    """What the command line says. data: a folder of <task>/<split>.parquet; scratch: a folder for outputs."""

    data: str | None
    encoder: str
    tasks: Sequence[str]
    rounds: int
    size: Size
    scratch: Path

    @property
    def encoder_overrides(self) -> list[str]:
        """Return what says which encoder, on glue_pool's command line."""
        layers = [] if self.size.layers is None else [f"encoder.num_hidden_layers={self.size.layers}"]
        return [f"encoder.name={self.encoder}", *layers]


class Ran(NamedTuple):
    """A process that has ended: how long it took, what its last line says if that is JSON, its most memory."""

    seconds: float
    said: Numbers
    peak_bytes: int


def interleaved(options: Options, contenders: Mapping[str, Contender]) -> dict[str, list[Numbers]]:
    """Return what every contender measured in every round."""
    measured: dict[str, list[Numbers]] = {name: [] for name in contenders}
    for number in range(options.rounds):
        for name, contender in contenders.items():
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            measured[name].append(contender(number))
    return measured


def run(command: Sequence[str], *, of: Mapping[str, str] | None = None, memory: bool = False, busy: int = 0) -> Ran:
    """Run a command to its end, beside so many busy processes; SystemExit if it fails.

    of: more environment variables; memory: sample it.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _alone(), beside(busy):
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=out, stderr=err, env=_environment(of)) as process:
            peak = _peak_bytes(process) if memory else 0
            code = process.wait()
        seconds = time.perf_counter() - started
        printed, errors = (_text(file) for file in (out, err))
    if code:
        raise SystemExit(f"{' '.join(command)[:300]} failed:\n{printed[-2000:]}\n{errors[-4000:]}")
    last = (printed.splitlines() or [""])[-1]
    return Ran(seconds, json.loads(last) if last.startswith("{") else {}, peak)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock that `--lock` names, which keeps other work away from a machine that is shared."""
    if not (name := os.environ.get(LOCK)):
        yield
        return
    with open(name, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def worker(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package."""
    return [sys.executable, "-m", f"benchmark.{module}", *arguments]


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **(more or {})}


def _text(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode("utf-8", "replace")
    return text


@contextmanager
def beside(number: int) -> Iterator[None]:
    """Let so many processes keep a core busy each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """Return the most memory that a process and all below it had at once, shared pages counted once (PSS)."""
    peak = 0
    while True:
        peak = max(peak, _pss(process.pid))
        with suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_SECONDS)
            return peak


def _pss(root: int) -> int:
    import psutil

    try:
        tree = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
        return sum(process.memory_full_info().pss for process in tree)
    except psutil.Error:  # one has just ended
        return 0


def machine() -> Numbers:
    """Return what the figures were measured on, and with how many threads."""
    import torch
    import transformers

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
