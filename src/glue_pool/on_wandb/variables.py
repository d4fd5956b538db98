"""What of a shell W&B goes by: all its variables where a run is online, none of them, nor HOME, where it is offline."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glue_pool.disk import check_room
from glue_pool.errors import UserError
from glue_pool.schema import TrackingConfig
from glue_pool.shell import readable

OF_AN_AGENT = ("SWEEP_ID", "RUN_ID", "PROJECT", "ENTITY", "SWEEP_PARAM_PATH")  # what says which run it has made
PROJECT_LENGTH = 128  # W&B's own rules for a project's name, which a test compares: they are asked before a run trains
NOT_IN_PROJECT = frozenset("/\\#?%:")


def in_sweep() -> bool:
    """Whether a W&B sweep's agent started this process: it has made a W&B run already, and waits for its score."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def is_live(cfg: TrackingConfig) -> bool:
    """Whether W&B itself is told while a run trains, and not a journal."""
    return cfg.mode == "online" or (cfg.mode == "offline" and in_sweep())


def get_ready(cfg: TrackingConfig) -> None:
    """Refuse what W&B would; where it is told live, import it with all that `wandb.init` needs.

    That takes 0.4 s before torch and 0.7 s after it: for each of its data classes pydantic searches all modules that
    are loaded. Raises `UserError` if W&B's folder can't be written, if it does not take the project's name, or if a
    variable that the run goes by has a value that it does not take.
    """
    if cfg.mode == "none":
        return
    way_out = "choose another, or tracking=none"
    check_room(Path(cfg.dir), 0, f"tracking.dir={cfg.dir}", way_out)
    if readable(folder := str(Path(cfg.dir).absolute())) != folder:
        raise UserError(f"tracking.dir={cfg.dir}: no UTF-8, which W&B needs; LC_ALL=C.UTF-8 may help, or {way_out}")
    if not in_sweep() and (len(cfg.project) > PROJECT_LENGTH or set(cfg.project) & NOT_IN_PROJECT):
        refused = " ".join(sorted(NOT_IN_PROJECT))
        raise UserError(
            f"tracking.project={cfg.project}: W&B takes at most {PROJECT_LENGTH} characters, none of {refused}"
        )
    if not is_live(cfg):
        return
    with _variables(cfg) as used:
        check_variables(used)
        if cfg.mode == "online":
            cache = Path(used["WANDB_CACHE_DIR"])
            check_room(cache, 0, f"W&B's cache, {cache}", "name another with WANDB_CACHE_DIR=…")
        from wandb import Api  # noqa: F401


def check_variables(used: Mapping[str, str]) -> None:
    """Refuse a variable with a value that W&B does not take; what it says of them names none."""
    from pydantic import ValidationError
    from wandb import Settings, env, errors

    for name, value in used.items():
        try:
            Settings().update_from_env_vars({name: value})
            if name == env.HTTP_TIMEOUT:  # read when W&B's Api is imported, too, which takes whole seconds only
                env.get_http_timeout(0)
        except (ValidationError, errors.UsageError, ValueError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).splitlines()[0]
            raise UserError(f"{name} (in the environment): {said}; correct it or unset it") from None


@contextmanager
def _variables(cfg: TrackingConfig) -> Iterator[dict[str, str]]:
    """Leave in the environment those of W&B's variables that a run goes by, and yield them; all are back afterwards.

    They are all of them if it is online, else those of a W&B sweep's agent, and some of ours.
    """
    shell = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    of_agent = [f"WANDB_{name}" for name in OF_AN_AGENT] if in_sweep() else []
    used = {
        "WANDB_ERROR_REPORTING": "false",  # else it asks DNS for a telemetry host, even offline
        "WANDB_FINISH_TIMEOUT": "300",  # else an upload without a network never ends
        **{name: value for name, value in shell.items() if cfg.mode == "online" or name in of_agent},
    }
    if cfg.mode == "offline":
        used["WANDB_CACHE_DIR"] = str(Path(cfg.dir).absolute())  # for its service's log: HOME need not be there
    _replace_variables(used)
    try:
        if "WANDB_CACHE_DIR" not in used:
            from wandb.env import get_cache_dir

            used["WANDB_CACHE_DIR"] = os.environ["WANDB_CACHE_DIR"] = str(get_cache_dir().parent)
        yield used
    finally:
        _replace_variables(shell)  # less W&B's own: a child process would lean on this one's service


def _replace_variables(others: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(others)


@contextmanager
def session(cfg: TrackingConfig) -> Iterator[None]:
    """Let W&B go by the run's variables alone, and offline by no settings file, whatever it read before.

    Where another version of W&B keeps its settings elsewhere, it goes by the variables and its files.
    """
    with _variables(cfg) as used:
        if cfg.mode == "online":
            yield
            return
        from wandb import Settings

        try:
            from wandb.sdk.wandb_setup import singleton

            kept: Any = singleton()
            before = kept._settings
        except (ImportError, AttributeError):
            yield
            return
        kept._settings = Settings()
        kept._settings.update_from_env_vars(used)
        try:
            yield
        finally:
            kept._settings = before
