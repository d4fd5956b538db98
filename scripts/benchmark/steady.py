"""Steady state: training and dev evaluation of warm models beside the Trainer's, and the machine's own limit."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmark import rows
from benchmark.figures import Figure
from benchmark.runner import Numbers, Options, Size, interleaved, run, worker

BATCH = 32
WARM_UP = 64  # rows trained on before the clock starts
NAMES = ("trainer", "tuned_trainer", "bert", "maxpool", "gemm")


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Measure every contender on every task."""
    measured = interleaved(options, {name: partial(once, options, name, options.tasks) for name in NAMES})
    return measured, figures(measured, options.tasks)


def figures(measured: Mapping[str, Sequence[Numbers]], tasks: Sequence[str]) -> list[Figure]:
    """Compare the contenders round by round."""

    def by_task(what: str, digits: int, value: Callable[..., float], *names: str) -> Figure:
        """Take `value` of a task and of the named contenders' numbers."""
        rounds = list(zip(*(measured[name] for name in names), strict=True))
        return Figure(what, digits, {task: [float(value(task, *numbers)) for numbers in rounds] for task in tasks})

    names = ("trainer", "tuned_trainer", "bert", "maxpool")
    found = [by_task(f"{name}: training examples/s", 1, lambda task, a: a["train"][task], name) for name in names]
    found += [by_task(f"bert v {name}", 2, _ratio("train"), "bert", name) for name in names[:2]]
    found.append(by_task("maxpool step v bert step", 3, _ratio("train"), "bert", "maxpool"))
    found.append(by_task("dev evaluation v tuned_trainer", 2, _ratio("evaluate"), "bert", "tuned_trainer"))
    found.append(by_task("bf16 GEMM rate, GFLOP/s", 0, lambda task, a: a["rate"][task] / 1e9, "gemm"))
    return found + [by_task(f"{name}: % of that rate", 0, _share, name, "gemm") for name in names[2:]]


def _ratio(of: str) -> Callable[..., float]:
    return lambda task, a, b: float(a[of][task] / b[of][task])


def _share(task: str, a: Numbers, limit: Numbers) -> float:
    return float(100 * a["train"][task] * limit["needed"][task] / limit["rate"][task])


def once(options: Options, name: str, tasks: Sequence[str], number: int, busy: int = 0) -> Numbers:
    """Measure a contender, one of NAMES, in a new process."""
    plain = {**vars(options), "scratch": str(options.scratch), "tasks": tasks}
    return run(worker("steady", name, str(number), json.dumps(plain)), busy=busy).said


# The contenders, each in a process of its own. `train` and `evaluate` are examples a second by task.


def trainer(options: Options, seed: int, *, tuned: bool = False) -> Numbers:
    """run_glue with its defaults: everything padded to 128, fp32, batches uniformly random.

    tuned: with dynamic padding, grouping by length and bf16.
    """
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

    speed: Numbers = {"train": {}, "evaluate": {}}
    layers = {} if options.size.layers is None else {"num_hidden_layers": options.size.layers}
    for task in options.tasks:
        cfg = rows.config(options, task)
        train, dev = (_examples(split) for split in _tokens(options, cfg, seed))
        folder = locate(cfg.encoder)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=cfg.task.outputs, **layers)
        padding: dict[str, Any] = {} if tuned else {"padding": "max_length", "max_length": 128}
        collator = DataCollatorWithPadding(AutoTokenizer.from_pretrained(folder), **padding)
        settings = TrainingArguments(
            output_dir=str(options.scratch),
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
            seed=seed,
        )
        for some in (train[:WARM_UP], train):
            clock = Clock()
            trainer = Trainer(model, settings, data_collator=collator, train_dataset=some, callbacks=[clock])
            trainer.train()
        speed["train"][task] = len(train) / clock.seconds
        if tuned:
            trainer.predict(dev)  # ours has evaluated once too before it is timed
            started = time.perf_counter()
            trainer.predict(dev)
            speed["evaluate"][task] = len(dev) / (time.perf_counter() - started)
    return speed


def _examples(tokens: Any) -> Any:
    return [
        {
            "input_ids": tokens.input_ids[start : start + length].tolist(),
            "token_type_ids": tokens.token_type_ids[start : start + length].tolist(),
            "attention_mask": [1] * int(length),
            "labels": int(label),
        }
        for start, length, label in zip(tokens.offsets, tokens.lengths, tokens.labels, strict=True)
    ]


def glue_pool(options: Options, seed: int, *, pooling: str) -> Numbers:
    """Train and evaluate here: pooling=bert is what the Trainer trains."""
    from dataclasses import replace

    import numpy as np

    from glue_pool.models import factory
    from glue_pool.training.loop import fit

    speed: Numbers = {"train": {}, "evaluate": {}}
    for task in options.tasks:
        cfg = rows.config(options, task, f"pooling={pooling}", f"train.batch_size={BATCH}")
        train, dev = _tokens(options, cfg, seed)
        model = factory.build(cfg, factory.plan(cfg))
        for some in (train.select(np.arange(WARM_UP)), train):
            once = replace(cfg, seed=seed, train=replace(cfg.train, epochs=1))
            outcome = fit(model, some, {cfg.task.dev_splits[0]: dev}, once)
        speed["train"][task] = len(train) / outcome.cost.train_seconds
        speed["evaluate"][task] = len(dev) / outcome.cost.eval_seconds
    return speed


def gemm(options: Options, seed: int) -> Numbers:
    """bf16 matrix products of the encoder's own shapes, and what training on these rows needs: FLOP/s, FLOP a row.

    Only real tokens count: 6 FLOP a weight and token, and 12 n^2 d a layer for a text of n tokens.
    """
    import numpy as np
    import torch

    from glue_pool.hardware import Hardware
    from glue_pool.models import factory

    found: Numbers = {"rate": {}, "needed": {}}
    for task in options.tasks:
        cfg = rows.config(options, task, "pooling=bert")
        train, _ = _tokens(options, cfg, seed)
        config, device = factory.plan(cfg).encoder_config, Hardware.of(cfg.train).device
        d, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
        lengths = train.lengths.astype(np.float64)
        weights = layers * (4 * d * d + 2 * d * inner)
        found["needed"][task] = float((6 * weights * lengths + 12 * layers * d * lengths**2).mean())
        tokens, flops, seconds = int(BATCH * lengths.mean()), 0, 0.0
        for inputs, outputs, often in ((d, d, 4), (d, inner, 1), (inner, d, 1)):
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
    import statistics

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


def _tokens(options: Options, cfg: Any, seed: int) -> tuple[Any, Any]:
    """Return the same train and dev rows for every contender of a round."""
    import numpy as np

    from glue_pool.data.load import load
    from glue_pool.models.identity import locate

    data, drawn = load(cfg, locate(cfg.encoder)), np.random.default_rng(seed)
    splits, most = (data.train, data.dev[cfg.task.dev_splits[0]]), options.size.steady_rows
    train, dev = (split.select(drawn.permutation(len(split))[:most]) for split in splits)
    return train, dev


def _wait_for_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


CONTENDERS: dict[str, Callable[[Options, int], Numbers]] = {
    "trainer": trainer,
    "tuned_trainer": partial(trainer, tuned=True),
    "bert": partial(glue_pool, pooling="bert"),
    "maxpool": partial(glue_pool, pooling="maxpool"),
    "gemm": gemm,
}

if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    options = Options(**{**given, "size": Size(*given["size"]), "scratch": Path(given["scratch"])})
    print(json.dumps(CONTENDERS[sys.argv[1]](options, int(sys.argv[2]))))
