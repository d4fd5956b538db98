"""What `hydra/launcher=local|slurm|ray` name, and the sweeper that hands them the grid: Hydra looks for them here.

Hydra imports this module at every start, so nothing heavy is imported before a sweep begins.
"""

import math
import os
import sys
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from glue_pool.sweeps import sweep


class GridSweeper(BasicSweeper):
    """Hydra's grid, without composing every job in advance: the launchers below check them all before the first."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher."""


class _Launcher(Launcher):
    """Takes a sweep's jobs through `glue_pool.sweeps`; a failed one is NaN to the sweeper, and listed at the end."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what jobs are composed with."""
        self.loader = hydra_context.config_loader
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carry out what isn't done yet, and return every job's score."""
        from glue_pool.errors import UserError
        from glue_pool.sweeps import sweep

        logs = Path(self.config.output_root, ".sweeps", f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        try:
            scores = sweep.carry_out(self.loader, self.config, job_overrides, self.launcher(logs))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        return [_returned(overrides, score) for overrides, score in zip(job_overrides, scores, strict=True)]

    @abstractmethod
    def launcher(self, logs: Path) -> "sweep.Launcher":
        """Return where runs are carried out; what they print goes to `logs`."""


class LocalLauncher(_Launcher):
    """Worker processes on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def launcher(self, logs: Path) -> "sweep.Launcher":
        """Return the worker processes."""
        from glue_pool.sweeps.local import Workers

        return Workers(logs, self.workers)


def _returned(overrides: Sequence[str], score: float | None) -> JobReturn:
    returned = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    returned.return_value = math.nan if score is None else score
    return returned
