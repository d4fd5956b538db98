"""A run, from its config to its result on disk: finished already? -> data -> model -> fit -> result."""

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from glue_pool import locks, results
from glue_pool.errors import Held, NotWritten, TrainingFailed, UserError
from glue_pool.models import shape
from glue_pool.result import Result
from glue_pool.results import RunFolder
from glue_pool.schema import Config
from glue_pool.shell import readable

if TYPE_CHECKING:
    from glue_pool.progress import Progress
    from glue_pool.tracking import Tracker
    from glue_pool.training.evaluation import Evaluation
    from glue_pool.training.loop import Observer


def run(cfg: Config) -> Result:
    """Carry one config to its result on disk, and return that result.

    Raises `UserError` before any long work, and before anything is written, if something the user gave can't be
    used, and `Held` where another process works on this run. Any other failure is written down as the run's result,
    and raised. Goes on from the run's checkpoint, if an earlier attempt left one, and raises `Interrupted` when a
    signal stops it.
    """
    started = time.perf_counter()
    folder = results.find(cfg)
    if (done := folder.read_completed(with_model=cfg.save_model)) and not cfg.force:
        return _there_already(cfg, folder, done)
    shape.check(cfg)
    results.check_output_root(cfg, folder)
    with locks.hold(folder.lock) as lease:
        if (done := folder.read_completed(with_model=cfg.save_model)) and not cfg.force:  # its holder was just done
            return _there_already(cfg, folder, done)
        about = results.describe(cfg, folder.key)
        try:
            result = _train(cfg, folder, about, lease, started)
        except (UserError, Held):
            raise
        except Exception as error:
            if not isinstance(error, NotWritten):  # what is mended before the next attempt may change the training
                folder.drop_checkpoint()
            with suppress(TrainingFailed):  # a full disk; without a result the run counts as unfinished
                folder.record_failure(cfg, results.failed(about, error))
            raise
    report(cfg, folder, result)
    return result


def _train(cfg: Config, folder: RunFolder, about: Result, lease: locks.Lease, started: float) -> Result:
    """Train what isn't there yet, and fill in what is known about it as soon as it is."""
    with _without_collector():
        from glue_pool.on_wandb.variables import get_ready

        get_ready(cfg.tracking)
        from glue_pool import threads
        from glue_pool.checkpoints import Checkpoint
        from glue_pool.data.load import load
        from glue_pool.data.tokens import Tokens
        from glue_pool.hardware import Hardware
        from glue_pool.manifest import manifest
        from glue_pool.models import factory, families, inputs
        from glue_pool.progress import Progress
        from glue_pool.saved import folder as saved
        from glue_pool.signals import Signals
        from glue_pool.training import probe, recipe
        from glue_pool.training.loop import fit, state_bytes

    hardware = Hardware.of(cfg.train)
    blueprint = factory.plan(cfg)
    threads.use(cfg.train.threads or min(threads.OWN, threads.unsplit(blueprint.d)))
    chosen = recipe.plan(cfg, recipe.Shape(blueprint.d, blueprint.layers))
    precision = families.precision(blueprint.encoder_config, cfg.train.precision, hardware.precision)
    hardware = replace(hardware, precision=precision)
    model = factory.build(cfg, blueprint)
    data = load(cfg, blueprint.folder)
    inputs.check(cfg, blueprint, data, chosen.reads_cls)
    assert isinstance(data.train, Tokens)  # a probe has hidden states in their place from here on
    cls = data.train.cls
    if cfg.encoder.freeze:
        data = probe.with_features(model, data, cfg, blueprint, hardware)
    model_bytes = saved.size(model) if cfg.save_model else 0
    about["train_rows"], about["splits"], about["parameters"] = len(data.train), data.splits, model.parameter_counts()
    results.check_output_root(cfg, folder, state_bytes(model, data.train, data.dev), model_bytes)

    with (
        Signals() as signals,
        _tracked(cfg, folder.key, len(data.train)) as tracker,
        Progress(cfg.train.steps(len(data.train)), _name(cfg)) as progress,
    ):
        made_with = manifest(cfg, folder.key, blueprint, data, hardware)
        folder.create(cfg, made_with)
        again = "the same command without force=true" if cfg.force else "the same command"
        checkpoint = Checkpoint(folder, cfg.checkpoint, made_with, signals, started, lease, again)
        try:
            watch = _watch(folder, lease, tracker, progress)
            try:
                outcome = fit(
                    model,
                    data.train,
                    data.dev,
                    cfg,
                    hardware=hardware,
                    recipe=chosen,
                    observer=watch,
                    keeper=checkpoint,
                )
            finally:
                about["resumed_at_steps"] = checkpoint.resumed_at
            lease.check()
            if cfg.save_model:
                with results.writing(folder.model):
                    saved.save(model, cfg, blueprint, hardware, cls, folder.model)
            folder.write_predictions(results.predictions(data.dev, outcome))
            result = results.completed(about, outcome, checkpoint.seconds["setup"], checkpoint.seconds["total"])
            folder.write_result(result)
            if cfg.save_model:
                from glue_pool.saved import card

                card.renew([folder.path])
            folder.drop_checkpoint()
        except Exception as error:
            tracker.summary(results.failed(about, error))
            raise
        tracker.summary(result)  # which tells a NaN from what there is not
    written: Result = results.without_nan(result)
    return written


def _tracked(cfg: Config, key: str, train_rows: int | None) -> AbstractContextManager["Tracker"]:
    """Open the run's W&B mirror, with what W&B sorts runs by beside the config.

    These labels get a key of their own: in a W&B sweep over a group, `task` in W&B's config is only the group's choice.
    """
    from glue_pool.tracking import track

    labels = {
        "task": cfg.task.name,
        "method": cfg.method,
        "encoder": readable(results.encoder_name(cfg)),
        "subset": results.subset_name(cfg),
        "kind": results.kind(cfg),
    }
    return track(
        cfg.tracking,
        run_key=key,
        name=_name(cfg),
        group=f"{cfg.task.name}/{_method(cfg)}",
        tags=list(labels.values()),
        config=results.as_text(results.plain(cfg) | {"labels": labels | {"train_rows": train_rows}}),
    )


def _name(cfg: Config) -> str:
    return f"{cfg.task.name} {_method(cfg)} seed={cfg.seed}"


def _method(cfg: Config) -> str:
    return f"{cfg.method} probe" if results.kind(cfg) == "probe" else cfg.method


def _another(cfg: Config) -> str:
    """Return another way to pool that is worth a look beside this one."""
    return "pooling=maxpool" if cfg.pooling["name"] == "bert" else "pooling=bert (BERT's own classifier)"


@contextmanager
def _without_collector() -> Iterator[None]:
    """Import a new process's libraries without the garbage collector, which would go through them again and again.

    They stay, so it takes no notice of them later either.
    """
    if "torch" in sys.modules or not gc.isenabled():  # what has been running may have left garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _watch(folder: RunFolder, lease: locks.Lease, tracker: "Tracker", progress: "Progress") -> "Observer":
    """Return what hears of the training, and tells the history file, W&B and the person watching."""
    from glue_pool.training.loop import Observer, Step

    class Watch(Observer):
        def on_start(self, steps: int) -> None:
            progress.expect(steps)

        def on_step(self, step: Step) -> None:
            tracker.step(**vars(step))
            progress.step(step.step, step.loss, step.examples_per_second)

        def on_evaluation(self, evaluation: "Evaluation") -> None:
            record = evaluation.record()
            lease.check()
            folder.append_history(record)
            tracker.evaluation(record)
            progress.evaluation(evaluation.epoch, evaluation.metrics)

        def on_resume(self, step: int, past: "Sequence[Step | Evaluation]") -> None:
            for event in past:
                if isinstance(event, Step):
                    tracker.step(**vars(event))
                else:
                    folder.append_history(event.record())
                    tracker.evaluation(event.record())
            progress.resumed(step)

    return Watch()


def _there_already(cfg: Config, folder: RunFolder, done: Result) -> Result:
    from glue_pool.on_wandb.variables import in_sweep

    folder.drop_checkpoint()
    if in_sweep():
        with _tracked(cfg, folder.key, done["train_rows"]) as tracker:
            tracker.summary(done)
    report(cfg, folder, done, "this result was there already; force=true runs it anew")
    return done


def report(cfg: Config, folder: RunFolder, result: Result, note: str | None = None) -> None:
    """Print the small table that a run ends with."""
    from glue_pool.progress import print_table

    score = result["score"]
    split = cfg.task.dev_splits[0]
    other = split in cfg.task.official_rows and not result["splits"][split]["official"]
    source = "files" if cfg.rows_from == "files" else f"{cfg.rows_from} data"
    score_text = "NaN" if score is None else f"{score:.4f}"
    rows = [
        ("task", f"{cfg.task.name} ({source}, {result['train_rows']} train rows)"),
        ("method", f"{cfg.method} on {results.encoder_name(cfg)}, {result['kind']}, seed {cfg.seed}"),
        ("score", f"{score_text} {result['primary_metric']} on {cfg.task.dev_splits[0]}, last epoch"),
        ("results", str(folder.path)),
        ("try next", f"the same command with {_another(cfg)}, or seed={cfg.seed + 1}"),
    ]
    if note:
        rows.insert(0, ("note", note))
    if cfg.model.name not in (None, cfg.pooling["name"]):
        rows.append(
            ("mind", f"pooling={cfg.pooling['name']} took the place of model={cfg.model.name}, and names the run")
        )
    if other:
        rows.append(("mind", f"these are not {cfg.task.title or cfg.task.name}'s official dev rows: no official score"))
    elif cfg.rows_from == "synthetic":
        rows.append(("mind", "the rows are generated: the score says nothing of the task"))
    if result["collapsed"]:
        rows.append(("mind", "collapsed: every prediction is the same"))
    print_table(rows)
