"""What an offline run would tell W&B, written down while it trains, without W&B: `<tracking.dir>/wandb/pending`.

A journal is JSON lines: first how the W&B run is to be started, then what it is told, each with its time, and last how
it ended. Whoever writes one down holds a lock on it, so that of a process that was killed is known from that of one at
work. `glue_pool.on_wandb.writer` makes W&B's own files of them.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from glue_pool.schema import TrackingConfig

What = Literal["log", "summary", "preempting", "finish"]  # a row, the summary, that it was stopped, its exit code

STRANGER_SECONDS = 24 * 3600.0  # without a word from another host, whose locks may not be seen here


class Journal:
    """A journal that is being written; each line is with the system when `tell` returns."""

    def __init__(self, cfg: TrackingConfig, folder: Path, about: Mapping[str, Any]) -> None:
        there = pending(folder)
        there.mkdir(parents=True, exist_ok=True)
        path = there / f"{about['id']}-{time.time_ns()}-{os.getpid()}.jsonl"
        self._file = path.open("x", buffering=1, encoding="utf-8")
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._broken = False
        init = {"project": cfg.project, "entity": cfg.entity, **about}
        try:
            self._write({"host": socket.gethostname(), "started": time.time(), "init": init})
        except OSError:
            path.unlink()
            raise

    def tell(self, what: What, value: Any) -> None:
        """Write down one thing."""
        self._write({what: value, "at": time.time()})
        if what == "finish":
            self._file.close()

    def give_up(self) -> None:
        """Let it go as it is."""
        with suppress(OSError):  # a full disk
            self._file.close()

    def _write(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, default=_plain) + "\n"
        try:
            self._file.write("\n" + text if self._broken else text)  # what was written of a line ends there
        except OSError:
            self._broken = True
            raise


@dataclass(frozen=True)
class Told:
    """A journal that is over: what a W&B run is to be started with, and told."""

    file: Path
    started: float
    init: dict[str, Any]
    lines: list[dict[str, Any]]

    def things(self) -> Iterator[tuple[What, Any, float]]:
        """Yield all that was told, with its time; in the end, where the process was killed, that it was stopped."""
        for line in self.lines:
            yield from ((cast(What, what), value, line["at"]) for what, value in line.items() if what != "at")
        if not _is_ended(self.lines):
            yield "preempting", True, self.started
            yield "finish", 1, self.started


def pending(folder: Path) -> Path:
    """Return where the journals of a `tracking.dir` are."""
    return folder / "wandb" / "pending"


def over(there: Path) -> list[Told]:
    """Return the journals that nobody writes any more, the oldest first."""
    found = [told for file in there.glob("*.jsonl") if (told := _read(file))]
    return sorted(found, key=lambda told: told.started)


def _is_ended(lines: Sequence[Mapping[str, Any]]) -> bool:
    return bool(lines) and "finish" in lines[-1]


def _read(file: Path) -> Told | None:
    """Return a journal; None of one that is being written, or has just become W&B's own file."""
    try:
        with file.open("rb") as stream:
            free = _lock_is_free(stream)
            lines = [line for text in stream if (line := _whole(text))]
        silent = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return None
    if not lines or "init" not in lines[0]:
        return None
    first, *rest = lines
    is_here = first["host"] == socket.gethostname()
    if not _is_ended(rest) and not (free and (is_here or silent > STRANGER_SECONDS)):
        return None
    return Told(file, first["started"], first["init"], rest)


def _lock_is_free(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        return False
    return True


def _whole(text: bytes) -> dict[str, Any] | None:
    """Return a line's content; None if it was not written to its end."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _plain(value: Any) -> Any:
    """Return one of numpy's numbers as Python's."""
    return value.item() if hasattr(value, "item") else str(value)
