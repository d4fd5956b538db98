"""The W&B mirror: what it writes is read back from its files; what it must not do is tried for real."""

import math
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import wandb_records
from conftest import unshare
from glue_pool.errors import UserError
from glue_pool.on_wandb import wandb_file, writer
from glue_pool.on_wandb.variables import get_ready
from glue_pool.schema import TrackingConfig
from glue_pool.tracking import Tracker, track

ROOT = Path(__file__).parents[1]
KEY = "0123456789abcdef" * 4
STEP = {"step": 10, "epoch": 0.5, "loss": 0.7, "learning_rate": 2e-5, "examples_per_second": 123.4}
EVALUATION = {
    "epoch": 1.0,
    "step": 20,
    "train_loss": 0.71,
    "loss": {"validation_matched": 0.69, "validation_mismatched": 0.68},
    "metrics": {
        "validation_matched": {"accuracy": 0.58, "f1": 0.5},
        "validation_mismatched": {"accuracy": 0.57, "f1": 0.25},
    },
    "score": 0.58,
    "seconds": 1.5,
}
RESULT = {
    "schema": 1,
    "run_key": KEY,
    "status": "completed",
    "metrics": {"validation": {"accuracy": 0.58}},
    "best": {"epoch": 2.0, "metrics": {"validation": {"accuracy": 0.6}}},
    "primary_metric": "accuracy",
    "score": 0.58,
    "train_rows": 2490,
    "collapsed": False,
    "parameters": {"total": 100, "pooling": 10},
    "timing": {"setup_seconds": 1.0, "train_seconds": 2.5},
    "peak_memory_bytes": 5,
    "error": None,
}


@pytest.fixture(scope="module", autouse=True)
def end_of_service() -> Iterator[None]:
    yield
    import wandb

    wandb.teardown()


def offline(folder: Path, **changes: Any) -> TrackingConfig:
    return TrackingConfig(**({"mode": "offline", "dir": str(folder)} | changes))


def tracked(cfg: TrackingConfig, key: str = KEY, **changes: Any) -> Any:
    names: dict[str, Any] = {"name": "rte maxpool 3", "group": "rte/maxpool", "tags": ["rte"]}
    return track(cfg, run_key=key, **(names | {"config": {"seed": 3}} | changes))


def read_yaml(name: str) -> dict[str, Any]:
    loaded = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/tracking/{name}.yaml"))
    assert isinstance(loaded, dict)
    return {str(key): value for key, value in loaded.items()}


def step(tracker: Tracker, **changes: Any) -> None:
    tracker.step(**(STEP | changes))


CHILD = """
import os, signal, sys, time
from pathlib import Path
from glue_pool.errors import UserError
from glue_pool.schema import TrackingConfig
from glue_pool.tracking import track

out = Path.home() / "out"
row = dict(step=10, epoch=0.5, loss=0.7, learning_rate=2e-5, examples_per_second=123.4)
result = dict(
    status="completed", score=0.5, primary_metric="accuracy", train_rows=None, metrics={}, best=None
)

def tracked(mode, key="0123456789abcdef"):
    cfg = TrackingConfig(mode=mode, dir=str(out))
    names = dict(name="rte maxpool 3", group="rte/maxpool", tags=["rte"], config={"seed": 3})
    return track(cfg, run_key=key, **names)
"""


def child(code: str, home: Path, *before: str, **env: str) -> list[str]:
    """A command that runs code in a process of its own, with no W&B settings but those of `env`."""
    clean = [f"{name}={value}" for name, value in os.environ.items() if "WANDB" not in name]
    clean += [f"HOME={home}", f"PYTHONPATH={ROOT / 'src'}", *(f"{k}={v}" for k, v in env.items())]
    return ["env", "-i", *clean, *before, sys.executable, "-c", CHILD + code]


def test_everything_logged_comes_back(tmp_path: Path) -> None:
    config = {"task": {"name": "rte", "columns": ["a", "b"]}, "seed": 3, "subset": {"size": None}}
    with tracked(offline(tmp_path, tags=["mine"]), config=config, tags=["rte", "maxpool"]) as tracker:
        step(tracker)
        tracker.evaluation(EVALUATION)
        tracker.summary(RESULT)

    records = wandb_records.written(tmp_path, KEY)
    run = wandb_file.run(records)
    assert wandb_records.config(records) == config
    assert (run.run_id, run.project, run.job_type) == (KEY[:16], "glue_pool", "train")
    assert (run.run_group, run.display_name) == ("rte/maxpool", "rte maxpool 3")
    assert list(run.tags) == ["rte", "maxpool", "mine"]
    assert wandb_records.history(records) == [
        {
            "step": 10,
            "epoch": 0.5,
            "train/loss": 0.7,
            "train/learning_rate": 2e-5,
            "train/examples_per_second": 123.4,
        },
        {
            "step": 20,
            "epoch": 1.0,
            "validation_matched/accuracy": 0.58,
            "validation_matched/f1": 0.5,
            "validation_matched/loss": 0.69,
            "validation_mismatched/accuracy": 0.57,
            "validation_mismatched/f1": 0.25,
            "validation_mismatched/loss": 0.68,
            "dev/loss": 0.69,
            "dev/score": 0.58,
        },
        {"train_rows": 2490, "score": 0.58, "objective": 0.58, "step": 20},  # wandb adds the last step
    ]
    summary = wandb_records.summary(records)
    expected = {
        "status": "completed",
        "score": 0.58,
        "objective": 0.58,
        "primary_metric": "accuracy",
        "collapsed": 0,
        "failed": 0,
        "validation/accuracy": 0.58,
        "best/epoch": 2.0,
        "best/validation/accuracy": 0.6,
        "parameters/total": 100,
        "parameters/pooling": 10,
        "timing/setup_seconds": 1.0,
        "timing/train_seconds": 2.5,
        "peak_memory_bytes": 5,
    }
    assert {name: summary[name] for name in expected} == expected
    assert type(summary["collapsed"]) is int
    assert "error" not in summary
    assert wandb_file.exit_code(records) == 0


def test_a_search_maximises_the_negative_where_lower_is_better(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        tracker.summary(RESULT | {"primary_metric": "log_loss", "score": 0.7})
    records = wandb_records.written(tmp_path, KEY)
    (last,) = wandb_records.history(records)
    for row in (last, wandb_records.summary(records)):
        assert (row["score"], row["objective"]) == (0.7, -0.7)


def test_a_failed_run_has_no_objective(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        tracker.summary(RESULT | {"status": "failed", "score": None})
    assert not {"score", "objective"} & set(wandb_records.summary(wandb_records.written(tmp_path, KEY)))


def test_step_is_the_x_axis(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)):
        pass
    metrics = [r.metric for r in wandb_records.written(tmp_path, KEY) if r.HasField("metric")]
    assert [(m.name or m.glob_name, m.step_metric) for m in metrics] == [("step", ""), ("*", "step")]


def test_nan_stays_nan(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        step(tracker, loss=float("nan"))
        tracker.summary(RESULT | {"score": float("nan"), "train_rows": None})
    records = wandb_records.written(tmp_path, KEY)
    (row,) = wandb_records.history(records)
    assert math.isnan(row["train/loss"])
    assert wandb_records.summary(records)["score"] == "NaN"  # what W&B shows as NaN


def test_runs_of_one_process_do_not_mix(tmp_path: Path) -> None:
    keys = ["a" * 64, "b" * 64]
    with tracked(offline(tmp_path), keys[0]) as outer:
        step(outer, loss=1.0)
        with tracked(offline(tmp_path), keys[1], config={"seed": 4}) as inner:
            step(inner, loss=2.0)
            step(outer, loss=3.0)
    losses = [
        [row["train/loss"] for row in wandb_records.history(wandb_records.written(tmp_path, key))] for key in keys
    ]
    assert losses == [[1.0, 3.0], [2.0]]
    seeds = [wandb_records.config(wandb_records.written(tmp_path, key))["seed"] for key in keys]
    assert seeds == [3, 4]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_raising_body_is_a_failed_run(tmp_path: Path, error: type[BaseException]) -> None:
    def body() -> None:
        with tracked(offline(tmp_path)) as tracker:
            step(tracker)
            raise error

    with pytest.raises(error):
        body()
    records = wandb_records.written(tmp_path, KEY)
    assert wandb_file.exit_code(records) == 1
    assert len(wandb_records.history(records)) == 1


def test_a_failed_result_is_a_failed_run_and_has_no_score(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)) as tracker:
        numbers: dict[str, Any] = {"metrics": {}, "best": None, "score": None, "collapsed": None, "timing": None}
        tracker.summary(RESULT | numbers | {"status": "failed", "error": "the training loss is nan"})
    records = wandb_records.written(tmp_path, KEY)
    assert wandb_file.exit_code(records) == 1
    summary = wandb_records.summary(records)
    assert summary["error"] == "the training loss is nan"
    assert summary["failed"] == 1
    assert "score" not in summary


def test_records_larger_than_a_block_survive(tmp_path: Path) -> None:
    config = {f"key{size}": "é" * size for size in (10, 32 * 1024, 100_000)}
    with tracked(offline(tmp_path), config=config) as tracker:
        for i in range(300):
            step(tracker, step=i)
    records = wandb_records.written(tmp_path, KEY)
    assert wandb_records.config(records) == config
    assert [row["step"] for row in wandb_records.history(records)] == list(range(300))


def test_the_reader_goes_on_from_a_first_part_for_which_a_block_had_no_room(tmp_path: Path) -> None:
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    def chunk(kind: int, data: bytes) -> bytes:
        return wandb_file.HEADER.pack(zlib.crc32(bytes([kind]) + data), len(data), kind) + data

    room = wandb_file.BLOCK - len(wandb_file.FILE_HEADER) - 2 * wandb_file.HEADER.size
    long, short = Record(uuid="a" * room), Record(uuid="b")
    long.uuid = long.uuid[long.ByteSize() - room :]
    path = tmp_path / "run.wandb"
    chunks = [
        chunk(wandb_file.FULL, long.SerializeToString()),  # to seven bytes before the block's end
        chunk(wandb_file.FIRST, b""),
        chunk(wandb_file.LAST, short.SerializeToString()),
    ]
    path.write_bytes(wandb_file.FILE_HEADER + b"".join(chunks))
    assert wandb_file.read(path) == [long, short]


def test_the_reader_notices_a_flipped_bit(tmp_path: Path) -> None:
    with tracked(offline(tmp_path)):
        pass
    wandb_records.written(tmp_path, KEY)  # it is complete
    (path,) = tmp_path.rglob("*.wandb")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"checksum|missing"):
        wandb_file.read(path)


def test_a_long_or_repeated_tag_does_not_stop_a_run(tmp_path: Path) -> None:
    with tracked(offline(tmp_path, tags=["rte", ""]), tags=["rte", "x" * 100]):
        pass
    assert list(wandb_file.run(wandb_records.written(tmp_path, KEY)).tags) == ["rte", "x" * 64]


def test_a_second_run_of_a_process_costs_little(tmp_path: Path) -> None:
    seconds = []
    for i in range(4):
        started = time.perf_counter()
        with tracked(offline(tmp_path), str(i) * 64):
            pass
        seconds.append(time.perf_counter() - started)
    assert min(seconds[1:]) < 0.1


def test_tracking_draws_no_random_number(tmp_path: Path) -> None:
    before = random.getstate()
    with tracked(offline(tmp_path)) as tracker:
        step(tracker)
    assert random.getstate() == before


def test_none_leaves_no_file_and_does_not_import_wandb(tmp_path: Path) -> None:
    code = """
with tracked("none") as tracker:
    tracker.step(**row)
    tracker.evaluation(dict(step=20, epoch=1.0, metrics={"dev": {"accuracy": 0.5}}, loss={"dev": 0.7}, score=0.5))
    tracker.summary(result)
assert "wandb" not in sys.modules
"""
    subprocess.run(child(code, tmp_path), check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


@dataclass
class Job:
    """A tracked run in a process of its own, in an unfriendly shell and, if possible, without a network."""

    home: Path
    namespace: bool
    output: str
    errors: str


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    home = tmp_path_factory.mktemp("home")
    shell = dict.fromkeys(("WANDB_RUN_GROUP", "WANDB_TAGS", "WANDB_NAME"), "from-the-shell")
    shell |= {"SLURM_JOB_ID": "1"}  # where W&B's files are waited for
    shell |= {"WANDB_MODE": "disabled", "WANDB_API_KEY": "5ec4e7" * 8 + "\n", "HF_TOKEN": "hf_5ec4e7"}
    shell |= dict.fromkeys(("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID", "WANDB_SERVICE", "WANDB_RESUME"), "a/b")
    shell |= dict.fromkeys(("WANDB_SILENT", "WANDB_BASE_URL", "WANDB_HTTP_TIMEOUT", "WANDB_DISABLED"), "perhaps")
    folders = (
        "WANDB_DIR",
        "WANDB_CACHE_DIR",
        "WANDB_CONFIG_DIR",
        "WANDB_DATA_DIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
    )
    shell |= dict.fromkeys(folders, "/proc/nowhere")
    for settings in (home / ".config/wandb", home / "wandb"):
        settings.mkdir(parents=True)
        (settings / "settings").write_text("[default]\nsilent = perhaps\nproject = a/b\n")
    (home / ".netrc").write_text("no netrc")
    # after "$@" has ended, writer and wandb's service have too; the one try at the end shows that tries are counted
    look = "cat /proc/net/snmp /proc/net/snmp6; echo ---"
    try_one = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 53))"
    script = f"""set -e; "$@"; {look}; {sys.executable} -c "{try_one}" 2>/dev/null || {look}"""
    namespace = unshare()
    code = """
os.chdir(Path.home())
before = dict(os.environ)
for key in ("0123456789abcdef", "b" * 16):
    with tracked("offline", key) as tracker:
        tracker.step(**row)
    assert not list((out / "wandb/pending").glob("*.jsonl"))
assert dict(os.environ) == before
assert "wandb" not in sys.modules
"""
    command = child(code, home, *namespace, "sh", "-c", script, "sh", **shell)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return Job(home, bool(namespace), done.stdout, done.stderr)


def refused(counters: str) -> int:
    """Packets and connections, IPv4 and IPv6, that found no route: the counters of /proc/net."""
    names, values = (line.split() for line in counters.splitlines() if line.startswith("Ip: "))
    six = next(line for line in counters.splitlines() if line.startswith("Ip6OutNoRoutes"))
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(six.split()[1])


def test_offline_works_without_a_network_and_never_tries_to_reach_one(job: Job) -> None:
    if not job.namespace:
        pytest.skip("unshare cannot make a network namespace here")
    during, after, _ = job.output.split("---\n")
    assert [refused(during), refused(after)] == [0, 1]
    assert len(wandb_records.history(wandb_records.find(job.home, KEY))) == 1


def test_offline_says_nothing(job: Job) -> None:
    assert job.errors == ""


def test_no_secret_reaches_a_file(job: Job) -> None:
    files = [path for path in job.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if b"5ec4e7" in path.read_bytes()]


def test_the_shell_does_not_override_the_config(job: Job) -> None:
    for key in (KEY, "b" * 16):  # what fails at a process's first run may pass at its second
        records = wandb_records.find(job.home / "out", key)
        run = wandb_file.run(records)
        assert (run.run_id, run.project, run.entity) == (key[:16], "glue_pool", "")
        assert (run.run_group, run.display_name) == ("rte/maxpool", "rte maxpool 3")
        assert list(run.tags) == ["rte"]
        assert wandb_file.exit_code(records) == 0


def test_ones_own_use_of_wandb_goes_by_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with tracked(offline(tmp_path)):
        pass
    writer.write(tmp_path)
    assert wandb.setup().settings.project == "mine"
    with tracked(offline(tmp_path), "b" * 64):
        pass
    writer.write(tmp_path)
    assert wandb.setup().settings.project == "mine"
    assert wandb_file.run(wandb_records.written(tmp_path, "b" * 64)).project == "glue_pool"


@pytest.mark.parametrize(
    ("mode", "shell", "said"),
    [
        ("online", {"WANDB_API_KEY": "5ec4e7\n"}, "WANDB_API_KEY (in the environment): API key cannot start or end"),
        ("online", {"WANDB_SILENT": "perhaps"}, "WANDB_SILENT (in the environment): Input should be a valid boolean"),
        ("online", {"WANDB_HTTP_TIMEOUT": "0.5"}, "WANDB_HTTP_TIMEOUT (in the environment): invalid literal for int()"),
        ("online", {"WANDB_CACHE_DIR": "/proc/nowhere"}, "W&B's cache, /proc/nowhere: can't be written (No such"),
        ("online", {"XDG_CACHE_HOME": "/proc/nowhere"}, "name another with WANDB_CACHE_DIR=…"),
        ("offline", {"WANDB_SWEEP_ID": "a", "WANDB_RUN_ID": "a/b"}, "WANDB_RUN_ID (in the environment): Run ID cannot"),
    ],
)
def test_a_variable_that_the_run_goes_by_is_named(
    mode: str, shell: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as refused, tracked(offline(tmp_path, mode=mode)):
        pass
    assert said in str(refused.value)
    assert "5ec4e7" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_utf_8_is_refused_before_wandb_fails_on_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tracking\.dir=.*: no UTF-8, which W&B needs"):
        get_ready(offline(tmp_path / "\udcff"))


@pytest.mark.parametrize(
    ("shell", "reason"),
    [
        pytest.param({}, "no API key", id="no API key"),
        pytest.param({"WANDB_API_KEY": "a" * 40}, "connection refused", id="no server"),
    ],
)
def test_online_that_cannot_be_stops_before_training(tmp_path: Path, shell: dict[str, str], reason: str) -> None:
    code = """
try:
    with tracked("online"):
        print("trained")
except UserError as error:
    print(error)
"""
    command = child(code, tmp_path, WANDB_BASE_URL="http://127.0.0.1:1", **shell)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    (line,) = done.stdout.splitlines()
    assert all(words in line for words in (reason, "wandb login", "tracking=wandb,"))
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_killed_run_keeps_what_it_logged(tmp_path: Path) -> None:
    code = """
with tracked("offline") as tracker:
    tracker.step(**row)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run(child(code, tmp_path), timeout=60).returncode == -signal.SIGKILL
    records = wandb_records.written(tmp_path, KEY)
    assert len(wandb_records.history(records)) == 1
    assert (wandb_file.exit_code(records), wandb_file.preempted(records)) == (1, True)


def test_a_dying_service_stops_neither_the_run_nor_the_next_one(tmp_path: Path) -> None:
    code = """
import glob, logging
logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s")
os.environ["WANDB_RUN_ID"] = "a" * 16
with tracked("offline") as tracker:
    for children in glob.glob("/proc/self/task/*/children"):
        for pid in map(int, Path(children).read_text().split()):
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for _ in range(100):
        tracker.step(**row)
        time.sleep(0.001)
    tracker.summary(result)
os.environ["WANDB_RUN_ID"] = "b" * 16
with tracked("offline") as tracker:
    tracker.step(**row)
"""
    command = child(code, tmp_path, WANDB_SWEEP_ID="sweep")  # there W&B itself is told
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    (warning,) = done.stdout.splitlines()
    assert warning.startswith("glue_pool.tracking W&B may miss a part of this run")
    assert len(wandb_records.history(wandb_records.find(tmp_path, "b" * 16))) == 1


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cfg = offline(tmp_path / "file")
    with pytest.raises(UserError, match=r"tracking\.dir=.*tracking=none"), tracked(cfg):
        pass


def test_a_project_name_that_wandb_refuses_is_a_user_error(tmp_path: Path) -> None:
    import wandb

    for project in (*(f"a{chr(code)}b" for code in range(256)), "ä" * 128, "ä" * 129):
        try:
            wandb.Settings(project=project)
        except wandb.errors.UsageError:
            with pytest.raises(UserError, match=r"tracking\.project=.*W&B takes at most 128 characters, none of "):
                get_ready(offline(tmp_path, project=project))
        else:
            get_ready(offline(tmp_path, project=project))


def test_the_yaml_files_differ_only_in_their_mode() -> None:
    modes = {"wandb": "offline", "wandb_online": "online", "none": "none"}
    files = {name: read_yaml(name) for name in modes}
    assert {name: loaded.pop("mode") for name, loaded in files.items()} == modes
    assert files["wandb"] == files["wandb_online"] == files["none"]
