"""The sweep files: their commands as wandb's agent makes them, checked, and some of them run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sweeps
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config

import wandb_records
import wandb_server
from glue_pool import cli, commandline
from glue_pool.on_wandb import wandb_file
from glue_pool.on_wandb.sweep_files import FILES
from wandb_server import ENTITY, SWEEP, Backend

ROOT = Path(__file__).parents[1]
SMALL = [
    "experiment=offline",
    "encoder.num_hidden_layers=3",
    "data.train_rows=1000",
    "data.dev_rows=32",
    "train.max_steps=2",
]
each_file = pytest.mark.parametrize(
    "file", [pytest.param(file, id=file.stem, marks=[pytest.mark.long] * (file.stem != "grid")) for file in FILES]
)


def load(file: Path) -> dict[str, Any]:
    config = load_sweep_config(str(file))
    assert config is not None
    return config


def draw(config: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the parameters of so many runs, as W&B's own search draws them."""
    np.random.seed(0)
    search = sweeps.SweepConfig({name: value for name, value in config.items() if name != "run_cap"})  # newer than it
    return [plain(run.config) for run in sweeps.next_runs(search, [], n=count) if run is not None]


def plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as they arrive from W&B, in JSON."""
    values = {name: entry["value"] for name, entry in parameters.items()}
    return {name: {"value": getattr(value, "item", lambda value=value: value)()} for name, value in values.items()}


def render(config: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """Return the arguments of `python -m glue_pool.train`, filled in as wandb's agent does."""
    filled_in: dict[str, list[str]] = create_sweep_command_args({"args": parameters})
    filled_in |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable]}
    words = [str(word) for word in create_sweep_command(config["command"])]
    command = [part for word in words for part in filled_in.get(word.removeprefix("${").removesuffix("}"), [word])]
    assert command[:4] == ["/usr/bin/env", sys.executable, "-m", "glue_pool.train"]
    return command[4:]


def test_there_are_a_grid_a_random_and_a_bayesian_sweep() -> None:
    assert [load(file)["method"] for file in FILES] == ["bayes", "grid", "random"]


@each_file
def test_every_command_is_a_valid_job_that_goes_online(file: Path) -> None:
    config = load(file)
    drawn = draw(config, 20)
    assert len(drawn) == 20
    for parameters in drawn:
        arguments = render(config, parameters)
        assert "tracking=wandb_online" in arguments
        assert {argument.split("=")[0] for argument in arguments} == {"tracking", *config["parameters"]}
        assert len(commandline.jobs(arguments)) == 1


def test_the_grid_has_as_many_runs_as_its_file_says() -> None:
    (grid,) = [file for file in FILES if file.stem == "grid"]
    said = re.search(r"= (\d+) runs", grid.read_text())
    assert said is not None
    assert len(draw(load(grid), 1000)) == int(said[1])


def test_they_are_copied_to_a_folder_and_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my/sweeps"
    cli.main(["wandb-sweeps", str(folder)])
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {f.name: f.read_bytes() for f in FILES}
    said = capsys.readouterr().out
    (folder / "grid.yaml").unlink()
    (folder / "bayes.yaml").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        cli.main(["wandb-sweeps", str(folder)])
    assert ended.value.code == 2
    assert f"{folder / 'bayes.yaml'}: is there already" in capsys.readouterr().err
    assert (folder / "bayes.yaml").read_text() == "mine"
    assert not (folder / "grid.yaml").exists()
    cli.main(["wandb-sweeps"])
    assert capsys.readouterr().out == said.replace(str(folder), str(FILES[0].parent))


@pytest.fixture
def backend() -> Iterator[Backend]:
    with wandb_server.serve() as serving:
        yield serving


def shell(backend: Backend, folder: Path) -> dict[str, str]:
    """The environment of a user of the stand-in: `python` is this one, W&B's settings are the server's."""
    clean = {name: value for name, value in os.environ.items() if "WANDB" not in name}
    python = Path(sys.executable).parent
    own = {"HOME": str(folder), "GLUE_POOL_OUTPUTS": str(folder / "outputs"), "GLUE_POOL_CACHE": str(folder / "cache")}
    return clean | backend.environment() | own | {"PATH": f"{python}:{clean['PATH']}", "PYTHONPATH": str(ROOT / "src")}


def wandb(backend: Backend, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", *arguments]
    done = subprocess.run(command, env=shell(backend, folder), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "file", [pytest.param(file, id=file.stem, marks=pytest.mark.long if file.stem != "bayes" else ()) for file in FILES]
)
def test_an_agent_runs_the_job_as_the_sweeps_own_run(file: Path, backend: Backend, tmp_path: Path) -> None:
    """The second job has the first one's parameters: its result is there, and its W&B run gets it all the same."""
    config = load(file)
    small = tmp_path / "sweep.yaml"
    small.write_text(yaml.safe_dump(config | {"command": config["command"] + SMALL}))
    said = wandb(backend, tmp_path, "sweep", str(small))
    assert f"wandb agent {ENTITY}/glue_pool/{SWEEP}" in said

    (parameters,) = draw(config, 1)
    backend.jobs = [("first123", parameters), ("second12", parameters)]
    said = wandb(backend, tmp_path, "agent", "--count", "2", f"{ENTITY}/glue_pool/{SWEEP}")
    assert "Ignoring" not in said  # wandb's warning of an id that is not the agent's
    assert said.count("this result was there already") == 1, said

    assert backend.uploads() == {"first123": 1, "second12": 1}
    created = {run["name"]: run for run in reversed(backend.runs)}
    for run_id in ("first123", "second12"):
        assert (created[run_id]["sweep"], created[run_id]["project"]) == (SWEEP, "glue_pool")
        assert created[run_id]["groupName"].startswith(parameters["task"]["value"])
        logged = {name: entry["value"] for name, entry in json.loads(created[run_id]["config"]).items()}
        assert {name: logged[name] for name in parameters} == {name: p["value"] for name, p in parameters.items()}
        assert logged["labels"]["task"] == parameters["task"]["value"]
    first, second = backend.summary("first123"), backend.summary("second12")
    metric = config.get("metric", {"name": "score"})["name"]
    assert -1 <= first[metric] <= 1
    assert second[metric] == first[metric]
    assert second["timing/train_seconds"] == first["timing/train_seconds"]


def test_offline_too_the_sweep_names_the_run(backend: Backend, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "glue_pool.train", *SMALL, "pooling=mean"]
    environment = shell(backend, tmp_path) | {"WANDB_SWEEP_ID": SWEEP, "WANDB_RUN_ID": "third123"}
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=300)
    assert backend.asked == []
    run = wandb_file.run(wandb_records.find(tmp_path, "third123"))
    assert (run.run_id, run.sweep_id) == ("third123", SWEEP)
