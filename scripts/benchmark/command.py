"""Whole commands: `python -m glue_pool.train` and a script of the tuned Trainer, from an empty process to a result."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmark import rows
from benchmark.figures import Figure, figure
from benchmark.runner import Contender, Numbers, Options, interleaved, run
from glue_pool.on_wandb import writer

BATCH = 32
LR = 1e-4


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Run one epoch and an evaluation of the whole dev split, tokenising included, on both sides."""
    sizes = options.size.command_rows
    contenders: dict[str, Contender] = {}
    for task, size in sizes.items():
        contenders[f"glue_pool {task}"] = partial(ours_once, options, task, size)
        contenders[f"tuned_trainer {task}"] = partial(trainer_once, options, task, size)
    measured = interleaved(options, contenders)
    return measured, compared(measured, sizes)


def compared(measured: Mapping[str, Sequence[Numbers]], sizes: Mapping[str, int], said: str = "") -> list[Figure]:
    """Return seconds, training speed and their ratios. said: what comes before each figure's name."""
    ours, trainers, both = paired(measured, sizes)
    return [
        figure(f"{said}whole command, s: glue_pool", 1, lambda a: a["seconds"], **ours),
        figure(f"{said}whole command, s: tuned_trainer", 1, lambda a: a["seconds"], **trainers),
        figure(f"{said}whole command: times as fast", 2, lambda a, b: b["seconds"] / a["seconds"], **both),
        figure(f"{said}its training examples/s: glue_pool", 1, _speed, **ours),
        figure(f"{said}its training examples/s: tuned_trainer", 1, _speed, **trainers),
        figure(f"{said}its training: times as fast", 2, lambda a, b: _speed(a) / _speed(b), **both),
    ]


def paired(measured: Mapping[str, Sequence[Numbers]], sizes: Mapping[str, int]) -> Sequence[dict[str, list[Any]]]:
    """Return the rounds of glue_pool, of the Trainer, and of both, by the column of a task."""
    ours, trainers = (
        {f"{task}, {size} rows": [measured[f"{name} {task}"]] for task, size in sizes.items()}
        for name in ("glue_pool", "tuned_trainer")
    )
    return ours, trainers, {column: [*ours[column], *trainers[column]] for column in ours}


def _speed(numbers: Numbers) -> float:
    return float(numbers["train_examples_per_second"])


def ours_once(options: Options, task: str, size: int, number: int, *, memory: bool = False, busy: int = 0) -> Numbers:
    """Run `python -m glue_pool.train` once, with no tokens in its cache; return its seconds and training speed."""
    outputs = options.scratch / f"command-{task}-{size}-{number}"
    line = ours(
        options, task, rows.folder(options, task, size), outputs, "pooling=bert", f"seed={number}", "force=true"
    )
    ran = run([sys.executable, "-m", "glue_pool.train", *line, "train.epochs=1"], memory=memory, busy=busy)
    writer.write_below(outputs)  # W&B's files: beside the next contender, their writer would take time from it
    (file,) = outputs.rglob("result.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    return {
        "seconds": ran.seconds,
        "peak_bytes": ran.peak_bytes,
        "train_examples_per_second": result["timing"]["train_examples_per_second"],
        "score": result["score"],
    }


def ours(options: Options, task: str, folder: Path, outputs: Path, *overrides: str) -> list[str]:
    """Return a command line of glue_pool on a folder of rows, with a cache of tokens of its own, W&B offline."""
    places = [f"output_root={outputs}", f"data.cache_dir={outputs}/cache", f"tracking.dir={outputs}"]
    data = ["data=local", f"data.dir={folder}", f"train.batch_size={BATCH}", f"optimizer.lr={LR}"]
    return [f"task={task}", *options.encoder_overrides, *data, *places, *overrides]


def trainer_once(
    options: Options, task: str, size: int, number: int, *, memory: bool = False, busy: int = 0
) -> Numbers:
    """Run the Trainer's script once; return its seconds and training speed."""
    ran = run(trainer(options, task, size, number), memory=memory, busy=busy)
    return {"seconds": ran.seconds, "peak_bytes": ran.peak_bytes, **ran.said}


def trainer(options: Options, task: str, size: int, seed: int, epochs: int = 1) -> list[str]:
    """Return the command of the Trainer's script on the same rows."""
    from glue_pool.models.identity import locate

    cfg = rows.config(options, task)
    job: dict[str, Any] = {
        "folder": str(rows.folder(options, task, size) / task),
        "splits": [cfg.task.train_split, cfg.task.dev_splits[0]],
        "columns": list(cfg.task.columns),
        "metric": cfg.task.primary_metric,
        "encoder": str(locate(cfg.encoder)),
        "layers": options.size.layers,
        "epochs": epochs,
        "batch": BATCH,
        "lr": LR,
        "seed": seed,
        "output": str(options.scratch),
    }
    return [sys.executable, str(Path(__file__).with_name("trainer_job.py")), json.dumps(job)]
