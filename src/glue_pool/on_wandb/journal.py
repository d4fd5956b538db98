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
from glue_pool.shell import readable

What = Literal["log", "summary", "preempting", "finish"]  # a row, the summary, that it was stopped, its exit code

SILENT_SECONDS = 24 * 3600.0  # of a run whose lock can't be seen: then it was killed. Longer than any evaluation


class Journal:
    """A journal that is being written; each line is with the system when `tell` returns.

    What could not be written, since the disk is full, waits for the next line, and goes before it.
    """

    def __init__(self, cfg: TrackingConfig, folder: Path, about: Mapping[str, Any]) -> None:
        there = pending(folder)
        there.mkdir(parents=True, exist_ok=True)
        path = there / f"{about['id']}-{time.time_ns()}-{os.getpid()}.jsonl"
        self._file = path.open("xb", buffering=0)
        self._unwritten = bytearray()
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_EX)
        init = {"project": cfg.project, "entity": cfg.entity, **about}
        try:
            self._write({"host": socket.gethostname(), "started": time.time(), "init": init})
        except OSError:
            path.unlink()
            raise

    def tell(self, what: What, value: Any) -> None:
        """Write down one thing; OSError if it has to wait."""
        try:
            self._write({what: value, "at": time.time()})
        finally:
            if what == "finish":
                self._file.close()

    def _write(self, content: Mapping[str, Any]) -> None:
        self._unwritten += json.dumps(content, default=_plain).encode() + b"\n"
        while self._unwritten:
            del self._unwritten[: self._file.write(self._unwritten)]


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


def look(there: Path) -> tuple[list[Told], dict[Path, str]]:
    """Return the journals that nobody writes any more, the oldest first, and why each of the others is left alone."""
    over, left = list[Told](), dict[Path, str]()
    for file in sorted(there.glob("*.jsonl")):
        try:
            found = _read(file)
        except FileNotFoundError:  # it has just become W&B's own file
            continue
        except OSError as error:
            found = f"can't be made a W&B run: it can't be read ({error.strerror})"
        except (KeyError, TypeError, ValueError):
            found = "can't be made a W&B run: its first line is damaged"
        if isinstance(found, str):
            left[file] = found
        else:
            over.append(found)
    return sorted(over, key=lambda told: told.started), left


def _is_ended(lines: Sequence[Mapping[str, Any]]) -> bool:
    return bool(lines) and "finish" in lines[-1]


def _read(file: Path) -> Told | str:
    """Return a journal that is over, or why it is left alone.

    Raises OSError if it can't be read; KeyError, TypeError or ValueError if it does not say how its run is started.
    """
    with file.open("rb") as stream:
        lock = _lock(stream)
        texts = stream.readlines()
        silent = time.time() - os.fstat(stream.fileno()).st_mtime
    lines = [line for text in texts if (line := _whole(text))]
    ended = _is_ended(lines)
    if lock == "held" and not ended:
        return "its run is at work"
    if not texts:
        return "is empty: its run has just started, or was killed then"
    first = json.loads(texts[0])
    told = Told(file, float(first["started"]), dict(first["init"]), lines[1:])
    if not ended and silent <= SILENT_SECONDS and (lock == "none" or first["host"] != socket.gethostname()):
        return (
            f"whether its run on {readable(str(first['host']))} is at work can't be seen from here; it is taken for "
            f"killed after {SILENT_SECONDS / 3600:.0f} h without a word, which are {max(silent, 0) / 3600:.1f} h by now"
        )
    return told


def _lock(stream: IO[bytes]) -> Literal["free", "held", "none"]:
    """Return whether a process writes a journal; none: the file system has no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:
        return "none"
    return "free"


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
