"""What a run takes along to another host, and what it says where a launcher's package is missing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import local_data
from conftest import Compose
from glue_pool import results, schema
from glue_pool.errors import UserError
from glue_pool.sweeps import remote
from glue_pool.sweeps.attempt import Ending
from glue_pool.sweeps.plan import Planned
from test_train import TINY


def test_in_another_working_directory_a_run_is_the_same_run(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    elsewhere.mkdir()
    cfg = composed(*TINY, "data=local", "data.dir=rows", "data.cache_dir=cache", "output_root=out", "pooling.k=2")
    local_data.write(here / "rows", cfg.task)
    monkeypatch.chdir(here)
    run = results.find(cfg)
    plain = remote.portable(cfg)
    monkeypatch.chdir(elsewhere)
    there = results.find(schema.from_plain(plain))
    assert (there.key, there.path) == (run.key, here / run.path)
    assert (plain["data"]["cache_dir"], plain["tracking"]["dir"]) == (str(here / "cache"), str(here / "out"))


@pytest.mark.parametrize(("launcher", "module"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    launcher: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python takes for "is not there"
    with pytest.raises(UserError, match=rf'{module} is missing; pip install -c constraints.txt "\.\[{launcher}\]"'):
        remote.library(launcher)


def test_a_run_without_a_result_here_is_not_taken_for_a_good_one(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SHARED_SECONDS", 0.0)
    cfg = replace(composed(*TINY, "pooling.k=2"), output_root=str(tmp_path))
    ending = remote.seen(Planned(cfg, results.find(cfg), "run"), Ending("over"))
    assert ending.message is not None
    assert "has to be a folder that all hosts share" in ending.message
