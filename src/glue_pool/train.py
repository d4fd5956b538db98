"""The door of the main job: what Hydra composes from the command line is checked and run.

python -m glue_pool.train model=maxpool task=rte seed=3
"""

import math
import signal
import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from glue_pool import commandline, pipeline, results, schema, sweeps
from glue_pool.errors import Held, Interrupted, TrainingFailed, UserError
from glue_pool.schema import Config

_INSTALLED = Path(__file__).parent / "conf"  # in a wheel; in a checkout conf/ stands at the top
CONF = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "conf"

# of a single run that gives no result; 75 is sysexits.h's "try again later"
EXIT_CODES = {UserError: 2, TrainingFailed: 1, Held: 75}

ConfigStore.instance().store(name="schema", node=Config)


def main() -> None:
    """Run what the command line says. A mistake in it is one line and exit code 2, a failed training exit code 1.

    A signal that stops a run is one line too; the exit code is then 128 and the signal's number.
    """
    try:
        commandline.check(sys.argv[1:], CONF)
    except UserError as error:
        _exit(error, 2)
    sweeps.failures.clear()
    try:
        job()
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        again = " without force=true" if "force=true" in sys.argv else ""
        _exit(f"interrupted; the same command{again} goes on", 128 + signal.SIGINT)
    if sweeps.failures:
        sys.exit(1)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(composed: DictConfig) -> float:
    """Run one job and return its score, the value that a sweeper optimises."""
    try:
        cfg = schema.check(composed)
        if cfg.dry_run:
            return _dry_run(cfg)
        score = pipeline.run(cfg)["score"]
    except (UserError, TrainingFailed, Held) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # the other jobs go on; Hydra prints this without a traceback
            raise CompactHydraException(f"error: {error}") from error
        _exit(error, next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))
    return math.nan if score is None else float(score)


def _dry_run(cfg: Config) -> float:
    from glue_pool.sweeps.estimate import Estimate
    from glue_pool.sweeps.plan import Planned
    from glue_pool.sweeps.screen import dry_run

    run = Planned(cfg, results.find(cfg), f"{cfg.task.name} {cfg.method} seed={cfg.seed}")
    dry_run([run], Estimate.from_folder(Path(cfg.output_root)))
    return math.nan


def _exit(error: Exception | str, code: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
