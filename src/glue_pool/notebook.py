"""A run from Python, in a notebook for one: `glue_pool.run(["model=maxpool", "task=rte", "seed=3"])`."""

from collections.abc import Sequence
from pathlib import Path

from glue_pool import commandline, pipeline, shell
from glue_pool.errors import UserError
from glue_pool.result import Result


def run(overrides: Sequence[str], config_dir: str | Path | None = None) -> Result:
    """Run what `glue-pool train` would run with these overrides, in this process, and return its result.

    config_dir: a folder of one's own choices, as `--config-dir`. The result is what is in `result.json`; a finished
    run's is found there. Raises `glue_pool.errors`: UserError for what can't be used, several runs included, before
    anything is written, TrainingFailed, Held where another process works on the run, and Interrupted at a signal,
    after which the same call goes on. Hydra's and logging's state in the process stays as it is.
    """
    if isinstance(overrides, str) or not all(isinstance(override, str) for override in overrides):
        raise UserError(f"glue_pool.run takes a list of key=value, as ['task=rte'], not {overrides!r}")
    for override in overrides:
        if override.startswith("-"):
            raise UserError(f"{override}: glue_pool.run takes key=value only, and config_dir=FOLDER")
    options = [] if config_dir is None else [f"--config-dir={config_dir}"]
    one = "glue_pool.run is for one run; call it for each, or use glue-pool train -m"
    shell.settle()
    line = commandline.check([*options, *overrides], several=one)
    if line.sweep:
        raise UserError(f"{' '.join(overrides)}: this is a sweep; {one}")
    (cfg,) = commandline.configs(line)
    if cfg.dry_run:
        raise UserError("dry_run=true: there is no result of it to return; glue-pool train says what would run")
    with commandline.located(line.args):
        return pipeline.run(cfg)
