"""The main job from command line to a result on disk and in W&B."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir

import wandb_records
from conftest import Compose
from glue_pool import metrics
from glue_pool.data import sources
from glue_pool.on_wandb import wandb_file
from glue_pool.pipeline import run
from glue_pool.report import report
from glue_pool.train import CONF, job, main

TINY = (
    "experiment=offline",
    "encoder.num_hidden_layers=2",
    "data.train_rows=24",  # three steps an epoch
    "data.dev_rows=24",
    "train.batch_size=8",
    "train.max_steps=4",
    "tracking.log_every=1",
)


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLUE_POOL_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("GLUE_POOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "outputs"


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["glue-pool-train", *arguments])
    main()


def the_result(outputs: Path) -> tuple[Path, dict[str, Any]]:
    (file,) = outputs.rglob("result.json")
    return file.parent, json.loads(file.read_text())


def test_the_main_job_leaves_the_whole_contract(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, *TINY, "pooling.k=2", "model=maxpool", "task=rte", "seed=3", "subset.size=16")
    folder, result = the_result(outputs)
    key = result["run_key"]
    assert folder == outputs / "rte/maxpool/minilm_l6/n16-seed0" / f"seed=3-{key[:8]}"
    expected = {
        "schema": 2,
        "status": "completed",
        "task": "rte",
        "pooling": "maxpool",
        "method": "maxpool",
        "encoder": "minilm_l6",
        "subset": {"size": 16, "seed": 0},
        "seed": 3,
        "train_rows": 16,
        "primary_metric": "accuracy",
        "splits": {"train": {"rows": 24, "official": False}, "validation": {"rows": 24, "official": False}},
        "error": None,
    }
    assert {name: result[name] for name in expected} == expected
    assert result["score"] == result["metrics"]["validation"]["accuracy"]
    assert result["best"]["score"] >= result["score"]
    assert result["parameters"]["pooling"] == 4 * 384**2 + 4 * 384
    assert result["parameters"]["total"] > result["parameters"]["pooling"]
    assert result["peak_memory_bytes"] > 0
    timing = result["timing"]
    assert timing["total_seconds"] >= timing["setup_seconds"] + timing["train_seconds"] + timing["eval_seconds"]
    assert timing["train_tokens_per_second"] > timing["train_examples_per_second"] > 0

    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == [2, 4]
    assert history[-1]["metrics"] == result["metrics"]

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["torch"].startswith("2.")
    assert manifest["data"]["subset"]["rows"] == 16
    assert manifest["splits"] == result["splits"]
    assert manifest["precision"] in {"fp32", "bf16"}
    assert "seed: 3" in (folder / "config.yaml").read_text()
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.yaml",
        "history.jsonl",
        "manifest.json",
        "predictions.parquet",
        "result.json",
    ]
    printed = capsys.readouterr().out
    for words in ("rte", "maxpool", f"{result['score']:.4f}", str(folder), "try next", "no official score"):
        assert words in printed


@pytest.mark.parametrize("frozen", [False, True])
def test_the_score_can_be_recomputed_from_the_predictions(
    composed: Compose, outputs: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    line = [*TINY, "task=mnli", "model=bert", f"encoder.freeze={frozen}"]
    run_main(monkeypatch, *line)
    folder, result = the_result(outputs)
    table = pq.read_table(folder / "predictions.parquet").to_pandas()
    cfg = composed(*line)
    read = sources.read(cfg.data, cfg.task)
    for split in ("validation_matched", "validation_mismatched"):
        rows = table[(table["split"] == split) & (table["epoch"] == "last")]
        again = metrics.compute(["accuracy"], rows["label"].to_numpy(), np.stack(rows["logits"].to_list()))
        assert again == result["metrics"][split]
        assert rows["idx"].tolist() == list(range(24))
        premises = read[split].texts[0]
        assert rows["group"].tolist() == [premises.index(premise) for premise in premises]
    assert result["score"] == result["metrics"]["validation_matched"]["accuracy"]


def test_the_wandb_file_tells_what_the_run_did(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_main(monkeypatch, *TINY, "task=mrpc", "pooling=mean", "tracking.tags=[mine]")
    _, result = the_result(outputs)
    records = wandb_records.written(outputs, result["run_key"])
    run = wandb_file.run(records)
    assert run.run_group == "mrpc/mean"
    assert {"mrpc", "mean", "minilm_l6", "full", "mine"} <= set(run.tags)
    config = wandb_records.config(records)
    assert config["optimizer"]["lr"] == 1e-4
    assert config["task"]["name"] == "mrpc"
    labels = {"task": "mrpc", "method": "mean", "encoder": "minilm_l6", "subset": "full", "kind": "fine-tuned"}
    assert config["labels"] == labels | {"train_rows": 24}
    rows = wandb_records.history(records)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 4
    assert all("train/learning_rate" in row for row in rows if "train/loss" in row)
    dev = [row for row in rows if "validation/acc_and_f1" in row]
    assert [row["step"] for row in dev] == [3, 4]
    summary = wandb_records.summary(records)
    assert summary["score"] == result["score"]
    assert summary["status"] == "completed"


def test_a_finished_run_is_not_run_again_unless_forced(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, *TINY, "pooling=mean")
    folder, first = the_result(outputs)
    written = (folder / "result.json").stat().st_mtime_ns
    run_main(monkeypatch, *TINY, "pooling=mean")
    assert (folder / "result.json").stat().st_mtime_ns == written
    assert "there already" in capsys.readouterr().out
    run_main(monkeypatch, *TINY, "pooling=mean", "force=true")
    _, again = the_result(outputs)
    assert (folder / "result.json").stat().st_mtime_ns > written
    assert again["score"] == first["score"]


def test_a_run_that_nobody_watches_to_the_end_has_its_result(tmp_path: Path) -> None:
    environment = {**os.environ, "GLUE_POOL_OUTPUTS": str(tmp_path / "o"), "GLUE_POOL_CACHE": str(tmp_path / "c")}
    command = [sys.executable, "-m", "glue_pool.train", *TINY, "pooling=mean", "tracking=none"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
        process.wait(120)
    _, result = the_result(tmp_path / "o")
    assert result["status"] == "completed"


@pytest.mark.parametrize(
    ("choice", "method", "said"),
    [
        ("model=maxpool pooling.k=2", "maxpool", None),
        ("pooling=max_seq_mha pooling.k=2", "maxpool", None),  # another name of it
        ("model=bert", "bert", None),
        ("pooling=cls_pooler", "bert", None),
        ("pooling=cls", "cls", None),
        ("model=bert pooling=mean", "mean", "pooling=mean took the place of model=bert, and names the run"),
    ],
)
def test_a_run_goes_by_its_pooler_however_it_was_chosen(
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    choice: str,
    method: str,
    said: str | None,
) -> None:
    run_main(monkeypatch, *TINY, *choice.split())
    folder, result = the_result(outputs)
    assert (result["method"], result["pooling"], folder.parts[-4]) == (method, method, method)
    records = wandb_records.written(outputs, result["run_key"])
    assert wandb_file.run(records).run_group == f"rte/{method}"
    printed = capsys.readouterr().out
    assert f"{method} on minilm_l6" in printed
    assert (said in printed) if said else ("took the place of" not in printed)


def test_two_processes_without_network_give_the_same_predictions_bit_for_bit(tmp_path: Path) -> None:
    isolated = ["unshare", "-n"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, "true"], check=False).returncode:
        pytest.skip("needs the right to make a network namespace (unshare -n)")
    tables = []
    for name in ("one", "two"):
        environment = {
            **os.environ,
            "GLUE_POOL_OUTPUTS": str(tmp_path / name),
            "GLUE_POOL_CACHE": str(tmp_path / "cache"),
        }
        command = [*isolated, sys.executable, "-m", "glue_pool.train", *TINY, "task=qnli", "pooling.k=2"]
        subprocess.run(command, env=environment, check=True, cwd=tmp_path, timeout=300)
        folder, result = the_result(tmp_path / name)
        assert result["status"] == "completed"
        tables.append(pq.read_table(folder / "predictions.parquet"))
    assert tables[0].equals(tables[1])


@pytest.mark.long
def test_minilm_learns_the_generated_entailment_task(composed: Compose, tmp_path: Path) -> None:
    cfg = composed(
        "experiment=offline", f"output_root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", "tracking=none"
    )
    result = run(cfg)
    assert result["train_rows"] == 2000
    assert (result["score"] or 0) >= 0.85


def test_real_glue_rows_train_and_say_that_they_are_official(composed: Compose, glue_dir: Path, tmp_path: Path) -> None:
    cfg = composed(
        *TINY[:2], "pooling=mha", "data=local", f"data.dir={glue_dir}", "task=cola", "train.max_steps=2",
        f"output_root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", "tracking=none",
    )  # fmt: skip
    result = run(cfg)
    assert result["splits"] == {
        "train": {"rows": 8551, "official": True},
        "validation": {"rows": 1043, "official": True},
    }
    assert "matthews_correlation" in result["metrics"]["validation"]


def test_a_probe_is_labelled_as_one_everywhere(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, *TINY, "pooling=mean", "task=rte", "encoder.freeze=true")
    folder, result = the_result(outputs)
    assert result["kind"] == "probe"
    records = wandb_records.written(outputs, result["run_key"])
    assert wandb_file.run(records).run_group == "rte/mean probe"
    assert "probe" in wandb_file.run(records).tags
    assert "mean on minilm_l6, probe, seed 0" in capsys.readouterr().out
    assert json.loads((folder / "manifest.json").read_text())["data"]["features"]["dtype"] in {"fp32", "bf16"}

    run_main(monkeypatch, *TINY, "pooling=mean", "task=rte")
    capsys.readouterr()
    report([outputs])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("minilm_l6, ")] == [
        "minilm_l6, fine-tuned, all rows", "minilm_l6, probe, all rows",
    ]  # fmt: skip
    assert sum(line.startswith("mean ") and "(1" in line for line in lines) == 2


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_a_search_is_given_what_it_maximises_and_the_best_epoch_is_the_metrics(outputs: Path, metric: str) -> None:
    chosen = [*TINY, "pooling=mean", f"task.metrics=[{metric}]", f"task.primary_metric={metric}", "tracking=none"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        objective = job(compose("config", [*chosen, "train.eval_steps=1"]))
    folder, result = the_result(outputs)
    better = metrics.METRICS[metric].better
    assert objective == better * result["score"]
    scores = [json.loads(line)["score"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert len(scores) == 4
    assert result["best"]["score"] == max(scores, key=lambda score: better * score)
