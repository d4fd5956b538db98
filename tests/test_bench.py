"""The benchmark's own arithmetic, on results as its contenders report them; and one contender really run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def test_the_table_compares_contenders_round_by_round() -> None:
    import bench

    def speeds(train: float, evaluate: float) -> dict[str, Any]:
        return {"train": {"rte": train}, "evaluate": {"rte": evaluate}, "peak_memory_bytes": 2e9}

    measured: dict[str, list[dict[str, Any]]] = {
        "trainer": [speeds(10, 1), speeds(5, 1), speeds(20, 1)],
        "tuned_trainer": [speeds(30, 100), speeds(15, 50), speeds(60, 200)],
        "bert": [speeds(50, 200), speeds(25, 100), speeds(90, 400)],
        "maxpool": [speeds(40, 200), speeds(20, 100), speeds(90, 400)],
        "gemm": [{"rate": {"rte": 4e11}, "needed": {"rte": 4e9}, "peak_memory_bytes": 1} for _ in range(3)],
        "second_run": [{"seconds": s, "peak_memory_bytes": 1} for s in (0.5, 0.1, 0.2)],
    }
    lines = bench.table(bench.figures(measured, ["rte"]), ["rte"]).splitlines()
    assert "| bert: training examples/s | 50.0 (25.0 to 90.0) |" in lines
    assert "| bert v trainer | 5.00 (4.50 to 5.00) |" in lines
    assert "| maxpool step v bert step | 1.250 (1.000 to 1.250) |" in lines
    assert "| dev evaluation v tuned_trainer | 2.00 (2.00 to 2.00) |" in lines
    assert "| bert: % of that rate | 50 (25 to 90) |" in lines
    assert "- bert: peak memory, MB: 2000 (2000 to 2000)" in lines
    assert lines[-1].endswith("s: 0.20 (0.10 to 0.50)")


def test_a_round_runs_its_contenders_and_leaves_a_json(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [
        sys.executable,
        "scripts/bench.py",
        "--rounds",
        "1",
        "--only",
        "gemm",
        "--tasks",
        "rte",
        "--out",
        str(out),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLUE_POOL_TEST_DATA": "", "GLUE_POOL_CACHE": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = json.loads(out.read_text())
    (result,) = written["rounds"]["gemm"]
    assert result["rate"]["rte"] > 1e9
    # a text of n tokens: 6 FLOP a weight and token, 12 n^2 d a layer
    per_token = 6 * 6 * (4 * 384**2 + 2 * 384 * 1536)
    assert per_token * 5 < result["needed"]["rte"] < per_token * 128 * 1.5
    assert "bf16 GEMM rate" in done.stdout
    assert written["about"]["data"] == "synthetic"
    rate = written["figures"]["bf16 GEMM rate, GFLOP/s"]["rte"]
    assert rate["lowest"] == rate["median"] == rate["highest"] == result["rate"]["rte"] / 1e9


def test_a_contender_that_fails_ends_the_bench_with_its_error(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/bench.py", "--data", str(tmp_path), "--only", "bert", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "bert failed" in done.stderr
    assert f"data.dir={tmp_path}: no folder" in done.stderr
