"""One process a run: a lease on a file system that processes, also on other hosts, share."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import OwnerRecord, SoftFileLease, Timeout

from glue_pool.errors import Held, UserError

LEASE_SECONDS = 60.0  # a holder that has not renewed its lease for so long is dead; it does so three times as often
UNREADABLE_SECONDS = 5.0  # a lease that says nothing for so long is what a power cut left of one
POLL_SECONDS = 0.2


class Lease:
    """What a process holds while it works on a run."""

    def __init__(self, lease: SoftFileLease) -> None:
        self._lease = lease

    def check(self) -> None:
        """Raise `Held` if the lease was lost: to be asked before anything is written that others write too."""
        if self._lease.compromise:
            raise Held(f"this process stood still for more than {LEASE_SECONDS:g} s, and another took the run over")


@contextmanager
def hold(file: Path, *, in_own_folder: bool = True) -> Iterator[Lease]:
    """Hold a lease while the `with` lasts; it leaves nothing behind.

    in_own_folder: whether its folder is there for it and what is written beside it, and goes where that is nothing.
    Raises `Held`, with who it is, where a process that shows signs of life holds it, and UserError where no lease can
    be written. That of a dead process is taken over: at once if it ran on this host, else once `LEASE_SECONDS` have
    passed without a sign of life, and as many of watching.
    """
    lease = SoftFileLease(file, lease_duration=LEASE_SECONDS)
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        _acquire(lease, file)
    except OSError as error:
        raise UserError(f"{file}: can't be written ({error.strerror}); choose another output_root=…") from None
    try:
        yield Lease(lease)
    finally:
        lease.release()
        for folder in (made or [file.parent]) if in_own_folder else ():
            with suppress(OSError):  # others hold leases there, or results are there
                os.rmdir(folder)


def holder(file: Path) -> str | None:
    """Return which process holds a lease and shows signs of life, as `process 123 on host`; None if none does."""
    owner = SoftFileLease(file, lease_duration=LEASE_SECONDS).owner
    if owner is None or _ended(owner) or _age(file) > LEASE_SECONDS:
        return None
    return _name(owner)


def _acquire(lease: SoftFileLease, file: Path) -> None:
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lease.acquire(timeout=0)
            return
        except FileNotFoundError:  # the last holder has just tidied the folder away
            continue
        except Timeout:
            pass
        owner, age = lease.owner, _age(file)
        if owner is None:  # being written, or just released
            if age > UNREADABLE_SECONDS:
                lease.force_break()
            time.sleep(POLL_SECONDS / 10)
        elif age < LEASE_SECONDS and not _ended(owner):
            raise Held(f"{_name(owner)} works on it")
        else:  # filelock takes it over, when its holder is certain to be dead
            time.sleep(POLL_SECONDS)


def _age(file: Path) -> float:
    """Return the seconds since a lease was renewed, by the clock of the file system that it is on; 0 if it is gone."""
    try:
        with tempfile.TemporaryFile(dir=file.parent) as now:
            return os.fstat(now.fileno()).st_mtime - file.stat().st_mtime
    except OSError:
        return 0.0


def _ended(owner: OwnerRecord) -> bool:
    """Say whether a process of this host is dead, also if its parent has not taken note of that yet."""
    if owner.hostname != socket.gethostname():
        return False
    try:
        return Path(f"/proc/{owner.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return sys.platform == "linux"


def _name(owner: OwnerRecord) -> str:
    return f"process {owner.pid} on {_host(owner)}"


def _host(owner: OwnerRecord) -> str:
    return owner.hostname.partition("?")[0]  # filelock adds the process namespace of a container
