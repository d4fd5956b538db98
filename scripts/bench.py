"""Speed side by side on the same rows: Hugging Face's Trainer, glue_pool, and the machine's own limit.

python scripts/bench.py --data GLUE            # seven minutes
python scripts/bench.py --data GLUE --full     # half an hour: more rows, more rounds

GLUE is a folder of <task>/<split>.parquet; without one the rows are generated. In every round each contender runs
once, in a process of its own; every figure is the median over the rounds, with its lowest and highest.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TASKS = ("cola", "sst2", "mrpc", "rte")
BATCH = 32
WARM_UP = 64  # rows trained on before the clock starts


class Job(NamedTuple):
    """What a contender's process is asked to do."""

    data: str | None
    encoder: str
    rows: int
    dev_rows: int
    seed: int
    started: float
    """When the process was asked for, in seconds since the epoch."""
    folder: str
    """A scratch folder for outputs, shared by the rounds."""
    tasks: tuple[str, ...]


# The contenders. Each returns plain numbers; those of `train` and `evaluate` are examples a second.


def trainer(job: Job) -> dict[str, Any]:
    """run_glue with its defaults: everything padded to 128, fp32, batches uniformly random."""
    return _trainer(job, tuned=False)


def tuned_trainer(job: Job) -> dict[str, Any]:
    """The Trainer with dynamic padding, grouping by length and bf16."""
    return _trainer(job, tuned=True)


def _trainer(job: Job, *, tuned: bool) -> dict[str, Any]:
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from glue_pool.models.identity import locate

    class Clock(TrainerCallback):
        seconds = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.seconds -= time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            _wait_for_gpu()
            self.seconds += time.perf_counter()

    speed: dict[str, Any] = {"train": {}, "evaluate": {}}
    for task in job.tasks:
        cfg = _config(job, task, "pooling=bert")
        train, dev = _rows(job, cfg)
        folder = locate(cfg.encoder)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=cfg.task.outputs)
        padding: dict[str, Any] = {} if tuned else {"padding": "max_length", "max_length": 128}
        collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(folder), **padding)
        settings = TrainingArguments(
            output_dir=job.folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            use_cpu=not torch.cuda.is_available(),
            bf16=tuned,
            train_sampling_strategy="group_by_length" if tuned else "random",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="steps" if tuned else "no",
            logging_steps=10,
            seed=job.seed,
        )

        def examples(tokens: Any) -> Any:
            return [
                {
                    "input_ids": tokens.input_ids[start : start + length].tolist(),
                    "token_type_ids": tokens.token_type_ids[start : start + length].tolist(),
                    "attention_mask": [1] * int(length),
                    "labels": int(label),
                }
                for start, length, label in zip(tokens.offsets, tokens.lengths, tokens.labels, strict=True)
            ]

        for rows in (examples(train)[:WARM_UP], examples(train)):
            clock = Clock()
            run = Trainer(model, settings, data_collator=collator, train_dataset=rows, callbacks=[clock])
            run.train()
        speed["train"][task] = len(train) / clock.seconds
        if tuned:
            run.predict(examples(dev))  # ours has evaluated once too before it is timed
            started = time.perf_counter()
            run.predict(examples(dev))
            speed["evaluate"][task] = len(dev) / (time.perf_counter() - started)
    return speed


def bert(job: Job) -> dict[str, Any]:
    """glue_pool with BERT's own classifier: what the Trainer trains."""
    return _glue_pool(job, "pooling=bert")


def maxpool(job: Job) -> dict[str, Any]:
    """glue_pool with MaxPoolBERT's head."""
    return _glue_pool(job, "pooling=maxpool")


def _glue_pool(job: Job, *overrides: str) -> dict[str, Any]:
    from dataclasses import replace

    import numpy as np

    from glue_pool.models import factory
    from glue_pool.training.loop import fit

    speed: dict[str, Any] = {"train": {}, "evaluate": {}}
    for task in job.tasks:
        cfg = _config(job, task, *overrides)
        train, dev = _rows(job, cfg)
        model = factory.build(cfg, factory.plan(cfg))
        for rows in (train.select(np.arange(WARM_UP)), train):
            once = replace(cfg, seed=job.seed, train=replace(cfg.train, epochs=1))
            outcome = fit(model, rows, {cfg.task.dev_splits[0]: dev}, once)
        speed["train"][task] = len(train) / outcome.cost.train_seconds
        speed["evaluate"][task] = len(dev) / outcome.cost.eval_seconds
    return speed


def gemm(job: Job) -> dict[str, Any]:
    """bf16 matrix products of the encoder's own shapes, and what training on these rows needs: FLOP/s, FLOP a row.

    Only real tokens count: 6 FLOP a weight and token, and 12 n^2 d a layer for a text of n tokens.
    """
    import numpy as np
    import torch

    from glue_pool.hardware import Hardware
    from glue_pool.models import factory

    found: dict[str, Any] = {"rate": {}, "needed": {}}
    for task in job.tasks:
        cfg = _config(job, task, "pooling=bert")
        train, _ = _rows(job, cfg)
        config = factory.plan(cfg).encoder_config
        d, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
        lengths = train.lengths.astype(np.float64)
        weights = layers * (4 * d * d + 2 * d * inner)
        found["needed"][task] = float((6 * weights * lengths + 12 * layers * d * lengths**2).mean())
        tokens = int(BATCH * lengths.mean())
        flops, seconds = 0, 0.0
        for inputs, outputs, often in ((d, d, 4), (d, inner, 1), (inner, d, 1)):
            device = Hardware.of(cfg.train).device
            x, w, g = (
                torch.randn(size, dtype=torch.bfloat16, device=device)
                for size in ((tokens, inputs), (outputs, inputs), (tokens, outputs))
            )
            for product in (lambda x=x, w=w: x @ w.T, lambda g=g, w=w: g @ w, lambda g=g, x=x: g.T @ x):
                seconds += often * _seconds(product)
                flops += often * 2 * tokens * inputs * outputs
        found["rate"][task] = flops / seconds
    return found


def _seconds(product: Callable[[], Any], least: float = 0.1) -> float:
    """Return the median seconds a call takes."""
    times: list[float] = []
    for _ in range(3):
        product()
    while sum(times) < least or len(times) < 5:
        _wait_for_gpu()
        started = time.perf_counter()
        product()
        _wait_for_gpu()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def first_step(job: Job) -> dict[str, Any]:
    """The main job in a new process, until its first training step is done: seconds."""
    from glue_pool import train

    def watch() -> None:  # from a thread, so that the job imports what it needs when it needs it
        while (of := sys.modules.get("glue_pool.training.optimizer")) is None or not hasattr(of, "Stepper"):
            time.sleep(0.02)
        step = of.Stepper.__call__

        def timed(self: Any, batches: Any) -> None:
            step(self, batches)
            print(json.dumps({"seconds": time.time() - job.started}), flush=True)
            os._exit(0)

        of.Stepper.__call__ = timed

    threading.Thread(target=watch, daemon=True).start()
    sys.argv = ["train", *_overrides(job, "rte"), f"seed={job.seed}", "force=true"]
    train.main()
    raise AssertionError("no step was taken")


def second_run(job: Job) -> dict[str, Any]:
    """The second of two runs of 100 rows in one process: its seconds beyond training steps and evaluations."""
    from glue_pool.pipeline import run

    for seed in (job.seed, job.seed + 1000):
        cfg = _config(job, "rte", f"seed={seed}", "subset.size=100", "force=true", "train.epochs=1")
        started = time.perf_counter()
        timing = run(cfg)["timing"]
        assert timing
        fixed = time.perf_counter() - started - timing["train_seconds"] - timing["eval_seconds"]
    return {"seconds": fixed}


CONTENDERS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    f.__name__: f for f in (trainer, tuned_trainer, bert, maxpool, gemm, first_step, second_run)
}


def _overrides(job: Job, task: str) -> list[str]:
    data = ["data=synthetic"] if job.data is None else ["data=local", f"data.dir={job.data}"]
    places = [f"output_root={job.folder}/outputs", f"tracking.dir={job.folder}"]
    return [f"task={task}", f"encoder.name={job.encoder}", *data, *places]


def _config(job: Job, task: str, *overrides: str) -> Any:
    from hydra import compose, initialize_config_dir

    from glue_pool import schema
    from glue_pool.train import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return schema.check(compose("config", [*_overrides(job, task), *overrides]))


def _rows(job: Job, cfg: Any) -> tuple[Any, Any]:
    """The same train and dev rows for every contender of a round."""
    import numpy as np

    from glue_pool.data.load import load
    from glue_pool.models.identity import locate

    data = load(cfg, locate(cfg.encoder))
    dev = data.dev[cfg.task.dev_splits[0]]
    drawn = np.random.default_rng(job.seed)
    train_rows, dev_rows = (
        drawn.permutation(len(split))[:most] for split, most in ((data.train, job.rows), (dev, job.dev_rows))
    )
    return data.train.select(train_rows), dev.select(dev_rows)


def _wait_for_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


# The table.


def main() -> None:
    """Run the rounds, print the table, and write what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default=os.environ.get("GLUE_POOL_TEST_DATA") or None, help="folder of <task>/<split>.parquet"
    )
    parser.add_argument("--encoder", default="minilm_l6", help="a packaged encoder, a Hub name or a folder")
    parser.add_argument("--full", action="store_true", help="more rows and rounds")
    parser.add_argument("--rounds", type=int, help="3, or 5 with --full")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--out", type=Path, default=Path("outputs/bench.json"), help="the JSON file")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        name, job = arguments.worker[0], Job(**json.loads(arguments.worker[1]))
        result = CONTENDERS[name](job)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**result, "peak_memory_bytes": memory}))
        return
    rounds = arguments.rounds or (5 if arguments.full else 3)
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(rounds):
            for name in arguments.only:
                job = Job(
                    data=arguments.data and str(Path(arguments.data).resolve()),
                    encoder=arguments.encoder,
                    rows=640 if arguments.full else 160,
                    dev_rows=640 if arguments.full else 160,
                    seed=seed,
                    started=time.time(),
                    folder=scratch,
                    tasks=tuple(arguments.tasks),
                )
                if seed == 0 and name == "first_step":
                    _run(name, job)  # fills the caches
                    job = job._replace(started=time.time())
                print(f"round {seed + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                measured[name].append(_run(name, job))
    found = figures(measured, arguments.tasks)
    print(table(found, arguments.tasks))
    about = {**_machine(), "data": "real" if arguments.data else "synthetic", "encoder": arguments.encoder}
    content = {
        "about": {**about, "batch": BATCH, "rows": job.rows},
        "figures": {figure.what: figure.spreads() for figure in found},
        "rounds": measured,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"\n{about}\n{arguments.out}")


def _run(name: str, job: Job) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", name, json.dumps(job._asdict())]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


class Figure(NamedTuple):
    """One row of the table: what was measured, and for each task (or for none, "") its values over the rounds."""

    what: str
    digits: int
    values: dict[str, list[float]]

    def spreads(self) -> dict[str, dict[str, float]]:
        """Return median, lowest and highest for each task."""
        return {
            task: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
            for task, values in self.values.items()
        }

    def cell(self, task: str) -> str:
        """Return `median (lowest to highest)`."""
        spread = self.spreads()[task]
        median, lowest, highest = (f"{value:.{self.digits}f}" for value in spread.values())
        return f"{median} ({lowest} to {highest})"


def figures(measured: Mapping[str, list[dict[str, Any]]], tasks: Sequence[str]) -> list[Figure]:
    """Compare the contenders round by round."""
    found: list[Figure] = []

    def by_task(what: str, digits: int, value: Callable[..., float], *names: str) -> None:
        """Take `value` of the named contenders' results for each task and round."""
        if all(name in measured for name in names):
            rounds = list(zip(*(measured[name] for name in names), strict=True))
            found.append(Figure(what, digits, {task: [value(task, *results) for results in rounds] for task in tasks}))

    def once(what: str, digits: int, value: Callable[[dict[str, Any]], float], name: str) -> None:
        if name in measured:
            found.append(Figure(what, digits, {"": [value(result) for result in measured[name]]}))

    def ratio(of: str) -> Callable[..., float]:
        return lambda task, a, b: float(a[of][task] / b[of][task])

    def share(task: str, run: dict[str, Any], limit: dict[str, Any]) -> float:
        return float(100 * run["train"][task] * limit["needed"][task] / limit["rate"][task])

    for name in ("trainer", "tuned_trainer", "bert", "maxpool"):
        by_task(f"{name}: training examples/s", 1, lambda task, a: float(a["train"][task]), name)
    for other in ("trainer", "tuned_trainer"):
        by_task(f"bert v {other}", 2, ratio("train"), "bert", other)
    by_task("maxpool step v bert step", 3, ratio("train"), "bert", "maxpool")
    by_task("dev evaluation v tuned_trainer", 2, ratio("evaluate"), "bert", "tuned_trainer")
    by_task("bf16 GEMM rate, GFLOP/s", 0, lambda task, a: float(a["rate"][task] / 1e9), "gemm")
    for name in ("bert", "maxpool"):
        by_task(f"{name}: % of that rate", 0, share, name, "gemm")
    for name in ("trainer", "tuned_trainer", "bert", "maxpool"):
        once(f"{name}: peak memory, MB", 0, lambda a: a["peak_memory_bytes"] / 1e6, name)
    once("new process to first step, s", 2, lambda a: a["seconds"], "first_step")
    once("second run of 100 rows, beside its training and evaluation, s", 2, lambda a: a["seconds"], "second_run")
    return found


def table(found: Sequence[Figure], tasks: Sequence[str]) -> str:
    """Return the figures as Markdown: a row a figure, a column a task; below it what has no task."""
    lines = ["| | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    lines += [
        f"| {figure.what} | " + " | ".join(figure.cell(task) for task in tasks) + " |"
        for figure in found
        if "" not in figure.values
    ]
    return "\n".join([*lines, "", *(f"- {figure.what}: {figure.cell('')}" for figure in found if "" in figure.values)])


def _machine() -> dict[str, Any]:
    import torch
    import transformers

    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if "model name" in line
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
