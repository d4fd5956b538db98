"""Nothing is lost: a sweep that is killed again and again ends with an undisturbed sweep's results, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

KILLS = 12
GRID = (
    "experiment=offline", "encoder.num_hidden_layers=1", "data.train_rows=16", "data.dev_rows=8",
    "train.batch_size=4", "train.max_steps=40", "train.eval_steps=10", "checkpoint.min_seconds=0",
    "checkpoint.minutes=0.003", "pooling=mean,cls,attention", "seed=range(1,9)", "hydra.launcher.workers=2",
)  # fmt: skip


def sweep(folder: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "GLUE_POOL_OUTPUTS": str(folder),
        "GLUE_POOL_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "glue_pool.train", "-m", *GRID]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)


def workers(of: int) -> list[int]:
    children = Path(f"/proc/{of}/task/{of}/children").read_text().split()
    return [int(child) for child in children]


def disturb(folder: Path, chance: random.Random) -> int:
    """Start the sweep and kill it, or two of its workers and then itself, at random moments; return the kills."""
    kills = 0
    with sweep(folder) as process:
        for whole in chance.choice([[True], [False, False, True]]):
            sign, at_most = chance.choice([(".locks/*", 4.0), ("*/*/*/*/*/checkpoint.safetensors", 0.3)])
            deadline = time.monotonic() + 60
            while not list(folder.glob(sign)) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, at_most))
            if process.poll() is not None:
                break
            if whole:
                os.killpg(process.pid, signal.SIGKILL)
            elif alive := workers(process.pid):
                os.kill(chance.choice(alive), signal.SIGKILL)
            kills += 1
        process.kill()
        process.communicate()
    return kills


def outcome(folder: Path) -> dict[str, Any]:
    """Return what the runs of a folder came to, without what they took."""
    found = {}
    for file in folder.rglob("result.json"):
        result = json.loads(file.read_text())
        assert result["status"] == "completed"
        history = [json.loads(line) for line in (file.parent / "history.jsonl").read_text().splitlines()]
        found[str(file.parent.relative_to(folder))] = (
            result["metrics"],
            result["best"],
            [{name: value for name, value in line.items() if name != "seconds"} for line in history],
            pq.read_table(file.parent / "predictions.parquet").to_pydict(),
        )
    return found


@pytest.mark.long
def test_a_sweep_killed_a_dozen_times_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    chance, kills, sessions = random.Random(0), 0, 0
    while kills < KILLS:
        kills += disturb(tmp_path / "disturbed", chance)
        sessions += 1
        assert sessions < 2 * KILLS
    for name in ("disturbed", "undisturbed"):
        with sweep(tmp_path / name) as process:
            out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    disturbed, undisturbed = outcome(tmp_path / "disturbed"), outcome(tmp_path / "undisturbed")
    assert len(undisturbed) == 24
    assert disturbed == undisturbed
    results = [json.loads(file.read_text()) for file in (tmp_path / "disturbed").rglob("result.json")]
    assert any(result["resumed_at_steps"] for result in results)
    left = {path.name for path in (tmp_path / "disturbed").rglob("*") if path.is_file()}
    assert not [name for name in left if "checkpoint" in name or name.endswith(".lock")]
