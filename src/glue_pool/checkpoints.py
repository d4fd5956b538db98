"""A run's checkpoint: one safetensors file, written whole or not at all, from which another process goes on.

It holds tensors and JSON, so reading it runs no code. All of it is covered by checksums, and it says what it was made
with: a run never goes on from a file that is damaged or that another version would have made otherwise.
"""

import json
import logging
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glue_pool.errors import Interrupted
from glue_pool.locks import Lease
from glue_pool.results import RunFolder, write_atomically
from glue_pool.schema import CheckpointConfig
from glue_pool.signals import Signals
from glue_pool.training.state import State

log = logging.getLogger(__name__)

FORMAT = 1
DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Unusable(Exception):
    """A checkpoint is damaged, or was made by another run or with other versions."""


class Checkpoint:
    """The keeper of one run's training: its file, when that is due, and what earlier attempts took.

    manifest: what the run is made with; started: `time.perf_counter()` at the start of this attempt, whose training is
    about to begin; lease: what this process holds of the run; command: what the user is to run to go on.
    `resumed_at`: the steps at which the run was resumed.
    """

    def __init__(
        self,
        folder: RunFolder,
        cfg: CheckpointConfig,
        manifest: Mapping[str, Any],
        signals: Signals,
        started: float,
        lease: Lease,
        command: str = "the same command",
    ) -> None:
        self.path = folder.checkpoint
        self.resumed_at: list[int] = []
        self._cfg, self._signals, self._started, self._command = cfg, signals, started, command
        self._lease = lease
        self._made_with = made_with(folder.key, manifest)
        self._saved = time.perf_counter()
        self._setup_seconds = self._saved - started
        self._earlier = {"setup": 0.0, "total": 0.0}
        self._step: int | None = None  # of the checkpoint on disk
        self._warned = False

    @property
    def seconds(self) -> dict[str, float]:
        """What the run took so far, setting up and in total, over all attempts (less what killed ones lost)."""
        now = {"setup": self._setup_seconds, "total": time.perf_counter() - self._started}
        return {name: self._earlier[name] + now[name] for name in now}

    def resume(self) -> State | None:
        """Return the state on disk; a file that can't be used is set aside."""
        try:
            about, tensors = read(self.path, self._made_with)
        except FileNotFoundError:
            return None
        except Unusable as error:
            self.set_aside(str(error))
            return None
        state = State(about["step"], about["total"], tensors, about["plain"])
        self._earlier, self._step = about["seconds"], state.step
        self.resumed_at = [*about["resumed_at_steps"], state.step]
        return state

    def set_aside(self, reason: str) -> None:
        """Rename the file, so that the run starts over and whoever wants to can look at it."""
        aside = self.path.with_name(f"{self.path.name}.set-aside")
        self.path.replace(aside)
        log.warning("%s: %s; the run starts over, and the file is %s now", self.path, reason, aside.name)
        self._earlier, self._step = dict.fromkeys(self._earlier, 0.0), None
        self.resumed_at = []

    def due(self, *, at_an_end: bool) -> bool:
        """Whether too much work would be lost without a checkpoint now."""
        lost = time.perf_counter() - self._saved
        by_time = self._cfg.minutes is not None and lost >= 60 * self._cfg.minutes
        return by_time or (at_an_end and lost >= self._cfg.min_seconds)

    def save(self, state: State) -> None:
        """Write the state in the place of the one before; a full disk is a warning, once."""
        about = {
            "step": state.step,
            "total": state.total,
            "plain": state.plain,
            "seconds": self.seconds,
            "resumed_at_steps": self.resumed_at,
            "made_with": self._made_with,
        }
        self._lease.check()
        try:
            write(self.path, state.tensors, about)
            self._step = state.step
        except OSError as error:
            if not self._warned:
                log.warning("%s can't be written (%s); the run goes on without", self.path, error.strerror)
            self._warned = True
        self._saved = time.perf_counter()

    @property
    def signalled(self) -> bool:
        """Whether a signal came."""
        return self._signals.came

    def stop(self, state: State) -> None:
        """Save the state and raise `Interrupted`; return if the signal's earlier handler wants the run to go on."""
        self.save(state)
        by = self._signals.ending()
        if by is None:
            return
        if self._step == state.step:
            then = f"{self._command} goes on from there"
        elif self._step is None:
            then = f"no checkpoint could be written: {self._command} starts over"
        else:
            then = f"no checkpoint could be written there: {self._command} goes on from step {self._step}"
        raise Interrupted(by, f"interrupted by {by.name} at step {state.step} of {state.total}; {then}")


def made_with(run_key: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to be the same for a run to go on: itself, its rows, and what computes with them.

    The number of threads may differ, and the kind of CPU or GPU, which the last bits of its numbers come from.
    """
    same = {name: manifest[name] for name in ("versions", "git", "precision", "batching")}
    fingerprints = manifest["data"]["fingerprints"]
    return {"run_key": run_key, **same, "device": manifest["hardware"]["device"], "data": fingerprints}


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a safetensors file atomically, from the tensors' own memory; `about` is JSON in its metadata.

    safetensors' own writer renames a file into place before it is on disk.
    """
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = {name: _checksum(name, tensor) for name, tensor in flat.items()}
    text = json.dumps({"format": FORMAT, **about, "checksums": checksums})
    header: dict[str, Any] = {"__metadata__": {"about": text, "checksum": str(zlib.crc32(text.encode()))}}
    end = 0
    for name, tensor in flat.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)

    def fill(file: Any) -> None:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in flat.values():
            file.write(_bytes(tensor))

    write_atomically(path, fill)


def read(path: Path, expected: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what `write` wrote: `about` and the tensors, which lie in the file and are read when they are used.

    expected: what it has to have been made with. Raises `Unusable` if it was not, or if a bit of it is not as written.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            text = metadata["about"]
            if str(zlib.crc32(text.encode())) != metadata["checksum"]:
                raise Unusable("it is damaged")
            about = json.loads(text)
            _compare(about, expected)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise Unusable(f"it is no checkpoint, or damaged ({str(error).splitlines()[0]})") from None
    if {name: _checksum(name, tensor) for name, tensor in tensors.items()} != about["checksums"]:
        raise Unusable("it is damaged")
    return about, tensors


def _compare(about: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if about.get("format") != FORMAT:
        raise Unusable(f"it has format {about.get('format')}, this version writes {FORMAT}")
    found = about["made_with"]
    if differing := [name for name, value in expected.items() if found.get(name) != value]:
        name = differing[0]
        if name == "run_key":
            raise Unusable("it is of another run")
        raise Unusable(f"it was made with another {name} ({_difference(found.get(name), expected[name])})")


def _difference(found: Any, expected: Any) -> str:
    """Return what two values are, or two mappings where they differ."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        names = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
        found, expected = ({name: which.get(name) for name in names} for which in (found, expected))
    return f"{found}, now {expected}"


def _checksum(name: str, tensor: Tensor) -> int:
    about = f"{name} {DTYPES[tensor.dtype]} {list(tensor.shape)}"
    return zlib.crc32(_bytes(tensor), zlib.crc32(about.encode()))


def _bytes(tensor: Tensor) -> Any:
    return tensor.reshape(-1).view(torch.uint8).numpy()
