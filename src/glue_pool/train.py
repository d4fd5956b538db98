"""The main job: what Hydra composes from the command line is run, or is a sweep.

python -m glue_pool.train model=maxpool task=rte seed=3
"""

import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from glue_pool import cli, commandline, pipeline, results, schema, sweeps
from glue_pool.choices import CONF
from glue_pool.errors import Failed, Interrupted
from glue_pool.models import shape
from glue_pool.result import objective
from glue_pool.schema import Config

__all__ = ["CONF", "job", "main", "train"]


def main() -> None:
    """`glue-pool train`, for `glue-pool-train` and `python -m glue_pool.train`."""
    cli.main(["train", *sys.argv[1:]])


def train(argv: Sequence[str]) -> None:
    """Run what a command line says, or show what it asks for.

    Raises UserError for a mistake in it before anything runs, and where it is a single run also what
    `pipeline.run` raises; Failed if runs of a sweep failed.
    """
    line = commandline.check(argv)
    sweeps.failures.clear()
    try:
        commandline.hand_over(line, job)
    except KeyboardInterrupt:
        again = " without force=true" if "force=true" in argv else ""
        raise Interrupted(signal.SIGINT, f"interrupted; the same command{again} goes on") from None
    if sweeps.failures:
        raise Failed


def job(composed: DictConfig) -> float:
    """Run one job and return what a sweeper maximises: its score, or its negative where lower is better."""
    cfg = schema.check(composed)
    if cfg.dry_run:
        return _dry_run(cfg)
    sought = objective(pipeline.run(cfg))
    return math.nan if sought is None else sought


def _dry_run(cfg: Config) -> float:
    from glue_pool.sweeps.estimate import Estimate
    from glue_pool.sweeps.plan import Planned
    from glue_pool.sweeps.screen import dry_run

    run = Planned(cfg, results.find(cfg), f"{cfg.task.name} {cfg.method} seed={cfg.seed}")
    if run.is_left():
        shape.check(cfg)
    dry_run([run], Estimate.from_folder(Path(cfg.output_root)))
    return math.nan


if __name__ == "__main__":
    main()
