"""A W&B run that is open: how it is started, told of a training, and given up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glue_pool.errors import UserError
from glue_pool.on_wandb.variables import in_sweep, session
from glue_pool.schema import TrackingConfig

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger("glue_pool.tracking")


class Live:
    """An open W&B run that is told at once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._broken = False
        self.file = Path(run.dir).parent / f"run-{run.id}.wandb"  # where it is, of an offline run

    def tell(self, what: str, value: Any, at: float | None = None) -> None:
        """Tell W&B one thing, as `journal.What` has it; at: when it was, in seconds since 1970, None for now.

        After an error it is told of the end alone, and the next run of this process starts its service anew: a dead
        one fails every run after it.
        """
        if self._broken and what != "finish":
            return
        try:
            self._tell(what, value, at)
        except Exception:
            self._broken = True
            raise
        finally:
            if self._broken and what == "finish":
                forget_service()

    def _tell(self, what: str, value: Any, at: float | None) -> None:
        run = self._run
        if what == "log":
            run.log(value if at is None else {**value, "_timestamp": at})
        elif what == "summary":
            run.summary.update(value)
        elif what == "preempting":
            run.mark_preempting()
        elif what == "finish":
            run.finish(exit_code=value)


def start(cfg: TrackingConfig, folder: Path, about: Mapping[str, Any]) -> Live | None:
    """Start a W&B run. about: what `wandb.init` is told of it; None if it can't be, and is not to be online.

    Raises UserError if W&B refuses a name that the user chose, or if it is to be online and can't be.
    """
    with session(cfg):
        return _start(cfg, folder, about)


def _start(cfg: TrackingConfig, folder: Path, about: Mapping[str, Any]) -> Live | None:
    import wandb

    online = cfg.mode == "online"
    try:
        if online:
            # W&B retries 20 times unless told: its service may then outlive the failed login and hold the exit
            wandb.setup(wandb.Settings(x_graphql_retry_max=1))
            if not wandb.login(prompt=False, verify=True):
                raise wandb.Error("no API key, or WANDB_MODE is not online")
        run = wandb.init(
            mode="online" if online else "offline",
            project=None if in_sweep() else cfg.project,  # None leaves it to the agent
            entity=None if in_sweep() else cfg.entity,
            dir=folder,
            job_type="train",
            **about,
            settings=wandb.Settings(
                silent=not online,
                console="off",
                reinit="create_new",  # never someone else's open run
                save_code=False,
                symlink=False,  # parallel runs would fight over latest-run
                disable_git=True,
                sagemaker_disable=not online,
                label_disable=True,
                x_graphql_retry_max=20,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=1,  # seconds that a killed run may lose; 15 unless said
            ),
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return Live(run)
    except Exception as error:
        if online:
            raise UserError(
                f"tracking=wandb_online: W&B can't be used ({line(error)}); run `wandb login`, or take "
                "tracking=wandb, which writes files for `wandb sync`"
            ) from error
        if isinstance(error, wandb.errors.UsageError):
            raise UserError(f"tracking: {line(error)}") from error
        log.warning("W&B did not start (%s); the result on disk is not affected", line(error))
        forget_service()
        return None


def forget_service() -> None:
    """End W&B's service, if it still lives; the next run of this process starts another."""
    import wandb

    with suppress(Exception):
        wandb.teardown(exit_code=1)


def line(error: BaseException) -> str:
    """Return an error in one line."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
