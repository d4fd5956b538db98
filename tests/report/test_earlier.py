"""Folders that earlier versions wrote: they are read, and stay one row with what this version writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import glue_pool
import local_data
from conftest import Compose
from glue_pool import results
from glue_pool.pipeline import run
from glue_pool.report.scan import scan
from glue_pool.report.study import Study, study
from run_folders import Drawn

V0_1 = Path(__file__).parents[1] / "written_by_0_1"  # runs of a small encoder of random weights, and the encoder
SETTINGS = (
    "tracking=none", "data=local", "train.max_steps=2", "train.batch_size=8", "train.precision=fp32",
    "train.max_length=32", f"encoder.name={V0_1 / 'tiny_bert'}",
)  # fmt: skip


def read(*roots: Path) -> Study:
    return study(*scan(roots))


def test_runs_that_0_1_wrote_are_read_under_todays_names() -> None:
    found = read(V0_1 / "outputs")
    assert found.left_out == []
    cells = {(row.label, task): cell.seeds for p in found.panels for (row, _, task), cell in p.cells.items()}
    assert cells == {
        ("bert", "rte"): [1, 2],
        ("bert", "stsb"): [1, 2],  # 0.1 said cls_pooler
        ("maxpool", "rte"): [1, 2],
        ("mean", "rte"): [1, 2],
    }
    (maxpool,) = {run.settings["encoder.reinit_layers"] for run in found.runs if run.result["method"] == "maxpool"}
    assert maxpool == 1  # 0.1 said optimizer.reinit_layers
    assert {run.result["pooling"] for run in found.runs} == {"bert", "maxpool", "mean"}


def like_0_1(manifest: dict[str, Any], folder: Path) -> None:
    """Let a new run have been made with the libraries that the old ones were made with."""
    mine = json.loads((folder / "manifest.json").read_text())
    mine["versions"] = manifest["versions"]
    (folder / "manifest.json").write_text(json.dumps(mine))


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        (("pooling=mean",), "mean"),
        (("pooling=maxpool", "pooling.k=2", "encoder.reinit_layers=1"), "maxpool"),
        (("model=bert",), "bert"),
    ],
)
def test_old_and_new_runs_of_one_method_are_one_row(
    composed: Compose, tmp_path: Path, overrides: tuple[str, ...], label: str
) -> None:
    old = shutil.copytree(V0_1 / "outputs" / "rte" / label, tmp_path / "outputs" / "rte" / label)
    local_data.write(tmp_path / "data", composed("task=rte").task)
    cfg = composed(
        *SETTINGS, *overrides, "task=rte", "seed=3", f"data.dir={tmp_path / 'data'}",
        f"data.cache_dir={tmp_path / 'cache'}", f"output_root={tmp_path / 'outputs'}",
    )  # fmt: skip
    result = run(cfg)
    first = next(old.rglob("manifest.json"))
    like_0_1(json.loads(first.read_text()), results.run_folder(cfg, result["run_key"]).path)
    found = read(tmp_path / "outputs")
    ((row, cell),) = [(row, cell) for (row, _, _), cell in found.panels[0].cells.items()]
    assert (row.label, cell.seeds, found.left_out) == (label, [1, 2, 3], [])


def test_running_again_does_not_take_an_older_schemas_result_for_its_own(composed: Compose, tmp_path: Path) -> None:
    shutil.copytree(V0_1 / "outputs", tmp_path / "outputs")
    local_data.write(tmp_path / "data", composed("task=rte").task)
    cfg = composed(
        *SETTINGS, "pooling=mean", "task=rte", "seed=1", f"data.dir={tmp_path / 'data'}",
        f"data.cache_dir={tmp_path / 'cache'}", f"output_root={tmp_path / 'outputs'}",
    )  # fmt: skip
    old = json.loads(next((V0_1 / "outputs" / "rte" / "mean").rglob("seed=1-*/result.json")).read_text())
    assert results.find(cfg).read() is None
    new = run(cfg)
    assert (old["schema"], new["schema"]) == (1, 2)
    assert new["score"] == old["score"]  # the same training, under another key
    assert new["run_key"] != old["run_key"]


def test_no_code_that_a_run_names_is_run_by_a_report(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "a_trap").mkdir()
    trap = "from pathlib import Path\nPath(__file__).with_suffix('.sprung').touch()\nraise SystemExit('sprung')\n"
    for name in ("__init__", "inner", "plain"):
        (tmp_path / "a_trap" / f"{name}.py").write_text(trap)
    targets = ["a_trap.inner.Mine", "a_trap.plain.Nope", "a_trap.Nothing", "not_there.Mine"]
    for seed, target in enumerate(targets):
        copy = shutil.copytree(next((V0_1 / "outputs/rte/mean").rglob("seed=1-*")), tmp_path / "outputs" / str(seed))
        text = (copy / "config.yaml").read_text().replace("glue_pool.models.poolers.Mean", target)
        (copy / "config.yaml").write_text(text.replace("seed: 1", f"seed: {seed}"))
        result = json.loads((copy / "result.json").read_text())
        (copy / "result.json").write_text(json.dumps({**result, "seed": seed, "run_key": str(seed)}))
    command = [sys.executable, "-m", "glue_pool.report", str(tmp_path / "outputs")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"_target_={target}" in done.stdout for target in targets)
    assert not list(tmp_path.rglob("*.sprung"))


def test_what_of_a_task_is_in_no_key_splits_no_row(tmp_path: Path) -> None:
    old = shutil.copytree(V0_1 / "outputs" / "rte" / "mean", tmp_path / "outputs")
    for file in old.rglob("seed=1-*/config.yaml"):
        text = file.read_text()
        assert "test: RTE.tsv" in text
        file.write_text(text.replace("test: RTE.tsv", "test: rte.tsv").replace("train: 2490", "train: 2491"))
    found = read(tmp_path / "outputs")
    assert [cell.seeds for panel in found.panels for cell in panel.cells.values()] == [[1, 2]]


def test_a_model_that_0_1_saved_gives_the_logits_that_0_1_wrote_down(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from glue_pool.choices import CONF
    from glue_pool.tasks import TaskConfig

    folder = next((V0_1 / "outputs" / "rte" / "mean").glob("*/*/seed=1-*"))
    task = TaskConfig(**yaml.safe_load((CONF / "task" / "rte.yaml").read_text()))
    local_data.write(tmp_path, task)
    rows = pq.read_table(tmp_path / "rte" / "validation.parquet").to_pylist()
    written = pq.read_table(folder / "predictions.parquet").to_pylist()
    logits = {row["idx"]: row["logits"] for row in written if row["epoch"] == "last"}
    loaded = glue_pool.load(folder / "model")
    got = loaded.logits([row["sentence1"] for row in rows], [row["sentence2"] for row in rows])
    np.testing.assert_allclose(got, np.array([logits[row["idx"]] for row in rows]), atol=1e-5)


def test_tasks_of_runs_from_before_titles_have_those_of_today(tmp_path: Path) -> None:
    for task in ("wnli", "rte", "mnli", "cola", "spam"):
        file = Drawn((f"task={task}",)).write(tmp_path) / "config.yaml"
        content = yaml.safe_load(file.read_text())
        for key in ("title", "order"):
            del content["task"][key]
        file.write_text(yaml.safe_dump(content))
    tasks = read(tmp_path, V0_1 / "outputs").tasks
    titles = {"cola": "CoLA", "stsb": "STS-B", "mnli": "MNLI-m", "rte": "RTE", "wnli": "WNLI", "spam": "spam"}
    assert [(name, task.title) for name, task in tasks.items()] == list(titles.items())


def test_a_title_of_ones_own_is_kept(tmp_path: Path) -> None:
    Drawn(("task=rte", "task.title=Entailment", "task.order=null")).write(tmp_path)
    Drawn(("task=wnli",)).write(tmp_path)
    assert [task.title for task in read(tmp_path).tasks.values()] == ["WNLI", "Entailment"]
