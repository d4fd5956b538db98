"""One process a run: who waits, who goes on, and what becomes of a dead process's lease."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glue_pool import locks
from glue_pool.errors import Held, UserError
from test_train import TINY

HOLDER = """
import sys, time
from pathlib import Path
from glue_pool import locks
locks.LEASE_SECONDS = float(sys.argv[2])
with locks.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(
    lock: Path, lease_seconds: float = locks.LEASE_SECONDS, *, host: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Let another process (on "another host", a namespace with a name of its own) hold a lease; yield it."""
    command = [sys.executable, "-c", HOLDER, str(lock), str(lease_seconds)]
    if host:
        if shutil.which("unshare") is None or subprocess.run(["unshare", "--uts", "true"], check=False).returncode:
            pytest.skip("needs the right to make a host name of its own (unshare --uts)")
        command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lease_leaves_nothing_behind(tmp_path: Path) -> None:
    lock = tmp_path / "outputs/.locks/run.lock"
    with locks.hold(lock):
        assert locks.holder(lock) == f"process {os.getpid()} on {os.uname().nodename}"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "outputs/rte").mkdir(parents=True)
    with pytest.raises(RuntimeError), locks.hold(lock):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["rte"]


def test_a_living_holder_is_named_at_once_and_a_killed_one_replaced_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    with another_process(lock) as process:
        started = time.monotonic()
        with pytest.raises(Held, match=f"process {process.pid} on {os.uname().nodename} works on it"), locks.hold(lock):
            pass
        process.kill()
        process.wait()
        with locks.hold(lock):
            assert time.monotonic() - started < 2


def test_a_holder_on_another_host_is_alive_as_long_as_it_renews_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 3.0)
    lock = tmp_path / "run.lock"
    with another_process(lock, 3.0, host="elsewhere") as process:
        with pytest.raises(Held, match=f"process {process.pid} on elsewhere works on it"), locks.hold(lock):
            pass
        process.kill()
        killed = time.monotonic()
        while True:  # it counts as alive for as long as its lease lasts
            try:
                with locks.hold(lock):
                    break
            except Held:
                assert time.monotonic() - killed < 4
                time.sleep(0.1)
        assert 1 < time.monotonic() - killed < 12


def test_a_lease_that_a_power_cut_left_empty_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    assert locks.holder(lock) is None
    with locks.hold(lock):
        assert locks.holder(lock)


def test_a_killed_holder_that_nobody_has_noted_yet_is_not_called_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 2.0)
    lock = tmp_path / "run.lock"
    with another_process(lock, 2.0) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert locks.holder(lock) is None
        with locks.hold(lock):
            pass


def test_a_folder_in_which_no_lease_can_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / ".locks").touch()
    with pytest.raises(UserError, match=r"\.locks"), locks.hold(tmp_path / ".locks/run.lock"):
        pass


def test_who_stood_still_too_long_does_not_pass_for_the_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.6)
    lock = tmp_path / "run.lock"

    with locks.hold(lock) as lease:
        lease.check()
        lock.unlink()
        time.sleep(1)
        with pytest.raises(Held, match="another took the run over"):
            lease.check()


def test_two_processes_that_reach_one_run_train_it_once(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "GLUE_POOL_OUTPUTS": str(tmp_path / "outputs"),
        "GLUE_POOL_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "glue_pool.train", *TINY, "pooling=mean", "tracking=none", "train.max_steps=40"]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = sorted((process.wait(120), *process.communicate()) for process in processes)
    assert [code for code, _, _ in ends] == [0, 75]
    assert "works on it" in ends[1][2]
    assert len(ends[1][2].splitlines()) == 1
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(file.read_text())["status"] == "completed"
    assert not (tmp_path / "outputs/.locks").exists()
