"""What several tests share: composed configs and, where there are any, the real GLUE rows."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from glue_pool import schema
from glue_pool.schema import Config, TaskConfig
from glue_pool.train import CONF

Compose = Callable[..., Config]


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
