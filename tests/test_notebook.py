"""`glue_pool.run`: a run from Python, in a process that has a life of its own."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import glue_pool
from glue_pool.errors import TrainingFailed, UserError
from test_train import TINY, outputs, the_result

__all__ = ["outputs"]  # the fixture

LINE = (*TINY, "pooling=mean", "tracking=none")


def test_it_does_what_the_command_line_does(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = glue_pool.run([*LINE, "task=mrpc", "seed=3"])
    folder, written = the_result(outputs)
    assert result == written
    assert folder.relative_to(outputs).parts[:4] == ("mrpc", "mean", "minilm_l6", "full")
    assert str(folder) in capsys.readouterr().out
    assert glue_pool.run([*LINE, "task=mrpc", "seed=3"]) == result
    assert "this result was there already" in capsys.readouterr().out


def test_ones_own_folder_of_choices(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "my conf/pooling").mkdir(parents=True)
    yaml = "name: mine\n_target_: glue_pool.models.poolers.Cls\ntanh: none\n"
    (tmp_path / "my conf/pooling/mine.yaml").write_text(yaml)
    assert glue_pool.run([*TINY, "pooling=mine", "tracking=none"], tmp_path / "my conf")["pooling"] == "mine"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["tsak=rte"], "tsak: no such key; did you mean 'task'?"),
        (["task=rtee"], "task=rtee: no such task; did you mean 'rte'?"),
        (["optimizer.lr=-1"], "optimizer.lr=-1.0: has to be above 0"),
        (["data=local", "data.dir=/nowhere"], "/nowhere: there is no such folder"),
        (["seed=1,2"], "seed=1,2: several values are a sweep; glue_pool.run is for one run"),
        (["experiment=paper_table", "task=rte"], "experiment=paper_table task=rte: this is a sweep; glue_pool.run is"),
        (["hydra.mode=MULTIRUN"], "hydra.mode=MULTIRUN: this is a sweep"),
        (["-m", "seed=1"], "-m: glue_pool.run takes key=value only"),
        (["dry_run=true"], "dry_run=true: there is no result of it"),
        ("task=rte", "glue_pool.run takes a list of key=value, as ['task=rte'], not 'task=rte'"),
    ],
)
def test_a_mistake_is_a_user_error_and_nothing_is_written(outputs: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        glue_pool.run(overrides)
    assert said in str(refused.value)
    assert not outputs.exists()


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(UserError, match="--config-dir /nowhere: there is no such folder"):
        glue_pool.run([], "/nowhere")


def test_the_notebooks_own_hydra_and_logging_stay_as_they_are(outputs: Path, tmp_path: Path) -> None:
    handlers = list(logging.getLogger().handlers)
    GlobalHydra.instance().clear()
    with pytest.raises(TrainingFailed):
        glue_pool.run([*LINE, "optimizer.lr=1e10", "train.max_steps=6"])
    assert not GlobalHydra.instance().is_initialized()

    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/app.yaml").write_text("task: theirs\n")
    with initialize_config_dir(str(tmp_path / "theirs"), job_name="theirs", version_base="1.2"):
        own, base, config = GlobalHydra.instance().hydra, version.getbase(), HydraConfig.instance().cfg
        for line in ([*LINE], [*LINE, "tsak=rte"]):
            try:
                glue_pool.run(line)
            except UserError:
                assert "tsak=rte" in line
            assert GlobalHydra.instance().hydra is own
            assert version.getbase() == base
            assert HydraConfig.instance().cfg is config
            assert compose("app") == {"task": "theirs"}
    assert logging.getLogger().handlers == handlers
    assert not logging.getLogger("glue_pool").handlers


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
import glue_pool
from glue_pool.errors import Interrupted

root = Path(os.environ["GLUE_POOL_OUTPUTS"])

def interrupt():
    while not list(root.rglob("history.jsonl")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

line = [*sys.argv[1:], "train.max_steps=200", "train.eval_steps=2"]
threading.Thread(target=interrupt).start()
try:
    glue_pool.run(line)
except Interrupted as stopped:
    assert stopped.by == signal.SIGINT, stopped
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = glue_pool.run(line)
    assert result["resumed_at_steps"], result
    print("went on")
"""


def test_ctrl_c_is_raised_and_the_same_call_goes_on(outputs: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, *LINE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "went on"
