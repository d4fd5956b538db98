"""The dashboard, built without a network, beside what real runs log; and saved to a stand-in for W&B's servers."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wandb_records
import wandb_server
from conftest import GLUE_POOL, Compose, unshare
from glue_pool import cli
from glue_pool.errors import TrainingFailed
from glue_pool.on_wandb import writer
from glue_pool.pipeline import run

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src/glue_pool/on_wandb/dashboard.py"
COMMAND = [GLUE_POOL, "dashboard", "--entity", "someone"]
SMALL = (
    "experiment=offline",
    "encoder.num_hidden_layers=2",
    "data.train_rows=24",
    "data.dev_rows=24",
    "train.batch_size=8",
    "train.max_steps=4",
    "pooling=mean",
)
RUN_ATTRIBUTES = {"group", "state", "displayName", "createdAt"}
Key = tuple[str, str]


def spec_of(library: Path = LIBRARY) -> dict[str, Any]:
    """What a library's dashboard is to W&B."""
    found = importlib.util.spec_from_file_location("dashboard", library)
    assert found is not None
    assert found.loader is not None
    dashboard = importlib.util.module_from_spec(found)
    found.loader.exec_module(dashboard)
    spec: dict[str, Any] = json.loads(dashboard.as_json(dashboard.build("someone", "glue_pool")))
    return spec


def keys(spec: dict[str, Any]) -> set[Key]:
    """Every key that a saved workspace names: ("history" | "summary" | "config" | "run", name)."""
    found = {("history", spec["section"]["settings"]["xAxis"])}
    for section in spec["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            found |= panel_keys(panel["viewType"], panel["config"])
    for runset in spec["section"]["runSets"]:
        assert not runset["filters"]["filters"]
        named = [*runset["grouping"], *(key["key"] for key in runset["sort"]["keys"])]
        found |= {config_or(key["section"], key["name"]) for key in named}
        found |= {split(column) for column in runset["runFeed"]["columnOrder"]}
    return found


def panel_keys(kind: str, config: dict[str, Any]) -> set[Key]:
    metrics, by = config.get("metrics", []), config.get("groupBy")
    found = {("run", by) if by in RUN_ATTRIBUTES else config_or("config", by)} if by else set()
    match kind:
        case "Run History Line Plot":
            return found | {("history", name) for name in [config["xAxis"], *metrics]}
        case "Bar Chart":
            return found | {("summary", name) for name in metrics}
        case "Scatter Plot":
            return found | {split(config["xAxis"]), split(config["yAxis"])}
        case "Run Comparer":
            return found
    raise AssertionError(f"{kind}: which keys has it?")


def split(accessor: str) -> Key:
    section, name = accessor.split(":")
    return config_or(section, name)


def config_or(section: str, name: str) -> Key:
    """W&B puts `.value` after the first part of a config key."""
    return section, name.replace(".value", "", 1) if section == "config" else name


@pytest.fixture(scope="module")
def logged(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> set[Key]:
    """Every key that is in the W&B files of three real runs, the last of which fails."""
    folder = tmp_path_factory.mktemp("runs")
    places = (f"output_root={folder}", f"data.cache_dir={folder / 'cache'}")
    run(composed(*SMALL, *places, "task=rte"))
    run(composed(*SMALL, *places, "task=mnli"))
    with pytest.raises(TrainingFailed):
        run(composed(*SMALL, *places, "task=rte", "optimizer.lr=1e30", "optimizer.max_grad_norm=null"))
    found: set[Key] = {("run", name) for name in RUN_ATTRIBUTES}
    writer.write_below(folder)
    for file in folder.rglob("run-*.wandb"):
        records = wandb_records.find(folder, file.stem.removeprefix("run-"))
        history = {name for row in wandb_records.history(records) for name in row}
        found |= {("history", name) for name in history}
        found |= {("summary", name) for name in history | set(wandb_records.summary(records))}
        found |= {("config", name) for name in flat(wandb_records.config(records))}
    return found


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")


def test_it_needs_no_network_and_no_account() -> None:
    isolated = unshare()
    if not isolated:
        pytest.skip("unshare cannot make a network namespace here")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    command = [*isolated, *COMMAND, "--dry-run"]
    done = subprocess.run(command, env=clean | {"HOME": "/nonexistent"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    spec = json.loads(done.stdout)
    assert keys(spec) == keys(spec_of())
    assert [section["name"] for section in spec["section"]["panelBankConfig"]["sections"]] == [
        "Dev score",
        "Low-resource curves",
        "Loss and learning rate",
        "Cost",
        "Collapsed and failed runs",
    ]


def test_every_key_in_it_is_one_that_real_runs_log(logged: set[Key]) -> None:
    named = keys(spec_of())
    assert named - logged == set()
    assert {section for section, _ in named} == {"history", "summary", "config", "run"}


@pytest.mark.parametrize(
    ("written", "bogus", "key"),
    [
        ('"train/loss"', '"train/los"', ("history", "train/los")),
        ('"peak_memory_bytes"', '"peak_memory"', ("summary", "peak_memory")),
        ('"summary:error"', '"summary:reason"', ("summary", "reason")),
        ('x=Config("labels.train_rows")', 'x=Config("labels.rows")', ("config", "labels.rows")),
        ('expr.Config("labels.subset")', 'expr.Config("subset.name")', ("config", "subset.name")),
        ('x="train_rows"', 'x="rows"', ("history", "rows")),
        ('groupby="Group"', 'groupby="Team"', ("config", "Team")),
    ],
)
def test_a_key_that_no_run_logs_is_found(logged: set[Key], tmp_path: Path, written: str, bogus: str, key: Key) -> None:
    changed = tmp_path / "dashboard.py"
    assert LIBRARY.read_text().count(written) == 1
    changed.write_text(LIBRARY.read_text().replace(written, bogus))
    assert keys(spec_of(changed)) - logged == {key}


def test_it_is_saved_once_and_then_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_server.serve() as backend:
        environment = backend.environment() | {"HOME": str(tmp_path)}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        first = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60)
        assert first.returncode == 0, first.stderr
        url = first.stderr.split("View saved: ")[1].split()[0]
        again = subprocess.run([*COMMAND, "--url", url], capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again.stderr
    assert [view["projectName"] for view in backend.views] == ["glue_pool", "glue_pool"]
    assert backend.views[0]["name"] == backend.views[1]["name"]
    specs = [keys(json.loads(view["spec"])) for view in backend.views]
    assert specs[0] == specs[1] == keys(spec_of())


def test_without_an_account_it_says_what_to_do(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = clean | {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:1"}
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "wandb login" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_variable_that_wandb_does_not_take_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "nowhere")
    with pytest.raises(SystemExit):
        cli.main(["dashboard", "--entity", "someone"])
    assert capsys.readouterr().err.startswith("error: WANDB_BASE_URL (in the environment): Input should be a valid URL")


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['wandb_workspaces'] = None; from glue_pool import cli; cli.main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *COMMAND[1:], "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = 'error: dashboard: the package wandb-workspaces is missing; pip install -c constraints.txt ".[dashboard]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
