"""What several tests share: composed configs, a shell without a network and, where there are any, real GLUE rows."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import OmegaConf

from glue_pool import schema
from glue_pool.on_wandb import writer
from glue_pool.schema import Config
from glue_pool.stats import resampled
from glue_pool.tasks import TaskConfig
from glue_pool.train import CONF

Compose = Callable[..., Config]
GLUE_POOL = str(Path(sys.executable).with_name("glue-pool"))
LONGEST = ("test_kill.py", "test_sweeps.py", "test_train.py")


def choices(group: str) -> list[str]:
    """The choices of a group that are no other name of another one."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if "\nname: " in f"\n{file.read_text()}")


def some(*quick: str) -> list[Any]:
    """`group=choice` of the groups recipe and edit; all but the quick ones are marked long."""
    every = [f"{name}={choice}" for name in ("recipe", "edit") for choice in choices(name)]
    return [choice if choice in quick else pytest.param(choice, marks=pytest.mark.long) for choice in every]


settings.register_profile("patient", settings(deadline=None))  # a first example may import scikit-learn
settings.load_profile("patient")


def pytest_configure() -> None:
    """Let Ctrl-C, which tests send, be heard also where the tests were started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take minutes: at the end one of them would keep a single worker busy."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever a test runs keeps nothing in the cache of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_POOL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def composed() -> Compose:
    """`composed("task=rte", "seed=3")` is the checked config of that command line."""

    def make(*overrides: str) -> Config:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return schema.check(compose("config", list(overrides)))

    return make


@pytest.fixture(scope="session")
def load_task() -> Callable[[str], TaskConfig]:
    """`load_task("rte")` is conf/task/rte.yaml, typed."""

    def load(name: str) -> TaskConfig:
        yaml = OmegaConf.load(CONF / "task" / f"{name}.yaml")
        task = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), yaml))
        assert isinstance(task, TaskConfig)
        return task

    return load


@pytest.fixture(scope="session")
def glue_dir() -> Path:
    """A folder with the real GLUE rows as <task>/<split>.parquet."""
    folder = os.environ.get("GLUE_POOL_TEST_DATA")
    if not folder:
        pytest.skip("needs real GLUE rows: GLUE_POOL_TEST_DATA=<folder of <task>/<split>.parquet>")
    return Path(folder).resolve()


def unshare() -> list[str]:
    """What runs a command in a network namespace without a single route; nothing where that can't be."""
    found = shutil.which("unshare") or "false"
    for flags in ("-rn", "-n"):
        if subprocess.run([found, flags, "true"], capture_output=True).returncode == 0:
            return [found, flags]
    return []


@pytest.fixture(autouse=True)
def left_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave journals to the test that looks for W&B's files: a writer a run would outlive its test's folder."""
    monkeypatch.setattr(writer, "start", lambda folder: None)


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All verdicts draw the same examples anyway, by the same seed: here they do it once."""
    draw = resampled._weights
    once = lru_cache(lambda groups, *of: list(draw(np.frombuffer(groups, dtype=int), *of)))
    monkeypatch.setattr(resampled, "_weights", lambda groups, *of: once(groups.tobytes(), *of))
