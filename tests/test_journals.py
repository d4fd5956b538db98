"""What offline runs write down for W&B, and the process that makes W&B's files of it, alone and at the right time."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    records = wandb_file.find(tmp_path, KEY)
    assert [row["step"] for row in wandb_file.history(records)] == [10]
    assert wandb_file.exit_code(records) == 0
    assert not journals(tmp_path / "out")


def test_the_journal_of_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
        writer.write(tmp_path, wait=True)
        assert len(journals(tmp_path)) == 1
        step(tracker, step=20)
    assert not files(tmp_path)
    writer.write(tmp_path)
    assert [row["step"] for row in wandb_file.history(wandb_file.find(tmp_path, KEY))] == [10, 20]
    assert not journals(tmp_path)


def test_rows_keep_the_times_at_which_they_were_told(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
        tracker.evaluation(EVALUATION)
    (file,) = journals(tmp_path)
    told = [line["at"] for line in map(json.loads, file.read_text().splitlines()) if "log" in line]
    written = [
        float(item.value_json)
        for record in wandb_file.find(tmp_path, KEY)
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
    records = wandb_file.find(tmp_path, KEY)
    assert wandb_file.summary(records)["score"] == RESULT["score"]
    assert (wandb_file.exit_code(records), wandb_file.preempted(records)) == (1, True)


def test_attempts_at_one_run_keep_their_order_and_files_of_their_own(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        with tracked(offline(tmp_path)) as tracker:
            step(tracker, loss=loss)
    writer.write(tmp_path)
    losses = [wandb_file.history(wandb_file.read(file))[0]["train/loss"] for file in files(tmp_path)]
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


def test_a_journal_that_wandb_refuses_stays_with_a_log_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in (KEY, OTHER):
        with tracked(offline(tmp_path), key):
            pass
    refused = journals(tmp_path)[0]
    refused.write_text(refused.read_text().replace('"project": "glue_pool"', '"project": "a/b"'))
    cli.main(["sync", str(tmp_path)])
    said = capsys.readouterr()
    assert said.err == f"{refused}: can't be made a W&B run; {refused.stem}.log beside it says why\n"
    assert "1 to upload" in said.out
    assert journals(tmp_path) == [refused]
    assert "Invalid project name" in refused.with_suffix(".log").read_text()


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
