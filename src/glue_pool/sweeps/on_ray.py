"""Runs as Ray tasks, on this machine or on a cluster; Ray's worker processes stay warm between them."""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glue_pool.errors import UserError
from glue_pool.sweeps import remote
from glue_pool.sweeps.attempt import LESS_MEMORY, Ending, attempt
from glue_pool.sweeps.plan import Planned

POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0
STOP_SECONDS = 30.0  # in which a run that is to stop may leave a checkpoint
OBJECT_STORE_BYTES = 100_000_000  # of a local Ray: all that goes through it are configs

log = logging.getLogger(__name__)


class Tasks:
    """Ray tasks.

    address: null is a Ray of its own, which ends with the sweep; auto, or HOST:PORT, is a cluster that is there.
    num_cpus, num_gpus: what a run takes; num_gpus: null is 1 on a cluster that has GPUs. runtime_env: Ray's own.
    """

    def __init__(
        self,
        logs: Path,
        *,
        address: str | None = None,
        num_cpus: int = 1,
        num_gpus: float | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        self._logs = logs.absolute()
        self._address = address or "local"
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        self._runtime_env = dict(runtime_env or {})
        self._going_on: dict[Any, Planned] = {}

    about = None

    @property
    def parallel(self) -> int | None:
        """How many runs go on at once: as many as the CPU has room for, if it is this machine's and no GPU counts."""
        return None if self._address != "local" or self._num_gpus else max(_cpus() // self._num_cpus, 1)

    def __enter__(self) -> Self:
        if self._address == "local" and self._num_cpus > _cpus():
            raise UserError(f"hydra.launcher.num_cpus={self._num_cpus}: this machine has {_cpus()}")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = remote.library("ray")
        self._connect()
        if self._num_gpus is None:
            self._num_gpus = 1 if self._ray.cluster_resources().get("GPU") else 0
        wanted = {"CPU": self._num_cpus, "GPU": self._num_gpus}
        if not any(all(n["Resources"].get(kind, 0) >= wanted[kind] for kind in wanted) for n in self._ray.nodes()):
            log.warning("no node of the Ray cluster has %s now; runs wait until one has", wanted)
        self._logs.mkdir(parents=True, exist_ok=True)
        self._task = self._ray.remote(num_cpus=self._num_cpus, num_gpus=self._num_gpus, max_retries=0)(_attempt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what goes on, as by Ctrl-C, with the time to leave a checkpoint; leave the cluster as it was."""
        try:
            going_on = list(self._going_on)
            for task in going_on:
                self._ray.cancel(task)
            if going_on:
                self._ray.wait(going_on, num_returns=len(going_on), timeout=STOP_SECONDS)
        finally:
            self._ray.shutdown()

    def submit(self, run: Planned) -> None:
        """Let Ray start the run as soon as there is room."""
        task = self._task.remote(remote.portable(run.cfg), str(self._log(run)))
        self._going_on[task] = run

    def endings(self) -> Iterator[tuple[Planned, Ending]]:
        """Return a run that ended since the last call, after waiting for one for up to a second."""
        if self._going_on:
            for task in self._ray.wait(list(self._going_on), num_returns=1, timeout=POLL_SECONDS)[0]:
                run = self._going_on.pop(task)
                yield run, self._ending(run, task)

    def _connect(self) -> None:
        options: dict[str, Any] = {"address": self._address, "runtime_env": self._runtime_env or None}
        if self._address == "local":
            options |= {
                "num_cpus": _cpus(),
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
            }
        else:
            _check_reachable(self._address)
            options["runtime_env"] = _with_environment(self._runtime_env, self._num_cpus)
        try:
            self._ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            tokens = "" if self._address == "local" else "; a cluster with tokens wants RAY_AUTH_MODE=token here too"
            said = str(error).strip().splitlines()[0]
            raise UserError(f"hydra.launcher.address={self._address}: {said}{tokens}") from None

    def _log(self, run: Planned) -> Path:
        return self._logs / f"{run.folder.key[:16]}.log"

    def _ending(self, run: Planned, task: Any) -> Ending:
        errors = self._ray.exceptions
        try:
            return remote.seen(run, Ending(**self._ray.get(task)))
        except (errors.RayTaskError, errors.RuntimeEnvSetupError) as error:  # the worker can't run us at all
            return Ending("over", str(error).strip().splitlines()[-1])
        except errors.RayError as error:
            said = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            memory = f" {LESS_MEMORY};" if isinstance(error, errors.OutOfMemoryError) else ""
            return Ending("died", f"its Ray worker is gone ({said});{memory} its log is {self._log(run)}")


def _check_reachable(address: str) -> None:
    """Refuse a HOST:PORT where nobody listens, which Ray would try for two minutes before it kills the process."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return  # auto; what else Ray does not know, it refuses itself
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"hydra.launcher.address={address}: no Ray is to be reached there ({error})") from None


def _attempt(config: Mapping[str, Any], log: str) -> dict[str, Any]:
    with _output_to(Path(log)):
        return asdict(attempt(config))


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Let all that this process prints go to the end of a file, whatever level it is printed at."""
    with file.open("ab") as opened:
        own = {number: os.dup(number) for number in (1, 2)}
        _point({number: opened.fileno() for number in own})
    try:
        yield
    finally:
        _point(own)
        for descriptor in own.values():
            os.close(descriptor)


def _point(descriptors: Mapping[int, int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    for number, descriptor in descriptors.items():
        os.dup2(descriptor, number)


def _with_environment(runtime_env: Mapping[str, Any], num_cpus: int) -> dict[str, Any]:
    """Add to Ray's runtime_env what a cluster's workers lack: this process's modules, and how many threads to use."""
    threads = os.environ.get("OMP_NUM_THREADS", str(num_cpus))
    own = {"PYTHONPATH": os.pathsep.join(_own_modules()), "OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    return {**runtime_env, "env_vars": {**own, **runtime_env.get("env_vars", {})}}


def _own_modules() -> list[str]:
    """Return the folders that this process imports from, beside its Python's own."""
    folders = dict.fromkeys(os.path.abspath(folder) for folder in sys.path)
    python = (sys.prefix, sys.base_prefix)
    return [f for f in folders if os.path.isdir(f) and not any(Path(f).is_relative_to(own) for own in python)]


def _cpus() -> int:
    return len(os.sched_getaffinity(0))
