"""What it takes to carry a run to another host: a config that means the same there, and its result seen from here."""

import importlib
import os
import time
from types import ModuleType
from typing import Any

from glue_pool import results
from glue_pool.errors import UserError
from glue_pool.models.identity import PACKAGED
from glue_pool.schema import Config
from glue_pool.sweeps.attempt import Ending
from glue_pool.sweeps.plan import Planned

SHARED_SECONDS = 60.0  # in which what another host wrote on a network file system is seen here


def library(name: str) -> ModuleType:
    """Import what a launcher needs; `hydra/launcher=<name>` is also the extra that brings it."""
    module = {"slurm": "submitit"}.get(name, name)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f'hydra/launcher={name}: the package {module} is missing; pip install -c constraints.txt ".[{name}]"'
        ) from None


def portable(cfg: Config) -> dict[str, Any]:
    """Return a run's config as plain data that means the same in another working directory."""
    plain = results.plain(cfg)
    plain["output_root"] = os.path.abspath(cfg.output_root)
    plain["tracking"]["dir"] = os.path.abspath(cfg.tracking.dir)
    plain["data"]["cache_dir"] = os.path.abspath(cfg.data.cache_dir)
    if cfg.data.dir is not None:
        plain["data"]["dir"] = os.path.abspath(cfg.data.dir)
    if cfg.encoder.name not in PACKAGED and os.path.isdir(cfg.encoder.name):
        plain["encoder"]["name"] = os.path.abspath(cfg.encoder.name)
    return plain


def seen(run: Planned, ending: Ending) -> Ending:
    """Return an ending as it looks from here, where a run that ended well has a result."""
    if ending.kind != "over" or ending.message is not None:
        return ending
    until = time.monotonic() + SHARED_SECONDS
    while run.result() is None:
        if time.monotonic() > until:
            wanted = f"output_root={run.cfg.output_root} has to be a folder that all hosts share"
            return Ending("over", f"it ended well, but its result is not to be seen here: {wanted}")
        time.sleep(1)
    return ending
