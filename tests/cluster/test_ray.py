"""Sweeps on a real Ray, in a network namespace with only loopback: Ray's servers listen on every interface."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweep_command import ENDLESS, Sweep, finish, kill, wait_for

pytestmark = pytest.mark.cluster
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
POOLER = """
from glue_pool.models.poolers import Pooler, first_token

class Mine(Pooler):
    def forward(self, hidden_states, attention_mask):
        return first_token(hidden_states[-1], attention_mask)
"""


@pytest.fixture(scope="module")
def loopback() -> Iterator[list[str]]:
    """A network namespace with nothing but loopback; yield what puts a command into it."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install -c constraints.txt '.[ray]'")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("needs the right to make a network namespace (unshare -n)")
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        holder.kill()


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home for Ray's sockets and its token, with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The runs of seeds 1 and 2 as worker processes on this machine do them."""
    sweep = Sweep(tmp_path_factory.mktemp("local") / "s")
    assert sweep.run("seed=1,2")[0] == 0
    return sweep


@pytest.fixture
def sweep(tmp_path: Path, loopback: list[str], home: Path) -> Sweep:
    environment = {"HOME": str(home), "RAY_TMPDIR": str(home)}
    return Sweep(tmp_path / "s", before=loopback, launcher=["hydra/launcher=ray"], environment=environment)


def test_tasks_give_what_local_workers_give_and_only_failures_are_run_again(sweep: Sweep, undisturbed: Sweep) -> None:
    jobs = ("seed=1,2", "optimizer.lr=1e-4,1e10")
    code, said = sweep.run(*jobs)
    assert code == 1
    for seed in (1, 2):
        assert sweep.predictions(seed).equals(undisturbed.predictions(seed))
        failed = f"seed={seed} optimizer.lr=10000000000.0: TrainingFailed: the training loss is nan"
        assert failed in said.partition("  failed  ")[2]
    code, said = sweep.run(*jobs)
    assert code == 1
    assert "4 runs: 2 done before, 2 to run" in said
    written = sorted(sweep.outputs.rglob("*.log"))
    code, said = sweep.run("seed=1,2")
    assert code == 0
    assert "2 runs: 2 done before, 0 to run" in said
    assert sorted(sweep.outputs.rglob("*.log")) == written


def test_a_killed_run_is_tried_once_more_and_one_killed_twice_has_failed(sweep: Sweep, undisturbed: Sweep) -> None:
    process = sweep.start("seed=1")
    kill(sweep.wait_for_first_epoch(1))
    assert finish(process)[0] == 0
    assert sweep.predictions(1).equals(undisturbed.predictions(1))
    process = sweep.start("seed=2", ENDLESS)
    first = sweep.wait_for_first_epoch(2)
    kill(first)
    kill(sweep.wait_for_first_epoch(2, other_than=first))
    code, said = finish(process)
    assert code == 1
    failed = said.partition("  failed  ")[2]
    assert "rte: its Ray worker is gone (WorkerCrashedError" in failed
    assert sweep.result(2)["status"] == "failed"
    assert sweep.result(2)["error"].startswith("WorkerDied: its Ray worker is gone")


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on_from_it(sweep: Sweep, undisturbed: Sweep) -> None:
    process = sweep.start("seed=1")
    worker = sweep.wait_for_first_epoch(1)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] != 0
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    code, said = sweep.run("seed=1")
    assert code == 0, said
    assert len(sweep.result(1)["resumed_at_steps"]) == 1
    assert sweep.predictions(1).equals(undisturbed.predictions(1))


def test_an_existing_cluster_in_another_folder_and_environment_imports_what_the_sweep_does(
    sweep: Sweep, home: Path, undisturbed: Sweep
) -> None:
    sweep.folder.mkdir()
    (sweep.folder / "mine.py").write_text(POOLER)
    (sweep.folder / "conf/pooling").mkdir(parents=True)
    (sweep.folder / "conf/pooling/mine.yaml").write_text("name: mine\n_target_: mine.Mine\ntanh: none\n")
    python_path = os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])
    sweep.environment = {**sweep.environment, **TOKEN, "PYTHONPATH": python_path}
    with cluster(sweep.before, home) as raylets:
        code, said = sweep.run(
            "pooling=mean,mine", "seed=1", "hydra.launcher.address=127.0.0.1:6399", "--config-dir", "conf"
        )
        assert code == 0, said
        assert raylets() == 1, "the sweep ended a cluster that is not its own"
    assert sweep.predictions(1).equals(undisturbed.predictions(1))
    assert len(list(sweep.outputs.glob("rte/mine/*/*/*/predictions.parquet"))) == 1
    code, said = sweep.run("seed=1,5", "hydra.launcher.address=127.0.0.1:6399")
    assert code == 2
    assert "error: hydra.launcher.address=127.0.0.1:6399: no Ray is to be reached there" in said


@contextmanager
def cluster(namespace: Sequence[str], home: Path) -> Iterator[Callable[[], int]]:
    """A cluster started from the root folder with nearly no environment; yield what counts its nodes."""
    ray = Path(sys.executable).with_name("ray")
    here = {"HOME": str(home), "RAY_TMPDIR": str(home), "PATH": "/usr/bin:/bin"}
    environment = {**here, **TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    options = ["--head", "--port=6399", "--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    head = subprocess.Popen(
        [*namespace, str(ray), "start", "--block", *options],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    )

    def raylets() -> int:
        children = subprocess.run(
            ["pgrep", "-c", "-x", "raylet", "-P", str(head.pid)], stdout=subprocess.PIPE, check=False
        )
        return int(children.stdout)

    try:
        wait_for(raylets)
        yield raylets
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(30)
