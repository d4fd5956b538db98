"""The upload of offline runs, by the real `wandb sync` to a stand-in for W&B's servers."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wandb_server
from glue_pool import cli
from glue_pool.on_wandb import writer
from wandb_server import Backend

ROOT = Path(__file__).parents[1]
ATTEMPT = """
import os, signal, sys
from glue_pool.errors import Interrupted
from glue_pool.schema import TrackingConfig
from glue_pool.tracking import track

out, run_id, end, rows = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
names = dict(name="rte mean " + run_id[0], group="rte/mean", tags=["rte"], config={"seed": 3})
with track(TrackingConfig(mode="offline", dir=out), run_key=run_id, **names) as tracker:
    for step in range(rows):
        tracker.step(step=step, epoch=0.5, loss=0.7, learning_rate=2e-5, examples_per_second=123.4)
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "stopped":
        raise Interrupted(signal.SIGTERM, "stopped")
    of_no_rows = {"train_rows": None, "metrics": {}, "best": None}
    tracker.summary({"status": end, "score": 0.5, "primary_metric": "accuracy", **of_no_rows})
"""
DONE, RESUMED, KILLED, FAILED, STOPPED = (letter * 16 for letter in "abcde")


def attempt(outputs: Path, run_id: str, end: str, rows: int = 1) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment["PYTHONPATH"] = str(ROOT / "src")
    command = [sys.executable, "-c", ATTEMPT, str(outputs), run_id, end, str(rows)]
    done = subprocess.run(command, env=environment, timeout=60)
    assert (done.returncode == 0) == (end not in ("killed", "stopped"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five runs: one finished, one killed and then finished, one killed, one failed, one stopped by a signal."""
    outputs = tmp_path_factory.mktemp("recorded")
    attempt(outputs, RESUMED, "killed", rows=2)
    attempt(outputs, DONE, "completed")
    attempt(outputs, RESUMED, "completed", rows=4)
    attempt(outputs, KILLED, "killed")
    attempt(outputs, FAILED, "failed")
    attempt(outputs, STOPPED, "stopped")
    writer.write_below(outputs)  # what a writer at work has half made is not to be copied
    return outputs


@pytest.fixture
def outputs(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "outputs"))


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    with wandb_server.serve() as serving:
        for name, value in serving.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        yield serving


def sync(outputs: Path, *flags: str) -> None:
    cli.main(["sync", str(outputs), *flags])


def exit_code(outputs: Path, *flags: str) -> object:
    with pytest.raises(SystemExit) as ended:
        sync(outputs, *flags)
    return ended.value.code


def test_without_the_flag_it_only_says_what_it_would_upload(
    outputs: Path, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    sync(outputs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "older attempt: rte mean b, group rte/mean, stopped or killed",
        "to upload: rte mean a, group rte/mean, finished",
        "to upload: rte mean b, group rte/mean, finished",
        "not over: rte mean c, group rte/mean, stopped or killed",
        "to upload: rte mean d, group rte/mean, failed",
        "not over: rte mean e, group rte/mean, stopped or killed",
        "3 to upload, 0 uploaded before, 2 not over, 1 older attempt",
    ]
    assert backend.asked == []
    assert not list(outputs.rglob("*.synced"))


def test_every_run_is_uploaded_once_and_whole(
    outputs: Path, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    sync(outputs, "--upload")
    assert backend.uploads() == {DONE: 1, RESUMED: 1, FAILED: 1}
    assert [row["step"] for row in backend.history(RESUMED)] == [0, 1, 2, 3]
    assert {run["groupName"] for run in backend.runs} - {None} == {"rte/mean"}  # None: a later update

    capsys.readouterr()
    sync(outputs, "--upload")
    assert backend.uploads() == {DONE: 1, RESUMED: 1, FAILED: 1}
    assert capsys.readouterr().out.splitlines()[-1] == "0 to upload, 4 uploaded before, 2 not over, 0 older attempt"


def test_a_later_attempt_at_an_uploaded_run_is_left_alone(outputs: Path, backend: Backend) -> None:
    sync(outputs, "--upload")
    attempt(outputs, DONE, "completed", rows=3)
    sync(outputs, "--upload")
    assert backend.uploads()[DONE] == 1


def test_a_success_takes_the_place_of_an_uploaded_failure(outputs: Path, backend: Backend) -> None:
    sync(outputs, "--upload")
    attempt(outputs, FAILED, "completed", rows=3)
    for _ in range(2):
        sync(outputs, "--upload")
        assert backend.uploads() == {DONE: 1, RESUMED: 1, FAILED: 2}


@pytest.mark.parametrize("part", ["graphql", "file_stream"])
def test_an_upload_that_failed_is_said_and_tried_again(
    outputs: Path, backend: Backend, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    """Where only the rows are refused, `wandb sync` itself says that it is done."""
    backend.broken = part
    assert exit_code(outputs, "--upload") == 1
    assert "failed: rte mean a" in capsys.readouterr().err
    assert not list(outputs.rglob("*.synced"))
    backend.broken = None
    sync(outputs, "--upload")
    assert backend.uploads() == {DONE: 1, RESUMED: 1, FAILED: 1}


def test_empty_and_damaged_files_are_named_and_left_alone(
    outputs: Path, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty,) = outputs.rglob(f"run-{DONE}.wandb")
    empty.write_bytes(b"")
    (damaged,) = outputs.rglob(f"run-{FAILED}.wandb")
    content = bytearray(damaged.read_bytes())
    content[40] ^= 1
    damaged.write_bytes(content)
    sync(outputs, "--upload")
    assert backend.uploads() == {RESUMED: 1}
    printed = capsys.readouterr()
    assert f"not over: {empty.parent.name}, group -, nothing was written" in printed.out
    assert f"not over: {damaged.parent.name}, group -, damaged" in printed.out
    assert f"{damaged}: wrong checksum" in printed.err


def test_a_second_upload_at_the_same_time_is_refused(
    outputs: Path, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    descriptor = os.open(outputs, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert exit_code(outputs, "--upload") == 75
        assert capsys.readouterr().err == f"error: another upload from {outputs} is going on\n"
    finally:
        os.close(descriptor)
    assert backend.uploads() == {}


def test_the_folder_is_the_one_that_results_go_to_and_has_to_be_there(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLUE_POOL_OUTPUTS", str(outputs))
    cli.main(["sync"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 to upload")
    monkeypatch.setenv("GLUE_POOL_OUTPUTS", str(outputs / "no"))
    with pytest.raises(SystemExit):
        cli.main(["sync"])
    assert capsys.readouterr().err == f"error: {outputs / 'no'}: there is no such folder\n"
