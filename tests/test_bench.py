"""The benchmark's own arithmetic, and each of its parts once, with very little to do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark import command, runner, steady
from benchmark.figures import Figure, figure, table

ROOT = Path(__file__).parents[1]


def bench(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLUE_POOL_TEST_DATA": "", "GLUE_POOL_CACHE": str(tmp_path)}
    line = [sys.executable, "scripts/bench.py", "--tiny", "--rounds", "1", "--out", str(tmp_path / "bench.json")]
    return subprocess.run(
        [*line, *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=300
    )


def measured(done: subprocess.CompletedProcess[str], tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Return the figures of a benchmark that has run: a table and a JSON that say the same."""
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "bench.json").read_text())["parts"]
    figures = {what: spreads for part in parts.values() for what, spreads in part["figures"].items()}
    assert [what for what in figures if f"| {what} | " not in done.stdout] == []
    assert all(spread["median"] > 0 for spreads in figures.values() for spread in spreads.values())
    return figures


def test_figures_compare_contenders_round_by_round() -> None:
    ours, trainers = [{"s": 2.0}, {"s": 1.0}, {"s": 4.0}], [{"s": 4.0}, {"s": 3.0}, {"s": 6.0}]
    ratio = figure("times as fast", 2, lambda a, b: b["s"] / a["s"], rte=[ours, trainers])
    assert ratio.spreads() == {"rte": {"median": 2.0, "lowest": 1.5, "highest": 3.0}}
    other = Figure("seconds", 1, {"cola": [1.0], "rte": [2.0]})
    assert table([ratio, other]).splitlines() == [
        "|  | rte | cola |",
        "| --- | --- | --- |",
        "| times as fast | 2.00 (1.50 to 3.00) |  |",
        "| seconds | 2.0 (2.0 to 2.0) | 1.0 (1.0 to 1.0) |",
    ]


def test_whole_commands_are_compared_by_their_seconds_and_their_training() -> None:
    ours = [{"seconds": 10.0, "train_examples_per_second": 300.0}]
    trainers = [{"seconds": 15.0, "train_examples_per_second": 200.0}]
    found = command.compared({"glue_pool rte": ours, "tuned_trainer rte": trainers}, {"rte": 480})
    values = {figure.what: figure.values["rte, 480 rows"] for figure in found}
    assert values["whole command: times as fast"] == values["its training: times as fast"] == [1.5]
    assert values["whole command, s: tuned_trainer"] == [15.0]


def test_memory_is_that_of_a_command_and_all_below_it() -> None:
    held = "import subprocess, sys, time; p = subprocess.PIPE; a = bytearray(100_000_000); a[:] = b'1' * len(a)"
    child = f"{held}; print('there', flush=True); sys.stdin.read()"
    parent = (
        f"{held}; p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=p, stdout=p)"
        "; p.stdout.readline(); time.sleep(1); p.communicate(); print('{\"x\": 1}')"
    )
    ran = runner.run([sys.executable, "-c", parent], memory=True)
    assert 200e6 < ran.peak_bytes < 400e6
    assert ran.said == {"x": 1}
    assert ran.seconds > 1


def test_busy_processes_are_there_only_as_long_as_asked() -> None:
    with runner.beside(2):
        loops = [child for child in psutil.Process().children() if child.cmdline()[-1] == "while True: pass"]
        assert len(loops) == 2
    assert not any(loop.is_running() for loop in loops)


def test_a_command_that_fails_ends_the_bench_with_its_error(tmp_path: Path) -> None:
    done = bench(tmp_path, "--data", str(tmp_path), "--parts", "command")
    assert done.returncode == 1
    assert f"\nerror: data.dir={tmp_path}: no folder" in done.stderr
    with pytest.raises(SystemExit, match=r"sys.exit\('why'\) failed:\n\nwhy"):
        runner.run([sys.executable, "-c", "import sys; sys.exit('why')"])


@pytest.mark.long
def test_the_memory_of_whole_commands(tmp_path: Path) -> None:
    figures = measured(bench(tmp_path, "--parts", "memory"), tmp_path)
    assert 300 < figures["peak memory, MB: glue_pool"]["cola, 64 rows"]["median"] < 5000
    content = json.loads((tmp_path / "bench.json").read_text())
    (trainer,) = content["parts"]["memory"]["rounds"]["tuned_trainer cola"]
    assert (trainer["threads"], trainer["dev_rows"]) == (1, 48)
    assert (content["about"]["data"], content["about"]["threads"]) == ("synthetic", 1)


@pytest.mark.long
def test_steady_state(tmp_path: Path) -> None:
    options = runner.Options(None, "minilm_l6", ["rte"], 1, runner.SIZES["tiny"], tmp_path)
    numbers = {name: [contender(options, 0)] for name, contender in steady.CONTENDERS.items()}
    figures = {figure.what: figure.values["rte"][0] for figure in steady.figures(numbers, ["rte"])}
    per_token = 6 * 3 * (4 * 384**2 + 2 * 384 * 1536)  # 6 FLOP a weight of three layers, and 12 n^2 d for attention
    assert per_token * 5 < numbers["gemm"][0]["needed"]["rte"] < per_token * 128 * 1.5
    assert figures["bf16 GEMM rate, GFLOP/s"] > 1
    assert (
        figures["bert v tuned_trainer"]
        == figures["bert: training examples/s"] / figures["tuned_trainer: training examples/s"]
    )
    assert all(value > 0 for value in figures.values())


@pytest.mark.long
def test_beside_a_busy_process(tmp_path: Path) -> None:
    figures = measured(bench(tmp_path, "--parts", "load"), tmp_path)
    assert "1 busy beside v quiet, s/s: glue_pool" in figures
    assert {what.partition(":")[0] for what in figures} >= {"quiet", "1 busy beside"}


@pytest.mark.long
def test_a_sweep_beside_the_trainers_loops(tmp_path: Path) -> None:
    figures = measured(bench(tmp_path, "--parts", "sweep"), tmp_path)
    assert figures["sweep, s: tuned_trainer, one after another (1 of them, times 8)"]
    rounds = json.loads((tmp_path / "bench.json").read_text())["parts"]["sweep"]["rounds"]
    assert len(rounds["glue_pool"]) == 1


@pytest.mark.long
def test_reports_on_many_results_and_the_first_seconds(tmp_path: Path) -> None:
    figures = measured(bench(tmp_path, "--parts", "report", "start"), tmp_path)
    assert {"report, first, s", "report, second, s", "report, one run more, s"} <= figures.keys()
    assert figures["report, first, s"]["90 results"]
    assert figures["second run of a process, beside its training and evaluation, s"]["rte"]["median"] < 20
