"""What comes before the first step of a new process, and what a run costs in a warm one beside its training."""

import json
import os
import sys
import threading
import time
from functools import partial
from typing import Any

from benchmark import command, rows
from benchmark.figures import Figure, figure
from benchmark.runner import Numbers, Options, interleaved, run, worker

TASK, ROWS = "rte", 160


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Measure both in new processes; tokens are in the cache, and once it has all been in memory."""
    _once(options, "first", -1)
    measured = interleaved(options, {name: partial(_once, options, name) for name in ("first", "second")})
    return measured, [
        figure("new process to first step, s", 2, lambda a: a["seconds"], **{TASK: [measured["first"]]}),
        figure(
            "second run of a process, beside its training and evaluation, s",
            2,
            lambda a: a["seconds"],
            **{TASK: [measured["second"]]},
        ),
    ]


def _once(options: Options, name: str, number: int) -> Numbers:
    folder, outputs = rows.folder(options, TASK, ROWS), options.scratch / "start"
    line = command.ours(options, TASK, folder, outputs, "pooling=maxpool", "force=true", "train.epochs=1")
    return run(worker("start", name, str(time.time()), json.dumps([*line, f"seed={number + 1}"]))).said


def first(started: float, line: list[str]) -> None:
    """Run the main job until its first training step is done, and print the seconds since `started`."""
    from glue_pool import train

    def watch() -> None:  # from a thread, so that the job imports what it needs when it needs it
        while (of := sys.modules.get("glue_pool.training.optimizer")) is None or not hasattr(of, "Stepper"):
            time.sleep(0.02)
        step = of.Stepper.__call__

        def timed(self: Any, batches: Any) -> None:
            step(self, batches)
            print("\n" + json.dumps({"seconds": time.time() - started}), flush=True)
            os._exit(0)

        of.Stepper.__call__ = timed

    threading.Thread(target=watch, daemon=True).start()
    sys.argv = ["train", *line]
    train.main()
    raise AssertionError("no step was taken")


def second(_: float, line: list[str]) -> None:
    """Carry out two runs, and print the second's seconds beyond training steps and evaluations."""
    from hydra import compose, initialize_config_dir

    from glue_pool import schema
    from glue_pool.pipeline import run
    from glue_pool.train import CONF

    for seed in (1000, 1001):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = schema.check(compose("config", [*line[:-1], f"seed={seed}"]))
        started = time.perf_counter()
        timing = run(cfg)["timing"]
        assert timing
        fixed = time.perf_counter() - started - timing["train_seconds"] - timing["eval_seconds"]
    print(json.dumps({"seconds": fixed}))


if __name__ == "__main__":
    {"first": first, "second": second}[sys.argv[1]](float(sys.argv[2]), json.loads(sys.argv[3]))
