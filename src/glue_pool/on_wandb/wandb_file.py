"""Reads the `.wandb` file that an offline run leaves: LevelDB's log format around protobuf records.

wandb's own reader is in its Go service; what it offers of it (`wandb sync --dry-run`) names files and no runs.
"""

import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made when imported

FILE_HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
BLOCK = 32 * 1024
HEADER = struct.Struct("<IHB")  # crc32 of type and data, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read(path: Path) -> list[Record]:
    """Return a file's whole records, none of an empty file; ValueError if anything but its end is damaged."""
    content = path.read_bytes()
    if not content:
        return []  # its writer was killed before anything was flushed
    if not content.startswith(FILE_HEADER):
        raise ValueError(f"{path} is no .wandb file of version 0")
    records: list[Record] = []
    parts: bytes | None = None  # of a record that goes on; a first part is empty where a block has room for no more
    at = len(FILE_HEADER)
    while at + HEADER.size <= len(content):
        if BLOCK - at % BLOCK < HEADER.size:  # too little for a header: zeros up to the next block
            at += BLOCK - at % BLOCK
            continue
        crc, length, kind = HEADER.unpack_from(content, at)
        data = content[at + HEADER.size : at + HEADER.size + length]
        if len(data) < length:
            break  # its writer was killed
        if zlib.crc32(bytes([kind]) + data) != crc:
            raise ValueError(f"{path}: wrong checksum at byte {at}")
        if (kind in (FULL, FIRST)) != (parts is None):
            raise ValueError(f"{path}: a part of a record is missing before byte {at}")
        parts = (parts or b"") + data
        at += HEADER.size + length
        if kind in (FULL, LAST):
            records.append(Record.FromString(parts))
            parts = None
    return records


def ended(path: Path, seconds: float) -> list[Record]:
    """Return the records of a run that was finished, for whose end W&B's service may still have to be waited.

    Raises TimeoutError if it does not come.
    """
    deadline = time.monotonic() + seconds
    while exit_code(records := read(path)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} never ends")
        time.sleep(0.01)
    return records


def run(records: Iterable[Record]) -> Any:
    """Return the RunRecord: run_id, sweep_id, project, run_group, job_type, display_name, tags, start_time."""
    return next(record.run for record in records if record.HasField("run"))


def exit_code(records: Iterable[Record]) -> int | None:
    """Return what the run ended with; None if it never did."""
    return next((record.exit.exit_code for record in records if record.HasField("exit")), None)


def preempted(records: Iterable[Record]) -> bool:
    """Whether a signal stopped the run, which another attempt is to go on with."""
    return any(record.HasField("preempting") for record in records)
