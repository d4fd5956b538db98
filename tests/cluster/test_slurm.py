"""Sweeps on a real Slurm of one node, which GLUE_POOL_TEST_SLURM's start.sh starts."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sweep_command import ENDLESS, Sweep, finish, kill, wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """Start Slurm; yield the environment in which its commands find it."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("needs submitit: pip install -c constraints.txt '.[slurm]'")
    scripts = os.environ.get("GLUE_POOL_TEST_SLURM")
    if not scripts:
        pytest.skip("needs a Slurm: GLUE_POOL_TEST_SLURM=<folder of start.sh and stop.sh>")
    if os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))):
        pytest.skip("needs Slurm's daemons (slurmctld, slurmd, munge, slurm-client), and root to start them")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        try:
            subprocess.run(["bash", f"{scripts}/start.sh", folder], check=True, timeout=60)
            yield {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}"}
        finally:
            daemons = [Path(folder, name) for name in ("slurmctld.pid", "slurmd.pid", "munge/pid")]
            pids = [int(file.read_text()) for file in daemons if file.exists()]
            subprocess.run(["bash", f"{scripts}/stop.sh", folder], check=False, timeout=60)
            wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The runs of seeds 1 and 2 as worker processes on this machine do them."""
    sweep = Sweep(tmp_path_factory.mktemp("local") / "s")
    assert sweep.run("seed=1,2")[0] == 0
    return sweep


@pytest.fixture
def sweep(tmp_path: Path, slurm: dict[str, str]) -> Iterator[Sweep]:
    yield Sweep(tmp_path / "s", launcher=["hydra/launcher=slurm"], environment=slurm)
    command(slurm, "scancel", "--user=root")
    wait_for(lambda: not command(slurm, "squeue", "-h"))


def command(environment: Mapping[str, str], *arguments: str) -> str:
    environment = {**os.environ, **environment}
    return subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def submitted(sweep: Sweep) -> int:
    return len(list(sweep.outputs.glob(".sweeps/*/*_submitted.pkl")))


def test_jobs_give_what_local_workers_give_and_only_failures_are_run_again(sweep: Sweep, undisturbed: Sweep) -> None:
    inside_another_job = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_JOB_ID": "76", "SLURM_ARRAY_TASK_ID": "3"}
    sweep.environment = {**sweep.environment, **inside_another_job}
    jobs = ("seed=1,2", "optimizer.lr=1e-4,1e10", "hydra.launcher.runs_per_job=2")
    code, said = sweep.run(*jobs)
    assert code == 1
    for seed in (1, 2):
        assert sweep.predictions(seed).equals(undisturbed.predictions(seed))
        failed = f"seed={seed} optimizer.lr=10000000000.0: TrainingFailed: the training loss is nan"
        assert failed in said.partition("  failed  ")[2]
    assert submitted(sweep) == 2
    code, said = sweep.run(*jobs)
    assert code == 1
    assert "4 runs: 2 done before, 2 to run" in said
    assert submitted(sweep) == 3
    code, said = sweep.run("seed=1,2")
    assert (code, submitted(sweep)) == (0, 3)
    assert "2 runs: 2 done before, 0 to run" in said


def test_a_preempted_job_is_requeued_and_ends_as_if_undisturbed(
    sweep: Sweep, slurm: dict[str, str], undisturbed: Sweep
) -> None:
    process = sweep.start("seed=1", "force=true", "hydra.launcher.runs_per_job=2")
    sweep.wait_for_first_epoch(1)
    (job,) = command(slurm, "squeue", "-h", "-o", "%A").split()
    command(slurm, "scancel", "--signal=USR2", job)
    wait_for(lambda: "PD" in command(slurm, "squeue", "-h", "-o", "%t"))
    # Slurm lets a requeued job wait for two minutes, so that no late word of its first attempt ends the second
    wait_for(lambda: subprocess.run(["pgrep", "-f", rf"slurmstepd: \[{job}\."], stdout=subprocess.DEVNULL).returncode)
    wait_for(lambda: "State=IDLE " in command(slurm, "scontrol", "show", "node"))  # nor COMPLETING any more
    # a node refuses credentials that are not of a later second than the attempt which it ended
    command(slurm, "scontrol", "update", f"JobId={job}", "StartTime=now+2")
    code, said = finish(process)
    assert code == 0, said
    assert len(sweep.result(1)["resumed_at_steps"]) == 1
    assert sweep.predictions(1).equals(undisturbed.predictions(1))
    assert submitted(sweep) == 1, said


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
    assert "rte: its Slurm job" in failed
    assert "ended as FAILED; its log is" in failed
    assert sweep.result(2)["status"] == "failed"
    assert sweep.result(2)["error"].startswith("WorkerDied: its Slurm job")


def test_queued_jobs_outlive_the_sweep_and_the_same_command_runs_nothing_twice(
    sweep: Sweep, undisturbed: Sweep
) -> None:
    jobs = ("seed=1,2", "hydra.launcher.array_parallelism=1")
    process = sweep.start(*jobs)
    sweep.wait_for_first_epoch(1)
    process.send_signal(signal.SIGINT)
    code, said = finish(process)
    assert code != 0
    assert re.search(r"the same command later takes in what they did; scancel \d+ ends them", said)
    code, said = sweep.run(*jobs)
    assert code == 0, said
    assert "works on it; the others go on" in said
    for seed in (1, 2):
        assert sweep.predictions(seed).equals(undisturbed.predictions(seed))
        assert sweep.logs().count(f"seed={seed}: epoch 1, ") == 1


def test_a_cancelled_job_costs_the_run_that_it_was_at_and_the_others_go_into_another_job(
    sweep: Sweep, slurm: dict[str, str]
) -> None:
    process = sweep.start("seed=1,2", "hydra.launcher.runs_per_job=2", "train.max_steps=90")
    sweep.wait_for_first_epoch(1)
    command(slurm, "scancel", "--user=root")  # SIGTERM, and SIGKILL five seconds later
    code, said = finish(process)
    assert code == 0, said
    assert re.search(r"^seed=1: its Slurm job \d+ ended as CANCELLED; its log is .*; once more$", said, re.MULTILINE)
    assert said.count("once more") == 1
    assert [sweep.result(seed)["status"] for seed in (1, 2)] == ["completed"] * 2


def test_a_job_that_cannot_start_is_noticed_with_what_it_said(sweep: Sweep) -> None:
    code, said = sweep.run("seed=1", "hydra.launcher.setup=[echo no such module,exit 3]")
    assert code == 1
    assert "ended as FAILED; its log is" in said
    assert "no such module" in said


def test_without_accounting_or_with_a_wrong_partition_nothing_is_submitted(sweep: Sweep, slurm: dict[str, str]) -> None:
    code, said = sweep.run("seed=1", "hydra.launcher.partition=nope")
    assert code == 2
    assert "error: hydra/launcher=slurm: sbatch: error: invalid partition specified: nope" in said
    sweep.environment = {**slurm, "PATH": os.environ["PATH"]}  # Slurm's own sacct, which wants a database
    code, said = sweep.run("seed=1")
    assert code == 2
    assert "error: hydra/launcher=slurm: sacct does not answer (" in said
