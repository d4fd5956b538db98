"""Sweeps on one machine: what runs, what runs again, what a dead worker costs, and what a person sees."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from glue_pool import commandline
from glue_pool.errors import UserError
from glue_pool.results import find
from test_train import TINY

GRID = ("pooling=mean,cls", "seed=1,2")
OWN_CHOICE = "hydra.launcher.workers=null"  # the sweep's, which is one worker in these tests, since each has to start


class Sweeps:
    """Sweeps of tiny runs, each a process of its own, with one folder for their results."""

    def __init__(self, folder: Path) -> None:
        self.outputs = folder / "outputs"
        self.environment = {
            **os.environ,
            "GLUE_POOL_OUTPUTS": str(self.outputs),
            "GLUE_POOL_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *arguments: str, entry: str = "train") -> subprocess.Popen[str]:
        keys = (i for i, argument in enumerate(arguments) if "=" in argument and not argument.startswith("-"))
        first = next(keys)  # what comes before are options
        words = [*arguments[:first], *TINY, "tracking=none", "hydra.launcher.workers=1", *arguments[first:]]
        command = [sys.executable, "-m", f"glue_pool.{entry}", *words]
        return subprocess.Popen(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __call__(self, *overrides: str, code: int = 0, entry: str = "train") -> str:
        """Run a command line and return what it printed."""
        with self.start(*overrides, entry=entry) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out + err

    def results(self) -> dict[str, dict[str, Any]]:
        files = sorted(self.outputs.rglob("result.json"))
        return {str(file.parent.relative_to(self.outputs)): json.loads(file.read_text()) for file in files}

    def own_pooler(self, name: str, method: str) -> str:
        """Write a pooler of one's own, [CLS] with a method of its own; return the --config-dir that has it."""
        conf = self.outputs.parent / "conf"
        (conf / "pooling").mkdir(parents=True)
        (conf / f"pooling/{name}.yaml").write_text(f"name: {name}\n_target_: {name}.Own\ntanh: none\n")
        lines = [
            "import os, signal",
            "from glue_pool.models.poolers import Cls",
            "class Own(Cls):",
            indent(method, "    "),
        ]
        (conf.parent / f"{name}.py").write_text("\n".join(lines))
        self.environment["PYTHONPATH"] = os.pathsep.join([str(conf.parent), os.environ.get("PYTHONPATH", "")])
        return f"--config-dir={conf}"

    def worker(self) -> int:
        """Wait until a worker has begun to train, and return its process."""
        for _ in _seconds(60):
            if list(self.outputs.rglob("history.jsonl")) and (lock := next(self.outputs.glob(".locks/*.lock"), None)):
                return int(re.findall(r"\b\d+\b", lock.read_text().splitlines()[1])[0])
        raise TimeoutError


def _seconds(limit: float) -> Iterator[None]:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


def test_a_single_run_and_a_sweep_share_folders_and_nothing_runs_twice(sweeps: Sweeps) -> None:
    sweeps("pooling=mean", "seed=1")
    ((single, first),) = sweeps.results().items()
    said = sweeps("-m", *GRID)
    assert "4 runs: 1 done before, 3 to run" in said
    assert re.search(r"^  done   1 before, 3 now, \d:\d\d$", said, re.M)
    results = sweeps.results()
    assert len(results) == 4
    assert results[single] == first
    assert {(result["pooling"], result["seed"]) for result in results.values()} == {
        ("mean", 1), ("mean", 2), ("cls", 1), ("cls", 2)
    }  # fmt: skip
    for result in results.values():
        words = rf"pooling={result['pooling']} seed={result['seed']}: {result['score']:.4f} accuracy"
        assert (words in said) is (result is not results[single])
    written = {file: file.stat().st_mtime_ns for file in sweeps.outputs.rglob("result.json")}
    line = [*TINY, "tracking=none", f"output_root={sweeps.outputs}", *GRID]
    assert {find(cfg).path for cfg in commandline.jobs(["-m", *line])} == {file.parent for file in written}
    assert "4 runs: 4 done before, 0 to run" in sweeps("-m", *GRID)
    assert {file: file.stat().st_mtime_ns for file in written} == written
    sweeps("-m", *GRID, "force=true")
    assert all(file.stat().st_mtime_ns > before for file, before in written.items())
    assert {name: result["score"] for name, result in sweeps.results().items()} == {
        name: result["score"] for name, result in results.items()
    }


def test_a_failed_run_is_recorded_and_listed_and_the_others_go_on(sweeps: Sweeps) -> None:
    said = sweeps("-m", "pooling=mean", "optimizer.lr=1e-4,1e10", "seed=1,2", code=1)
    results = sweeps.results()
    assert sorted(result["status"] for result in results.values()) == ["completed", "completed", "failed", "failed"]
    failed = [result for result in results.values() if result["status"] == "failed"]
    for result in failed:
        assert re.match(r"TrainingFailed: the training loss is (nan|inf) at step \d", result["error"])
        assert "in fit" in result["traceback"]
        label = f"optimizer.lr=10000000000.0 seed={result['seed']}"
        assert len(re.findall(rf"(?m)^[ a-z]* {label}: TrainingFailed: the training loss is .*seed=", said)) == 1
    assert "2 done, 0 running, 2 failed, 0 left" in said

    again = sweeps("-m", "pooling=mean", "optimizer.lr=1e-4,1e10", "seed=1,2", code=1)
    assert "4 runs: 2 done before, 2 to run" in again


def test_a_worker_that_is_killed_costs_its_run_a_retry(sweeps: Sweeps) -> None:
    with sweeps.start("-m", "pooling=mean", "seed=1,2", "train.max_steps=30", "train.eval_steps=3") as sweep:
        os.kill(sweeps.worker(), signal.SIGKILL)
        out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out + err
    assert out.count("its worker ended by SIGKILL, which is also what a machine out of memory sends (where ") == 1
    assert "twice train.accumulate takes less" in out
    assert out.count("once more") == 1
    assert [result["status"] for result in sweeps.results().values()] == ["completed"] * 2


def test_a_run_that_kills_its_worker_twice_is_a_failed_one(sweeps: Sweeps) -> None:
    method = "def forward(self, hidden_states, attention_mask):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    said = sweeps(sweeps.own_pooler("deadly", method), "-m", "pooling=deadly,mean", code=1)
    assert said.count("its worker ended by SIGKILL") == 3  # once more, failed, and in the list
    by_pooling = {result["pooling"]: result for result in sweeps.results().values()}
    assert by_pooling["mean"]["status"] == "completed"
    assert by_pooling["deadly"]["status"] == "failed"
    assert by_pooling["deadly"]["error"].startswith("WorkerDied: its worker ended by SIGKILL")
    assert by_pooling["deadly"]["score"] is None


def test_workers_divide_the_cpu_and_each_has_a_gpu_of_its_own(sweeps: Sweeps, tmp_path: Path) -> None:
    told = (
        "def __init__(self, d, num_layers):\n"
        "    super().__init__(d, num_layers)\n"
        f"    with open({str(tmp_path / 'told')!r}, 'a') as file:\n"
        "        print(os.getpid(), os.environ['CUDA_VISIBLE_DEVICES'], file=file)\n"
    )
    sweeps.environment["CUDA_VISIBLE_DEVICES"] = "4,7"
    del sweeps.environment["OMP_NUM_THREADS"]
    sweeps(sweeps.own_pooler("told", told), "-m", "pooling=told", "seed=1,2,3,4", OWN_CHOICE)
    gpus = dict(line.split() for line in (tmp_path / "told").read_text().splitlines())
    assert sorted(gpus.values()) == ["4", "7"]  # two workers, since there are two
    manifests = [json.loads(file.read_text()) for file in sweeps.outputs.rglob("manifest.json")]
    share = max(len(os.sched_getaffinity(0)) // 2, 1)
    assert [manifest["hardware"]["threads"] for manifest in manifests] == [share] * 4


def test_two_sweeps_share_the_work(sweeps: Sweeps) -> None:
    both = [sweeps.start("-m", *GRID, "train.max_steps=15") for _ in range(2)]
    said = [sweep.communicate(timeout=300) for sweep in both]
    assert [sweep.returncode for sweep in both] == [0, 0], said
    assert any("works on it; the others go on" in out for out, _ in said)
    assert [result["status"] for result in sweeps.results().values()] == ["completed"] * 4
    trained = sum(len(re.findall(r"step 15/15", log.read_text())) for log in sweeps.outputs.rglob("worker-*.log"))
    assert trained == 4


def test_a_sweep_that_is_killed_takes_its_workers_along(sweeps: Sweeps) -> None:
    with sweeps.start("-m", *GRID, "train.max_steps=2000", "train.eval_steps=10") as sweep:
        worker = sweeps.worker()
        sweep.kill()
        sweep.communicate()
    assert any(not alive(worker) for _ in _seconds(20))
    assert list(sweeps.outputs.rglob("checkpoint.safetensors"))
    assert not list(sweeps.outputs.glob(".locks/*"))


def test_sigterm_stops_a_sweep_in_one_line_and_leaves_its_checkpoints(sweeps: Sweeps) -> None:
    with sweeps.start("-m", *GRID, "train.max_steps=2000", "train.eval_steps=10") as sweep:
        sweeps.worker()
        sweep.terminate()
        _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 128 + signal.SIGTERM
    assert err == "interrupted by SIGTERM; the same command goes on\n"
    assert list(sweeps.outputs.rglob("checkpoint.safetensors"))
    assert not list(sweeps.outputs.glob(".locks/*"))


def test_a_dry_run_says_what_is_done_and_how_long_the_rest_takes_and_runs_nothing(sweeps: Sweeps) -> None:
    said = sweeps("-m", *GRID, "dry_run=true")
    assert "4 runs, 0 of them done, 4 to run, for which no finished run of the same encoder gives an estimate" in said
    assert re.search(r"\d workers? with 1 thread(?: each)?: ", said.splitlines()[-1])
    assert not sweeps.outputs.exists()
    sweeps("pooling=mean", "seed=1")
    sweeps("pooling=mean", "seed=2", "optimizer.lr=1e10", code=1)
    (done,) = (result for result in sweeps.results().values() if result["status"] == "completed")
    said = sweeps("-m", *GRID, "optimizer.lr=1e-4,1e10", "dry_run=true")
    assert f"done    pooling=mean seed=1 optimizer.lr=0.0001: {done['score']:.4f} accuracy" in said
    assert re.search(
        r"failed  pooling=mean seed=2 optimizer.lr=10000000000.0: to run again, about \d:\d\d; TrainingFailed", said
    )
    assert re.search(r"to run  pooling=cls seed=1 optimizer.lr=0.0001, about \d:\d\d", said)
    assert "8 runs, 1 of them done, 7 to run, about" in said
    assert len(sweeps.results()) == 2
    timing = done["timing"]
    assert timing["evaluations"] == 2
    single = sweeps("pooling=cls", "dry_run=true")
    assert "1 run, 0 of them done, 1 to run, about" in single


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["pooling=max_cls,mean", "pooling.k=2"], "error: pooling=mean: pooling.k: no such key"),
        (["seed=1,2", "data=local", "data.dir=nowhere"], "error: seed=1: data.dir=nowhere: there is no such folder"),
        (["seed=1,-2"], "error: seed=-2: has to be at least 0"),
        (
            ["hydra/launcher=lokal"],
            "error: hydra/launcher=lokal: no such hydra/launcher; did you mean 'local'? (there are ",
        ),
    ],
)
def test_a_mistake_in_any_job_stops_the_sweep_before_the_first(sweeps: Sweeps, overrides: list[str], said: str) -> None:
    printed = sweeps("-m", *overrides, code=2)
    assert said in printed
    assert "Traceback" not in printed
    assert not sweeps.outputs.exists()


def test_the_jobs_of_a_command_line_are_known_without_running_it() -> None:
    def seen(*line: str) -> list[tuple[str, str, int]]:
        return [(cfg.task.name, cfg.method, cfg.seed) for cfg in commandline.jobs(line)]

    assert seen("task=cola", "pooling=mean", "seed=3") == [("cola", "mean", 3)]
    assert seen("-m", "task=cola", "seed=3") == [("cola", "maxpool", 3)]
    grid = [("rte", "mean", 1), ("rte", "mean", 2), ("rte", "cls", 1), ("rte", "cls", 2)]
    assert seen("-m", *GRID) == seen(*GRID, "hydra.mode=MULTIRUN") == grid
    narrowed = seen("experiment=paper_table", "seed=7", "task=rte")
    assert [task for task, _, _ in narrowed] == ["rte"] * 4
    assert len(seen("experiment=paper_table")) == 180
    assert seen("experiment=paper_table", "hydra.mode=RUN") == [("rte", "maxpool", 0)]
    with pytest.raises(UserError, match="put -m before them"):
        seen("seed=1,2")
    with pytest.raises(UserError, match=r"pooling=mean: pooling\.k: no such key"):
        seen("-m", "pooling=max_cls,mean", "pooling.k=2")


@pytest.mark.parametrize(
    ("experiment", "runs"),
    [
        ("paper_table", 180),
        pytest.param("low_resource", 480, marks=pytest.mark.long),
        ("k_ablation", 240),
        ("head_ablation", 200),
        ("example_study", 120),
    ],
)
def test_the_experiments_are_sweeps_that_the_command_line_can_narrow(
    sweeps: Sweeps, experiment: str, runs: int
) -> None:
    small = ["encoder=minilm_l6", "data=synthetic", "dry_run=true"]

    def count(*overrides: str) -> int:
        command = [sys.executable, "-m", "glue_pool.train", f"experiment={experiment}", *small, *overrides]
        done = subprocess.run(command, env=sweeps.environment, capture_output=True, text=True, check=True, timeout=120)
        return int(re.findall(r"^(\d+) runs?, ", done.stdout, re.MULTILINE)[-1])

    assert count("seed=7") == runs // 5
    assert count("seed=7", "task=rte") == runs // 5 // (9 if experiment == "paper_table" else 4)


def test_an_experiment_runs_in_small(sweeps: Sweeps) -> None:
    tiny = [override for override in TINY if not override.startswith("experiment=")]
    command = [
        *(sys.executable, "-m", "glue_pool.train", "experiment=low_resource", "encoder=minilm_l6", "data=synthetic"),
        *(*tiny, "tracking=none", "task=cola", "subset=n100", "data.train_rows=128", "seed=1", "pooling=mean,cls"),
    ]
    subprocess.run(command, env=sweeps.environment, check=True, timeout=120, capture_output=True)
    results = sweeps.results().values()
    assert {result["pooling"] for result in results} == {"mean", "cls"}
    assert {result["train_rows"] for result in results} == {100}


def test_what_was_prepared_needs_no_network_and_is_only_read(sweeps: Sweeps) -> None:
    said = sweeps("task=rte,mrpc", "pooling=mean", entry="prepare")
    assert re.search(r"^rte train: 24 rows, \d+ tokens of minilm_l6, \d+ rows cut to 128$", said, re.M)
    assert "2 data sets and encoders are ready" in said
    assert not sweeps.outputs.exists()
    cache = Path(sweeps.environment["GLUE_POOL_CACHE"])
    prepared = {file: file.stat().st_mtime_ns for file in cache.rglob("*")}
    sweeps("-m", "task=rte,mrpc", "pooling=mean")
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*")} == prepared
    assert "no such" in sweeps("task=rte", "pooling=mean", "encoder.name=/nowhere", entry="prepare", code=2)
    own = sweeps.own_pooler("own", "pass")
    assert "1 data sets" in sweeps(own, "-m", "task=rte", "pooling=own", entry="prepare")
