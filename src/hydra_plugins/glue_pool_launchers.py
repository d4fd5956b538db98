"""What `hydra/launcher=local|slurm|ray` name, and the sweeper that hands them the grid: Hydra looks for them here.

Hydra imports this module at every start, so nothing heavy is imported before a sweep begins.
"""

import math
import os
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from glue_pool.schema import Config
    from glue_pool.sweeps import sweep


class GridSweeper(BasicSweeper):
    """Hydra's grid, but jobs are not composed in advance, since the launchers below check them all before the first.

    Nor is a multirun.yaml written: a run's own config.yaml says everything.
    """

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Launch every combination of the values in `params` and of the overrides given, which win."""
        assert self.hydra_context
        assert self.launcher
        from glue_pool.sweeps.plan import grid

        jobs = grid(self.hydra_context.config_loader, self.params, arguments)
        self.overrides = list(self.split_overrides_to_chunks(jobs, self.max_batch_size))
        returned: list[Sequence[JobReturn]] = []
        while not self.is_done():
            batch = self.get_job_batch()
            returned.append(self.launcher.launch(batch, initial_job_idx=sum(map(len, returned))))
            for job in returned[-1]:
                _ = job.return_value  # raises what a job of hydra/launcher=basic raised
        return returned


class _SweepLauncher(Launcher):
    """Takes the jobs of a sweep, all at once, through `glue_pool.sweeps`, and gives what a search maximises."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what jobs are composed with."""
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run what isn't done yet, and return every job's objective; NaN where it has none."""
        from glue_pool.sweeps.sweep import run_sweep

        HydraConfig.instance().set_config(self.config)  # for ${hydra:…} in it, as of output_root
        logs = Path(self.config.output_root, ".sweeps", f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        objectives = run_sweep(self.loader, self.config, job_overrides, lambda left: self.backend(logs, left))
        return [_returned(overrides, value) for overrides, value in zip(job_overrides, objectives, strict=True)]

    @abstractmethod
    def backend(self, logs: Path, left: Sequence["Config"]) -> "sweep.Backend":
        """Return where the runs that are left are carried out; what they print goes to `logs`."""


class LocalLauncher(_SweepLauncher):
    """Worker processes on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def backend(self, logs: Path, left: Sequence["Config"]) -> "sweep.Backend":
        """Return the worker processes."""
        from glue_pool.sweeps import room
        from glue_pool.sweeps.local import Workers

        return Workers(logs, room.find(left, self.workers))


class SlurmLauncher(_SweepLauncher):
    """Slurm jobs; the parameters go by submitit's names."""

    def __init__(
        self,
        timeout_min: int,
        mem_gb: float | None = None,
        runs_per_job: int = 1,
        max_num_timeout: int = 3,
        **parameters: Any,
    ) -> None:
        self.runs_per_job, self.max_num_timeout = runs_per_job, max_num_timeout
        memory = None if mem_gb is None else f"{round(mem_gb * 1024)}MB"
        self.parameters = {"time": timeout_min, "mem": memory, **_plain(parameters)}

    def backend(self, logs: Path, left: Sequence["Config"]) -> "sweep.Backend":
        """Return the Slurm jobs."""
        from glue_pool.sweeps.slurm import SlurmJobs

        return SlurmJobs(logs, self.parameters, runs_per_job=self.runs_per_job, max_num_timeout=self.max_num_timeout)


class RayLauncher(_SweepLauncher):
    """Ray tasks, on this machine or on a cluster."""

    def __init__(self, **options: Any) -> None:
        self.options = _plain(options)

    def backend(self, logs: Path, left: Sequence["Config"]) -> "sweep.Backend":
        """Return the Ray tasks."""
        from glue_pool.sweeps.on_ray import Tasks

        return Tasks(logs, **self.options)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in options.items()
    }


def _returned(overrides: Sequence[str], objective: float | None) -> JobReturn:
    returned = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    returned.return_value = math.nan if objective is None else objective
    return returned
