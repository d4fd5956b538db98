"""One process a run: a lease on a file system that processes, also on other hosts, share."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from glue_pool.errors import Held

LEASE_SECONDS = 60.0  # a holder on another host that has not renewed its lease for so long is dead
POLL_SECONDS = 1.0


@contextmanager
def hold(file: Path) -> Iterator[None]:
    """Hold a lease while the `with` lasts; it leaves nothing behind.

    Raises `Held`, with who it is, where a living process holds it. The lease of a dead one is taken over: at once if
    it ran on this host, else after `LEASE_SECONDS` without a sign of life.
    """
    lease = SoftFileLease(file, lease_duration=LEASE_SECONDS)
    made = [folder for folder in file.parents if not folder.exists()]
    _acquire(lease, file)
    try:
        yield
        if lease.compromise:
            raise Held(f"this process stood still for more than {LEASE_SECONDS:g} s, and another took the run over")
    finally:
        lease.release()
        for folder in made or [file.parent]:
            with suppress(OSError):  # others hold leases there, or results are there
                os.rmdir(folder)


def holder(file: Path) -> str | None:
    """Return who holds a lease, as `process 123 on host`, whether alive or dead; None if nobody does."""
    owner = SoftFileLease(file, lease_duration=LEASE_SECONDS).owner
    return None if owner is None else f"process {owner.pid} on {_host(owner.hostname)}"


def _acquire(lease: SoftFileLease, file: Path) -> None:
    first_sign: int | None = None
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lease.acquire(timeout=0)
            return
        except FileNotFoundError:  # the last holder has just tidied the folder away
            continue
        except Timeout:
            owner, sign = lease.owner, _changed(file)
        if owner is None or sign is None:  # being written, or just released
            time.sleep(0.01)
            continue
        first_sign = first_sign or sign
        if _host(owner.hostname) == socket.gethostname() or sign != first_sign:
            raise Held(f"process {owner.pid} on {_host(owner.hostname)} works on it")
        time.sleep(POLL_SECONDS)


def _changed(file: Path) -> int | None:
    with suppress(OSError):
        return file.stat().st_mtime_ns
    return None


def _host(name: str) -> str:
    return name.partition("?")[0]  # filelock adds the process namespace of a container
