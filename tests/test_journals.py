"""What offline runs write down for W&B, and the process that makes W&B's files of it, alone and at the right time."""

import fcntl
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wandb_records
from glue_pool import cli
from glue_pool.on_wandb import journal, wandb_file, writer
from test_tracking import EVALUATION, KEY, RESULT, child, offline, step, tracked

OTHER = "b" * 64
WRITER = [sys.executable, "-m", "glue_pool.on_wandb.writer"]


def journals(folder: Path) -> list[Path]:
    return sorted(journal.pending(folder).glob("*.jsonl"))


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.wandb"))


def test_the_files_are_made_beside_the_run_which_imports_no_wandb(tmp_path: Path) -> None:
    code = """
with tracked("offline") as tracker:
    tracker.step(**row)
    tracker.summary(result)
assert "wandb" not in sys.modules
"""
    subprocess.run(child(code, tmp_path), check=True, timeout=60)
    deadline = time.monotonic() + 60
    while journals(tmp_path / "out") and time.monotonic() < deadline:  # a process that this one has not started
        time.sleep(0.01)
    records = wandb_records.find(tmp_path, KEY)
    assert [row["step"] for row in wandb_records.history(records)] == [10]
    assert wandb_file.exit_code(records) == 0


def test_the_journal_of_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
        assert writer.write(tmp_path, wait=True) == {journals(tmp_path)[0]: "its run is at work"}
        step(tracker, step=20)
    assert not files(tmp_path)
    assert [row["step"] for row in wandb_records.history(wandb_records.written(tmp_path, KEY))] == [10, 20]
    assert not journals(tmp_path)


def test_rows_keep_the_times_at_which_they_were_told(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
        tracker.evaluation(EVALUATION)
    (file,) = journals(tmp_path)
    told = [line["at"] for line in map(json.loads, file.read_text().splitlines()) if "log" in line]
    written = [
        float(item.value_json)
        for record in wandb_records.written(tmp_path, KEY)
        for item in record.history.item
        if item.key == "_timestamp" or list(item.nested_key) == ["_timestamp"]
    ]
    assert written == pytest.approx(told, abs=1e-5, rel=0)


def test_what_is_whole_of_a_damaged_journal_is_written(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
        tracker.summary(RESULT)
    (file,) = journals(tmp_path)
    file.write_bytes(file.read_bytes()[:-8])  # within the last line, which says how it ended
    records = wandb_records.written(tmp_path, KEY)
    assert wandb_records.summary(records)["score"] == RESULT["score"]
    assert (wandb_file.exit_code(records), wandb_file.preempted(records)) == (1, True)


def test_attempts_at_one_run_keep_their_order_and_files_of_their_own(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        with tracked(offline(tmp_path)) as tracker:
            step(tracker, loss=loss)
    writer.write(tmp_path)
    losses = [wandb_records.history(wandb_file.read(file))[0]["train/loss"] for file in files(tmp_path)]
    assert losses == [1.0, 2.0]  # as their folders are named, which is by time


def test_a_second_writer_leaves_all_to_the_first_and_does_not_import_wandb(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)):
        pass
    with (journal.pending(tmp_path) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-X", "importtime", *WRITER[1:], str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert "glue_pool.on_wandb.journal" in second.stderr
        assert "wandb.sdk" not in second.stderr
        assert not files(tmp_path)
        with tracked(offline(tmp_path), OTHER):
            pass
    writer.write(tmp_path)
    assert len(files(tmp_path)) == 2


def test_a_disk_that_is_full_for_a_while_costs_nothing_that_was_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here a limit of a file's size stands for the disk: a line is written in part, others not at all."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tracked(offline(tmp_path)) as tracker:
        step(tracker, step=1)
        size = journals(tmp_path)[0].stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        try:
            step(tracker, step=2)
            step(tracker, step=3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        tracker.summary(RESULT)
    (warning,) = caplog.messages
    assert warning.startswith("W&B may miss a part of this run (OSError: ")
    records = wandb_records.written(tmp_path, KEY)
    assert [row["step"] for row in wandb_records.history(records) if "train/loss" in row] == [1, 2, 3]
    assert wandb_records.summary(records)["score"] == RESULT["score"]
    assert wandb_file.exit_code(records) == 0


def test_what_is_left_alone_is_said_with_its_reason_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracked(offline(tmp_path)):
        pass
    there = journal.pending(tmp_path)
    first = {"host": "elsewhere", "started": 0.0, "init": {"id": "a", "project": "p", "entity": None}}
    damaged = {name: json.dumps(first | {name: None}) for name in ("started", "init")}
    damaged |= {f"no {name}": json.dumps({k: v for k, v in first.items() if k != name}) for name in first}
    damaged |= {"cut": json.dumps(first)[:-5], "list": "[]", "bytes": "\udcff"}
    for name, content in damaged.items():
        (there / f"damaged {name}.jsonl").write_text(content + "\n", errors="surrogateescape")
    (there / "empty.jsonl").touch()
    (there / "folder.jsonl").mkdir()
    (there / "loop.jsonl").symlink_to("loop.jsonl")
    (there / "stranger.jsonl").write_text(json.dumps(first) + "\n")
    cli.main(["sync", str(tmp_path / "wandb")])
    said = capsys.readouterr()
    assert said.out.endswith("1 to upload, 0 uploaded before, 0 not over, 0 older attempt\n")
    reasons = dict(line.removeprefix(f"{there}/").split(": ", 1) for line in said.err.splitlines())
    assert len(reasons) == len(damaged) + 4
    for name in damaged:
        assert reasons.pop(f"damaged {name}.jsonl") == "can't be made a W&B run: its first line is damaged"
    assert reasons == {
        "empty.jsonl": "is empty: its run has just started, or was killed then",
        "folder.jsonl": "can't be made a W&B run: it can't be read (Is a directory)",
        "loop.jsonl": "can't be made a W&B run: it can't be read (Too many levels of symbolic links)",
        "stranger.jsonl": "whether its run on elsewhere is at work can't be seen from here; it is taken for killed "
        "after 24 h without a word, which are 0.0 h by now",
    }


@pytest.mark.parametrize("end", ["", '{"finish": 1, "at": 1.0}\n'], ids=["killed", "failed"])
def test_the_attempt_that_began_last_is_uploaded_even_if_an_earlier_one_is_written_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
    (early,) = journals(tmp_path)
    first, row, _ = early.read_text().splitlines()
    early.unlink()
    with tracked(offline(tmp_path), name="finished") as tracker:
        step(tracker)
    writer.write(tmp_path)
    early.write_text(f"{first}\n{row}\n{end}")
    cli.main(["sync", str(tmp_path)])
    out = capsys.readouterr().out
    assert "to upload: finished, " in out
    assert out.endswith("1 to upload, 0 uploaded before, 0 not over, 1 older attempt\n")


def test_a_journal_that_wandb_refuses_stays_with_a_log_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in (KEY, OTHER):
        with tracked(offline(tmp_path), key):
            pass
    refused = journals(tmp_path)[0]
    content = refused.read_text()
    for damaged, reason in (
        (content.replace('"project": "glue_pool"', '"project": "a/b"'), "Invalid project name"),
        (content.replace('"project": "glue_pool", ', ""), "KeyError: 'project'"),
        (content.replace('"at": ', '"when": '), "KeyError: 'at'"),  # W&B has begun its files then
    ):
        refused.write_text(damaged)
        cli.main(["sync", str(tmp_path)])
        said = capsys.readouterr()
        assert said.err == f"{refused}: can't be made a W&B run; {refused.stem}.log beside it says why\n"
        assert "1 to upload" in said.out
        assert journals(tmp_path) == [refused]
        assert reason in refused.with_suffix(".log").read_text()
        assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    with tracked(offline(tmp_path), KEY[::-1]):
        pass
    cli.main(["sync", str(tmp_path)])  # the others go on, in the same process
    assert "2 to upload" in capsys.readouterr().out
    refused.write_text(content)
    cli.main(["sync", str(tmp_path)])
    assert "3 to upload" in capsys.readouterr().out
    assert [path.name for path in journal.pending(tmp_path).iterdir()] == ["lock"]


def test_a_journal_of_another_host_is_left_alone_until_it_has_been_silent_for_a_day(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
    (file,) = journals(tmp_path)
    first, *rest = file.read_text().splitlines()
    elsewhere = json.dumps(json.loads(first) | {"host": "elsewhere"})
    file.write_text("\n".join([elsewhere, *rest[:-1]]) + "\n")  # it does not say how it ended
    writer.write(tmp_path)
    assert journals(tmp_path) == [file]
    os.utime(file, (0, 0))
    writer.write(tmp_path)
    assert not journals(tmp_path)


def test_a_folder_that_nobody_can_write_in_has_no_writer_and_is_read_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracked(offline(tmp_path)):
        pass
    writer.write(tmp_path)
    lock = journal.pending(tmp_path) / "lock"
    lock.unlink()
    lock.symlink_to("/proc/nowhere")
    cli.main(["sync", str(tmp_path)])
    assert "1 to upload" in capsys.readouterr().out
