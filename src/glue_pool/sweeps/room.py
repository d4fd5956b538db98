"""How many runs go on at once on this machine: one a GPU, or one a core as far as memory goes. Without torch."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from glue_pool.models import shape
from glue_pool.models.shape import Shape
from glue_pool.schema import Config

# What a run on the CPU takes: measured with MiniLM and a BERT-base on CoLA and RTE, which it is 0.1 to 1 GB above
BASE_BYTES = 600e6  # Python, the libraries, rows
PARAMETER_BYTES = 16  # the weight, its gradient, AdamW's two
ACTIVATION_BYTES = 60  # a token, layer and dimension, until the backward pass
UNKNOWN = Shape(768, 12, 512, 30522)  # an encoder that is not on this machine yet counts as BERT-base


@dataclass(frozen=True)
class Room:
    """So many workers at once, with so many threads each; why: what set their number. gpus: by CUDA's names."""

    workers: int
    threads: int
    why: str
    gpus: Sequence[str] = ()

    def __str__(self) -> str:
        workers, threads = _count(self.workers, "worker"), _count(self.threads, "thread")
        return f"{workers} with {threads}{' each' * (self.workers > 1)}: {self.why}"


def find(runs: Sequence[Config], workers: int | None = None, root: Path = Path("/")) -> Room:
    """Return what this machine has room for. workers: as many as were asked for. root: where it says what it has.

    On a CPU many workers of one thread finish a sweep before few of several. The threads that OMP_NUM_THREADS or
    `train.threads` asks for are a worker's.
    """
    on_cpu = bool(runs) and all(cfg.train.device == "cpu" for cfg in runs)
    gpus, there = [] if on_cpu else gpus_here(), cores(root)
    asked = max([_whole(os.environ.get("OMP_NUM_THREADS")), *(cfg.train.threads or 0 for cfg in runs)])
    if workers:
        number, why = workers, f"hydra.launcher.workers={workers}"
    elif gpus:
        number, why = len(gpus), "one a GPU"
    else:
        number, why = _on_cpu(runs, there, available_bytes(root), asked or 1)
    return Room(number, asked or max(there // number, 1), why, gpus)


def _on_cpu(runs: Sequence[Config], there: int, available: int, threads: int) -> tuple[int, str]:
    needed = max(map(run_bytes, runs), default=BASE_BYTES)
    bounds = {
        _count(there, "core") + f", {threads} threads asked for" * (threads > 1): there // threads,
        f"{available / 1e9:.1f} GB of memory are free, a run takes up to {needed / 1e9:.1f}": int(available // needed),
        f"{_count(len(runs), 'run')} to run": len(runs),
    }
    why = min(bounds, key=lambda reason: bounds[reason])
    return max(bounds[why], 1), why


def run_bytes(cfg: Config) -> float:
    """Return the memory that a run takes on the CPU, about: as if all texts had `train.max_length` tokens."""
    sizes = shape.read(cfg.encoder) or UNKNOWN
    width = sizes.d * sizes.layers
    parameters = 12 * width * sizes.d + (sizes.vocabulary or 0) * sizes.d
    tokens = -(-cfg.train.batch_size // cfg.train.accumulate) * cfg.train.max_length
    return BASE_BYTES + PARAMETER_BYTES * parameters + ACTIVATION_BYTES * tokens * width


def cores(root: Path = Path("/")) -> int:
    """Return the cores that this process may use: those it is bound to, and no more than its cgroup's quota."""
    count = float(len(os.sched_getaffinity(0)))
    for folder in _cgroups(root, "cpu"):
        with suppress(OSError, ValueError):  # no quota there
            quota, period = map(int, _read(folder / "cpu.max").split())
            count = min(count, quota / period)
        with suppress(OSError, ValueError):
            quota, period = (int(_read(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
            count = min(count, quota / period if quota > 0 else count)
    return max(int(count), 1)


def available_bytes(root: Path = Path("/")) -> int:
    """Return the memory that is free for processes here: the machine's, and no more than the cgroup's limit leaves."""
    lines = _read(root / "proc/meminfo").splitlines()
    available = int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    for folder in _cgroups(root, "memory"):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError):  # no limit there
                stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                left = int(_read(folder / limit)) - int(_read(folder / usage)) + int(stat.get(cache, 0))
                available = min(available, left)
    return max(available, 0)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and of those above it, of versions 2 and 1; not all are there."""
    with suppress(OSError):
        for line in _read(root / "proc/self/cgroup").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" or controller in controllers.split(","):
                mount = root / "sys/fs/cgroup" / ("" if number == "0" else controllers)
                inside = Path(path.lstrip("/"))
                yield from (mount / place for place in (inside, *inside.parents))


def gpus_here() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        named = [gpu.strip() for gpu in visible.split(",")]
        return list(takewhile(lambda gpu: gpu.isdigit() or gpu.startswith(("GPU-", "MIG-")), named))  # as CUDA reads it
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, encoding="utf-8", check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, or no GPU
        return []
    return [line for line in listed.split() if line.startswith("GPU-")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _whole(text: str | None) -> int:
    """Return the threads that OMP_NUM_THREADS says; 0 if it says none."""
    first = (text or "").split(",")[0].strip()  # 4,2 is a number for each level of nesting
    return int(first) if first.isdigit() else 0
