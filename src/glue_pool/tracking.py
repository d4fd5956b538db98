"""The W&B mirror of a run: one W&B run a seed, offline unless asked. The result on disk is the truth.

Offline, W&B takes no part in the training: what it would be told is written down (`on_wandb.journal`), and becomes
W&B's own files when the run is over (`on_wandb.writer`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from glue_pool.errors import Interrupted, UserError
from glue_pool.on_wandb import writer
from glue_pool.on_wandb.journal import Journal
from glue_pool.on_wandb.live import line
from glue_pool.on_wandb.variables import get_ready, in_sweep, is_live
from glue_pool.result import Result, objective
from glue_pool.schema import TrackingConfig
from glue_pool.shell import readable

if TYPE_CHECKING:
    from glue_pool.on_wandb.journal import What

log = logging.getLogger(__name__)

TAG_LENGTH = 64  # W&B refuses longer ones
SUMMARY = (
    "status",
    "error",
    "score",
    "primary_metric",
    "collapsed",
    "parameters",
    "timing",
    "peak_memory_bytes",
)


class Listener(Protocol):
    """Who hears what W&B is to be told."""

    def tell(self, what: What, value: Any) -> None:
        """Hear one thing; after an error, all that can still be of use."""


class Tracker:
    """What a run tells W&B while it trains; without a listener it tells nobody.

    No W&B error leaves it: the first one is logged as a warning. What is told after it is the listener's matter.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._warned = False
        self._failed = False

    def step(self, *, step: int, epoch: float, phase: str = "train", **values: float) -> None:
        """Log one optimizer step: its loss, learning_rate and examples_per_second, under the phase's name."""
        row = {"step": step, "epoch": epoch, **{f"{phase}/{name}": value for name, value in values.items()}}
        self._tell("log", row)

    def evaluation(self, record: Mapping[str, object]) -> None:
        """Log one evaluation: `{"step", "epoch", "metrics": {split: {name: value}}, "loss": {split: value}, "score"}`.

        `dev/loss` and `dev/score` are the first split's, by names that all tasks share.
        """
        row = {"step": record["step"], "epoch": record["epoch"], **_flat(record["metrics"])}
        losses = dict(_items(record["loss"]))
        row |= _flat({split: {"loss": loss} for split, loss in losses.items()})
        row |= {"dev/loss": next(iter(losses.values())), "dev/score": record["score"]}
        self._tell("log", row)

    def summary(self, result: Result) -> None:
        """Set the summary to what `result.json` says; a failed result makes a failed W&B run.

        A score is the last row too, beside the train rows, since W&B draws curves from rows; `objective` is what a
        search maximises, the score or, where lower is better, its negative; `collapsed` and `failed` are 0 or 1, since
        W&B draws numbers only.
        """
        self._failed = result["status"] == "failed"
        sought = objective(result)
        last = {"train_rows": result["train_rows"], "score": result["score"], "objective": sought}
        if None not in last.values():
            self._tell("log", last)
        row = _flat({name: value for name, value in result.items() if name in SUMMARY})
        row |= {"objective": sought, "failed": self._failed}
        row |= _flat(result["metrics"])
        for name, value in _items(result["best"]):
            row |= _flat({"best": value if name == "metrics" else {name: value}})
        # W&B makes null of a NaN in a summary, and NaN of this string
        known = {name: "NaN" if value != value else value for name, value in row.items() if value is not None}
        known |= {name: int(value) for name, value in known.items() if isinstance(value, bool)}
        self._tell("summary", known)

    def finish(self, *, failed: bool = False, preempted: bool = False) -> None:
        """End the W&B run, as failed if the training raised or its result says so, or as one that was preempted."""
        if preempted:
            self._tell("preempting", True)
        exit_code = int(failed or preempted or self._failed)
        self._tell("finish", exit_code)
        self._listener = None

    def _tell(self, what: What, value: object) -> None:
        if self._listener is None:
            return
        try:
            self._listener.tell(what, value)
        except Exception as error:  # its service may die, its disk may fill: no reason to stop training
            if not self._warned:
                log.warning("W&B may miss a part of this run (%s); the result on disk is not affected", line(error))
            self._warned = True


@contextmanager
def track(
    cfg: TrackingConfig,
    *,
    run_key: str,
    name: str,
    group: str,
    tags: Sequence[str],
    config: Mapping[str, object],
) -> Iterator[Tracker]:
    """Mirror what happens inside the `with` in one W&B run, marked as failed if it raises, or as preempted.

    group is `<task>/<method>`; config is logged as given. In a W&B sweep it is the agent's run, in the sweep's
    project. Raises `UserError` if W&B refuses a name that the user chose (offline the project's alone is asked; another
    shows when the journal is made W&B's), or if it is to be online and can't be.
    """
    if cfg.mode == "none":
        yield Tracker()
        return
    about = {
        "id": None if in_sweep() else run_key[:16],
        "name": name,
        "group": group,
        "tags": [readable(tag)[:TAG_LENGTH] for tag in dict.fromkeys([*tags, *cfg.tags]) if tag],
        "config": dict(config),
    }
    get_ready(cfg)
    folder = _folder(cfg)
    listener = _listener(cfg, folder, about)
    tracker = Tracker(listener)
    try:
        try:
            yield tracker
        except BaseException as error:
            tracker.finish(failed=True, preempted=isinstance(error, Interrupted))
            raise
        tracker.finish()
    finally:
        if isinstance(listener, Journal):
            writer.start(folder)


def _folder(cfg: TrackingConfig) -> Path:
    """Make the folder for W&B's own, which would silently take a temporary one where it is missing."""
    folder = Path(cfg.dir).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"tracking.dir={cfg.dir}: can't be made ({error.strerror}); choose another, or tracking=none"
        ) from None
    return folder


def _listener(cfg: TrackingConfig, folder: Path, about: Mapping[str, Any]) -> Listener | None:
    if is_live(cfg):
        from glue_pool.on_wandb import live

        return live.start(cfg, folder, about)
    try:
        return Journal(cfg, folder, about)
    except OSError as error:
        log.warning("W&B's journal can't be written (%s); the result on disk is not affected", line(error))
        return None


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from value.items()


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested names joined by slashes."""
    flat: dict[str, object] = {}
    for name, item in _items(value):
        flat |= _flat(item, f"{prefix}{name}/") if isinstance(item, Mapping) else {prefix + name: item}
    return flat
