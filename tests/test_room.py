"""How many runs a machine has room for: by its cores, memory and GPUs, a cgroup's share, and what was asked for."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glue_pool.schema import Config
from glue_pool.sweeps import room

Compose = Callable[..., Config]
Machine = Callable[..., Path]
GB = 10**9


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A root folder with a machine's own words: the memory that is free, its cgroup and what that one may use."""

    def made(cgroup: str, **files: str) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text("MemTotal: 64000000 kB\nMemAvailable: 16000000 kB\n")
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, content in files.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tmp_path

    return made


@pytest.fixture
def two_cores(machine: Machine) -> Path:
    """The root folder of a machine with 16 GB that lets a process use two cores, one where this one has no more."""
    return machine("0::/\n", **{"cpu.max": "200000 100000"})


def test_a_run_a_core_and_no_more_than_runs_or_memory(
    composed: Compose, two_cores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = composed("encoder=minilm_l6")
    cores = min(len(os.sched_getaffinity(0)), 2)
    found = room.find([small] * 100, root=two_cores)
    assert (found.workers, found.threads, found.gpus) == (cores, 1, [])
    assert str(found).endswith(f"1 thread each: {cores} cores") or cores == 1
    said = "1 worker with 2 threads: 1 run to run" if cores > 1 else "1 worker with 1 thread: 1 core"
    assert str(room.find([small], root=two_cores)) == said
    assert room.find([], root=two_cores).workers == 1
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    assert room.find([small] * 100, root=two_cores).workers == 1


@pytest.mark.parametrize(
    ("visible", "gpus"), [("", []), ("-1", []), ("NoDevFiles", []), ("0,2", ["0", "2"]), ("1,-1,0", ["1"])]
)
def test_gpus_are_those_that_cuda_shows_and_none_for_runs_on_the_cpu(
    composed: Compose, monkeypatch: pytest.MonkeyPatch, visible: str, gpus: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    small = composed("encoder=minilm_l6")
    assert room.find([small]).gpus == gpus
    assert room.find([replace(small, train=replace(small.train, device="cpu"))]).gpus == []


def test_memory_bounds_them(composed: Compose, two_cores: Path) -> None:
    small = composed("encoder=minilm_l6")
    large = replace(small, train=replace(small.train, batch_size=100_000))
    found = room.find([small, large], root=two_cores)
    assert found.workers == 1
    assert "16.4 GB of memory are free, a run takes up to 17" in found.why
    halves = replace(large, train=replace(large.train, accumulate=2))
    assert room.run_bytes(halves) < 0.6 * room.run_bytes(large)
    assert 1.3e9 < room.run_bytes(small) < 1.6e9  # 0.95 to 1.4 GB on CoLA and RTE
    unknown = replace(small, encoder=replace(small.encoder, name="nobody/nothing"))
    assert room.run_bytes(unknown) > 2 * room.run_bytes(small)


def test_what_was_asked_for_wins(composed: Compose, two_cores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = composed("encoder=minilm_l6")
    assert str(room.find([small], 5, two_cores)) == "5 workers with 1 thread each: hydra.launcher.workers=5"
    four = replace(small, train=replace(small.train, threads=4))
    assert room.find([small, four], 5).threads == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    assert room.find([small], 5).threads == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,GPU-1")
    found = room.find([small])
    assert (found.workers, found.gpus, found.why) == (3, ["4", "7", "GPU-1"], "one a GPU")


def test_a_machine_whose_driver_is_broken_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho No devices were found\nexit 6\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert room.gpus_here() == []


@pytest.mark.parametrize(
    ("cgroup", "files", "cores", "free"),
    [
        ("0::/\n", {}, None, 16.384 * GB),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1, 16.384 * GB),
        ("0::/gone\n", {"cpu.max": "50000 100000"}, 1, 16.384 * GB),  # a container sees its own as the root
        (
            "0::/a\n",
            {"a/memory.max": f"{4 * GB}", "a/memory.current": f"{3 * GB}", "a/memory.stat": f"inactive_file {GB}\n"},
            None,
            2 * GB,
        ),
        ("0::/a\n", {"a/memory.max": "max", "a/memory.current": "3", "a/memory.stat": ""}, None, 16.384 * GB),
        (
            "4:memory:/x\n1:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "100000\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": f"{2 * GB}\n",
                "memory/memory.usage_in_bytes": f"{3 * GB}\n",
                "memory/memory.stat": "total_inactive_file 0\n",
            },
            1,
            0,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, 16.384 * GB),
    ],
)
def test_a_cgroup_bounds_cores_and_memory(
    machine: Machine, cgroup: str, files: dict[str, str], cores: int | None, free: float
) -> None:
    root = machine(cgroup, **files)
    assert room.cores(root) == (cores or len(os.sched_getaffinity(0)))
    assert room.available_bytes(root) == free
