"""Runs that are really killed, and go on to the same result (about a minute).

Every run is a process of its own, forked from a server that has imported the libraries.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from filelock import SoftFileLease
from safetensors import safe_open

import wandb_records
from conftest import some
from glue_pool import checkpoints, train
from glue_pool.checkpoints import Checkpoint
from glue_pool.errors import Interrupted
from glue_pool.locks import Lease
from glue_pool.on_wandb import wandb_file
from glue_pool.results import RunFolder
from glue_pool.schema import CheckpointConfig
from glue_pool.signals import Signals

TINY = (
    "experiment=offline",
    "encoder.num_hidden_layers=1",
    "task=rte",
    "data.train_rows=44",
    "data.dev_rows=32",
    "train.batch_size=8",  # six steps an epoch, the last one smaller
    "train.eval_batch_size=4",
    "train.max_steps=9",  # an epoch and a half
    "tracking.log_every=1",
    "pooling.k=1",
)
ALWAYS = "checkpoint.minutes=1e-9"  # a checkpoint after every step
NEVER = "checkpoint.minutes=null"
CHECKPOINT = "checkpoint.safetensors"

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    [
        "wandb.apis.public",
        "datasets",
        "sklearn.metrics",
        "transformers.models.bert.modeling_bert",
        "glue_pool.checkpoints",
        "glue_pool.manifest",
        "glue_pool.training.probe",
        "glue_pool.saved.folder",
        "glue_pool.train",
    ]
)


def run_main(line: list[str], printed: Path, before: Callable[[], None] | None) -> None:
    """The body of a run's process."""
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if before:
        before()
    sys.argv = ["glue-pool-train", *line]
    train.main()


@dataclass
class Runs:
    """Attempts at one run, in one folder."""

    root: Path
    options: tuple[str, ...] = ()
    tracking: str = "none"
    attempts: list[Path] = field(default_factory=list)

    def start(self, *further: str, before: Callable[[], None] | None = None) -> ForkServerProcess:
        """Start the process of another attempt."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.attempts.append(self.root / f"printed-{len(self.attempts)}")
        self.attempts[-1].touch()
        places = [f"output_root={self.root}/outputs", f"data.cache_dir={self.root.parent}/cache"]
        tracking = [f"tracking={self.tracking}", f"tracking.dir={self.root}/attempt{len(self.attempts)}"]
        threads = f"train.threads={(1, 2, 4)[(len(self.attempts) - 1) % 3]}"  # numbers don't depend on it
        line = [*TINY, *places, *tracking, threads, *self.options, *further]
        process = server.Process(target=run_main, args=(line, self.attempts[-1], before))
        process.start()
        return process

    def finish(self, *further: str, before: Callable[[], None] | None = None) -> int:
        """Run another attempt to its end and return its exit code."""
        return ended(self.start(*further, before=before))

    def interrupt(self, number: signal.Signals, moment: Callable[["Runs"], object], *further: str) -> int:
        """Send a signal to another attempt at a moment of it; return its exit code."""
        process = self.start(*further)
        self.wait(process, moment)
        assert process.pid
        os.kill(process.pid, number)
        return ended(process)

    def wait(self, process: ForkServerProcess, moment: Callable[["Runs"], object]) -> None:
        deadline = time.monotonic() + 60
        while not moment(self):
            assert process.is_alive(), self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.003)

    @property
    def printed(self) -> str:
        """What the last attempt said."""
        return self.attempts[-1].read_text()

    @property
    def folder(self) -> Path:
        """The run's folder."""
        (manifest,) = self.root.glob("outputs/*/*/*/*/*/manifest.json")
        return manifest.parent

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint."""
        return self.folder / CHECKPOINT

    @property
    def result(self) -> dict[str, Any]:
        """The run's result."""
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    def history(self) -> list[dict[str, Any]]:
        lines = (self.folder / "history.jsonl").read_text().splitlines()
        return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]

    def tracked(self) -> list[dict[str, Any]]:
        """What the last attempt told W&B, less speeds."""
        records = wandb_records.written(self.root / f"attempt{len(self.attempts)}", self.result["run_key"])
        rows = wandb_records.history(records)
        return [{name: value for name, value in row.items() if "per_second" not in name} for row in rows]


def ended(process: ForkServerProcess) -> int:
    process.join(90)
    assert process.exitcode is not None
    return process.exitcode


def reaches(step: int) -> Callable[[Runs], bool]:
    """Whether a line about this step, or a later one, was printed."""
    return lambda runs: max(map(int, re.findall(r"step (\d+)/", runs.printed)), default=0) >= step


def resumed(runs: Runs) -> bool:
    return "resumed at" in runs.printed


def writes_a_checkpoint(runs: Runs) -> bool:
    """Whether one is there and the next is being written."""
    found = {file.name[: len(CHECKPOINT)] for file in runs.root.glob(f"outputs/*/*/*/*/*/*{CHECKPOINT[4:]}*")}
    return len(found) == 2


def step_of(checkpoint: Path) -> int:
    with safe_open(checkpoint, "pt") as file:
        return int(json.loads(file.metadata()["about"])["step"])


def same_numbers(runs: Runs, whole: Runs) -> bool:
    """Whether two runs have the same predictions, bit for bit, and the same losses and scores on their way."""
    tables = [pq.read_table(each.folder / "predictions.parquet") for each in (runs, whole)]
    return tables[0].equals(tables[1]) and runs.history() == whole.history()


@pytest.mark.parametrize(
    ("tracking", "options"),
    [
        pytest.param("wandb", ("train.precision=fp32", "train.max_steps=40"), id="fp32"),
        pytest.param(
            "none",
            ("train.precision=bf16", "train.max_steps=null", "train.epochs=1", "train.min_steps=38"),
            id="bf16, min_steps",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "none",
            ("encoder.freeze=true", "optimizer.lr=1e-2", "train.max_steps=40"),
            id="probe",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_run_killed_again_and_again_ends_as_an_uninterrupted_one(
    tmp_path: Path, tracking: str, options: tuple[str, ...]
) -> None:
    whole = Runs(tmp_path / "whole", options, tracking)
    assert whole.finish() == 0
    assert whole.result["resumed_at_steps"] == []

    runs = Runs(tmp_path / "killed", options, tracking)
    assert runs.interrupt(signal.SIGKILL, reaches(3), ALWAYS) == -signal.SIGKILL
    assert runs.interrupt(signal.SIGTERM, reaches(5), NEVER) == 128 + signal.SIGTERM
    third = step_of(runs.checkpoint)
    assert third >= 5
    last_line = runs.printed.splitlines()[-1]
    assert last_line == f"interrupted by SIGTERM at step {third} of {whole.history()[-1]['step']}; " + (
        "the same command goes on from there"
    )
    assert runs.interrupt(signal.SIGUSR2, reaches(third + 1), NEVER) == 128 + signal.SIGUSR2
    assert f"resumed at step {third} of" in runs.printed
    assert runs.finish(NEVER) == 0

    assert same_numbers(runs, whole)
    if tracking == "wandb":
        assert runs.tracked() == whole.tracked()
    resumed = runs.result["resumed_at_steps"]
    assert len(resumed) == 3
    assert resumed == sorted(resumed)
    timing = runs.result["timing"]
    assert timing["train_steps"] == whole.result["timing"]["train_steps"]
    assert timing["total_seconds"] > timing["setup_seconds"] + timing["train_seconds"] + timing["eval_seconds"]
    assert sorted(file.name for file in runs.folder.iterdir()) == sorted(file.name for file in whole.folder.iterdir())


KINDS = {
    "scores": "task.labels=[] task.metrics=[mean_squared_error] task.primary_metric=mean_squared_error "
    "task.standardise=true",
    "label sets": "task.labels=[a,b,c] task.multi_label=true task.metrics=[log_loss] task.primary_metric=log_loss",
}


@pytest.mark.parametrize("kind", ["scores", pytest.param("label sets", marks=pytest.mark.long)])
def test_a_killed_run_of_every_kind_of_task_ends_as_an_uninterrupted_one(tmp_path: Path, kind: str) -> None:
    options = ("task.synthetic=null", *KINDS[kind].split())
    whole, runs = Runs(tmp_path / "whole", options), Runs(tmp_path / "killed", options)
    assert whole.finish() == 0
    assert runs.interrupt(signal.SIGKILL, reaches(7), ALWAYS) == -signal.SIGKILL
    assert runs.finish() == 0
    assert runs.result["resumed_at_steps"][0] >= 6  # in the second epoch
    assert same_numbers(runs, whole)


@pytest.mark.parametrize("choice", some("recipe=mixout"))
def test_a_killed_run_of_every_recipe_and_edit_ends_as_an_uninterrupted_one(tmp_path: Path, choice: str) -> None:
    options = (choice, "encoder.num_hidden_layers=2", "optimizer.lr=1e-3", "train.max_steps=30")
    whole, runs = Runs(tmp_path / "whole", options), Runs(tmp_path / "killed", options)
    assert whole.finish() == 0
    assert runs.interrupt(signal.SIGKILL, reaches(8), ALWAYS) == -signal.SIGKILL
    assert runs.finish() == 0
    assert runs.result["resumed_at_steps"]
    assert same_numbers(runs, whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """An uninterrupted run."""
    runs = Runs(tmp_path_factory.mktemp("runs") / "whole")
    assert runs.finish() == 0
    return runs


@pytest.fixture(scope="module")
def stopped(whole: Runs) -> Runs:
    """The same run, stopped in its second epoch."""
    runs = Runs(whole.root.parent / "stopped")
    assert runs.interrupt(signal.SIGTERM, reaches(7)) == 128 + signal.SIGTERM
    return runs


@pytest.fixture
def copy(stopped: Runs, tmp_path: Path) -> Runs:
    """A copy of the stopped run, to be gone on with."""
    shutil.copytree(stopped.root / "outputs", tmp_path / "copy" / "outputs")
    return Runs(tmp_path / "copy")


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(whole: Runs, tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    assert runs.interrupt(signal.SIGKILL, writes_a_checkpoint, ALWAYS) == -signal.SIGKILL
    left = [file.name for file in runs.folder.iterdir() if file.name.startswith(f".{CHECKPOINT}-")]
    assert len(left) == 1
    assert runs.finish() == 0
    assert same_numbers(runs, whole)
    assert not [file for file in runs.folder.iterdir() if CHECKPOINT in file.name]


def test_an_evaluation_that_was_stopped_is_made_after_all(tmp_path: Path) -> None:
    options = ("data.dev_rows=240", "train.max_steps=7")  # the sixth step ends an epoch: an evaluation of 60 batches
    runs, whole = Runs(tmp_path / "runs", options), Runs(tmp_path / "whole", options)
    assert whole.finish() == 0
    kept = runs.interrupt(signal.SIGKILL, lambda runs: reaches(6)(runs) and step_of(runs.checkpoint) == 6, ALWAYS)
    assert kept == -signal.SIGKILL
    assert runs.interrupt(signal.SIGTERM, resumed) == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM at step 6 of 7" in runs.printed
    assert runs.history() == []
    assert runs.finish() == 0
    assert runs.result["resumed_at_steps"] == [6, 6]
    assert same_numbers(runs, whole)


# files that are no good


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def about(content: bytes) -> tuple[dict[str, Any], int]:
    """A checkpoint's header, and where its tensors begin."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), 8 + length


def made_otherwise(content: bytes, **changes: object) -> bytes:
    """The checkpoint with whole checksums that something else would have made."""
    header, data = about(content)
    said = json.loads(header["__metadata__"]["about"])
    said["made_with"] |= changes
    text = json.dumps(said)
    header["__metadata__"] = {"about": text, "checksum": str(zlib.crc32(text.encode()))}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + content[data:]


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "it is no checkpoint, or damaged"),
    "truncated": (lambda content: content[: len(content) * 2 // 3], "it is no checkpoint, or damaged"),
    "garbage": (lambda content: os.urandom(100_000), "it is no checkpoint, or damaged"),
    "a flipped bit of a tensor": (lambda content: flip(content, 8 * len(content) - 77), "it is damaged"),
    "another run": (lambda content: made_otherwise(content, run_key="0" * 64), "it is of another run"),
    "other versions": (
        lambda content: made_otherwise(content, versions={"torch": "1.0"}),
        "it was made with another versions ({'torch': '1.0', ",
    ),
    "another device": (
        lambda content: made_otherwise(content, device="cuda"),
        "it was made with another device (cuda, now cpu)",
    ),
}


def keeper(runs: Runs, minutes: float | None = 5.0, min_seconds: float = 20.0) -> Checkpoint:
    """What a further attempt would keep its state in."""
    manifest = json.loads((runs.folder / "manifest.json").read_text())
    folder, cfg = RunFolder(runs.folder, manifest["run_key"]), CheckpointConfig(minutes, min_seconds)
    lease = Lease(SoftFileLease(runs.folder / "lease"))  # not held, and so not lost
    return Checkpoint(folder, cfg, manifest, Signals(), time.perf_counter(), lease)


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_is_no_good_is_set_aside(copy: Runs, caplog: pytest.LogCaptureFixture, name: str) -> None:
    spoil, reason = SPOILT[name]
    spoilt = spoil(copy.checkpoint.read_bytes())
    copy.checkpoint.write_bytes(spoilt)
    aside = copy.folder / f"{CHECKPOINT}.set-aside"
    aside.touch()
    assert keeper(copy).resume() is None
    assert not copy.checkpoint.exists()
    assert aside.read_bytes() == spoilt
    (warning,) = caplog.messages
    assert warning.startswith(f"{copy.checkpoint}: {reason}")
    assert warning.endswith(f"; the run starts over, and the file is {aside.name} now")


def test_a_run_starts_over_without_its_spoilt_checkpoint(copy: Runs, whole: Runs) -> None:
    copy.checkpoint.write_bytes(flip(copy.checkpoint.read_bytes(), 1_000_003))
    assert copy.finish() == 0
    assert "it is damaged; the run starts over" in copy.printed
    assert copy.result["resumed_at_steps"] == []
    assert same_numbers(copy, whole)


def test_a_pickle_is_set_aside_and_its_code_does_not_run(copy: Runs, tmp_path: Path) -> None:
    torch.save(Evil(tmp_path / "trace"), copy.checkpoint)
    assert keeper(copy).resume() is None
    assert (copy.folder / f"{CHECKPOINT}.set-aside").exists()
    assert not (tmp_path / "trace").exists()
    torch.load(copy.folder / f"{CHECKPOINT}.set-aside", weights_only=False)  # the trap works
    assert (tmp_path / "trace").exists()


def test_a_state_of_another_model_is_set_aside(copy: Runs, tmp_path: Path) -> None:
    header, _ = about(copy.checkpoint.read_bytes())
    state = keeper(copy).resume()
    assert state
    said = json.loads(header["__metadata__"]["about"])
    tensors = {name: t for name, t in state.tensors.items() if name != "model/output.bias"}
    checkpoints.write(copy.checkpoint, tensors, said)
    assert copy.finish() == 0
    assert "its parameters are not this model's; the run starts over" in copy.printed
    assert copy.result["resumed_at_steps"] == []


def test_every_flipped_bit_is_noticed(stopped: Runs, tmp_path: Path) -> None:
    content = stopped.checkpoint.read_bytes()
    header, data = about(content)
    made_with = json.loads(header["__metadata__"]["about"])["made_with"]
    file = tmp_path / "file"
    file.write_bytes(content)
    checkpoints.read(file, made_with)
    draw, padding = random.Random(0), len(content[:data]) - len(content[:data].rstrip(b" "))
    bits = [*range(64), *(draw.randrange(64, 8 * (data - padding)) for _ in range(200))]
    bits += [draw.randrange(8 * data, 8 * len(content)) for _ in range(10)]
    with file.open("r+b") as spoilt:
        for bit in bits:
            spoilt.seek(bit // 8)
            spoilt.write(bytes([content[bit // 8] ^ 1 << bit % 8]))
            spoilt.flush()
            with pytest.raises(checkpoints.Unusable):
                checkpoints.read(file, made_with)
            spoilt.seek(bit // 8)
            spoilt.write(content[bit // 8 : bit // 8 + 1])


# when there is a checkpoint


def test_a_checkpoint_is_due_after_minutes_or_at_the_end_of_an_epoch_that_took_long(copy: Runs) -> None:
    for minutes, min_seconds, due in (
        (5.0, 20.0, [False, False]),
        (None, 0.0, [False, True]),
        (1e-9, 20.0, [True, True]),
    ):
        kept = keeper(copy, minutes, min_seconds)
        assert [kept.due(at_an_end=at_an_end) for at_an_end in (False, True)] == due


def test_the_end_of_an_epoch_leaves_a_checkpoint_if_it_saves_enough_work(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    runs.interrupt(signal.SIGKILL, reaches(7), NEVER, "checkpoint.min_seconds=0")
    assert step_of(runs.checkpoint) == 6


def test_force_starts_over(copy: Runs) -> None:
    assert copy.interrupt(signal.SIGTERM, reaches(1), "force=true") == 128 + signal.SIGTERM
    assert "resumed" not in copy.printed
    assert "the same command without force=true goes on from there" in copy.printed


def test_a_run_that_failed_starts_over(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs", ("optimizer.lr=1e10", "tracking.log_every=4"))
    assert runs.finish(ALWAYS) == 1
    assert "the training loss is nan at step 2" in runs.printed  # read at step 4, when there were checkpoints
    assert runs.result["status"] == "failed"
    assert not runs.checkpoint.exists()


FULL = """
import os, shutil, sys
from pathlib import Path
from glue_pool import train

disk = Path.cwd()
neighbour = disk / "neighbour"

def fill(leave):
    with neighbour.open("wb") as file:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), max(free - leave, 4096))
                file.seek(0, 2)
            except OSError:
                break

def run(event, name, leave):
    # run with a disk that is full from the moment at which Python opens a file of this name, or renames one to it
    filled = []
    def fill_once(which, arguments):
        if which == event and not filled and str(arguments[event == "os.rename"]).endswith(name):
            filled.append(True)
            fill(leave)
    sys.addaudithook(fill_once)
    try:
        train.main()
    except SystemExit as stopped:
        print("exit", stopped.code, flush=True)
    neighbour.unlink()
    print("left", sorted(file.name for file in disk.rglob("*.*") if file.suffix != ".yaml"), flush=True)

run("open", "history.jsonl", 1 << 20)
shutil.rmtree(disk / "outputs")
run("os.rename", "checkpoint.safetensors", 0)
train.main()
"""


def test_a_full_disk_costs_checkpoints_and_no_run(whole: Runs, tmp_path: Path) -> None:
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=100m tmpfs "$0" && cd "$0" && exec "$@"']
    mount.append(str(tmp_path))
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs (unshare -m)")
    places = [f"output_root={tmp_path}/outputs", f"data.cache_dir={whole.root.parent}/cache", "tracking=none"]
    command = [*mount, sys.executable, "-c", FULL, *TINY, *places, ALWAYS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    no_checkpoint, kept, gone_on = done.stdout.split("\nleft ")
    assert no_checkpoint.count("can't be written (No space left on device); the run goes on without") == 1
    assert f"{whole.result['score']:.4f} accuracy" in no_checkpoint
    assert "'result.json'" in kept.splitlines()[0]
    assert CHECKPOINT not in kept.splitlines()[0]
    assert "exit 1" in kept
    assert "Traceback" not in done.stderr
    assert "history.jsonl can't be written (No space left on device); mend that" in done.stderr
    assert f"'{CHECKPOINT}'" in gone_on.splitlines()[0]
    assert "'result.json'" not in gone_on.splitlines()[0]
    assert "resumed at step" in gone_on
    assert f"{whole.result['score']:.4f} accuracy" in gone_on


# signals


def like_submitit() -> None:
    """Set the handlers that submitit has on Slurm: SIGTERM does nothing, SIGUSR2 puts the job back and ends it."""

    def requeue(number: int, frame: object) -> None:
        (checkpoint,) = Path(sys.argv[-1].split("=")[1]).glob(f"outputs/*/*/*/*/*/{CHECKPOINT}")  # tracking.dir=…
        print(f"requeued at step {step_of(checkpoint)}", flush=True)
        sys.exit(7)

    signal.signal(signal.SIGTERM, lambda number, frame: print("bypassed", flush=True))
    signal.signal(signal.SIGUSR2, requeue)


def test_a_launchers_handlers_are_called_once_the_checkpoint_is_there(whole: Runs, tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    process = runs.start(f"tracking.dir={runs.root}", before=like_submitit)
    assert process.pid
    runs.wait(process, reaches(1))
    os.kill(process.pid, signal.SIGTERM)
    runs.wait(process, lambda runs: "bypassed" in runs.printed)
    assert process.is_alive()
    runs.wait(process, reaches(4))
    os.kill(process.pid, signal.SIGUSR2)
    assert ended(process) == 7
    assert f"requeued at step {step_of(runs.checkpoint)}" in runs.printed
    assert step_of(runs.checkpoint) >= 4
    assert runs.finish() == 0
    assert same_numbers(runs, whole)


def ctrl_c(runs: Runs, whole: Runs, moment: Callable[[Runs], object], *options: str) -> tuple[int, str]:
    """Press Ctrl-C at a moment of the command; return its exit code and what it said on stderr."""
    runs.attempts.append(runs.root / "printed")
    places = [f"output_root={runs.root}/outputs", f"data.cache_dir={whole.root.parent}/cache"]
    command = [sys.executable, "-m", "glue_pool.train", *options, *TINY, *places, f"tracking.dir={runs.root}"]
    with runs.attempts[0].open("w") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not moment(runs):
        assert process.poll() is None
        time.sleep(0.003)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: W&B's service and a sweep's workers get it too
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_is_one_line_and_the_wandb_run_a_preempted_one(whole: Runs, tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    code, err = ctrl_c(runs, whole, reaches(2))
    assert code == 128 + signal.SIGINT
    step = step_of(runs.checkpoint)
    assert err == f"interrupted by SIGINT at step {step} of 9; the same command goes on from there\n"
    records = wandb_records.written(tmp_path, json.loads((runs.folder / "manifest.json").read_text())["run_key"])
    assert wandb_file.exit_code(records) == 1
    assert [record for record in records if record.HasField("preempting")]
    assert not (runs.folder / "result.json").exists()


def test_ctrl_c_stops_a_sweep(whole: Runs, tmp_path: Path) -> None:
    def has_checkpoint(runs: Runs) -> bool:
        return bool(list(runs.root.rglob(CHECKPOINT)))

    line = ("-m", "seed=0,1,2,3", "hydra.launcher.workers=1", "tracking=none", ALWAYS)
    code, err = ctrl_c(Runs(tmp_path), whole, has_checkpoint, *line)
    assert code == 128 + signal.SIGINT, err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("result.json"))
    assert len(list(tmp_path.rglob("manifest.json"))) < 4


def test_a_second_ctrl_c_ends_at_once() -> None:
    def twice() -> None:
        with Signals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.came
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_comes_too_late_for_the_run_stops_what_follows_it() -> None:
    with pytest.raises(Interrupted, match="interrupted by SIGTERM when the run was over"), Signals():
        signal.raise_signal(signal.SIGTERM)


def test_ignored_signals_stay_so_and_other_threads_set_none() -> None:
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert not signals.came
    finally:
        signal.signal(signal.SIGINT, earlier)

    def in_a_thread() -> None:
        with Signals() as signals:
            handlers.append(signal.getsignal(signal.SIGTERM))
            assert not signals.came

    handlers: list[object] = []
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]
