"""A report on many results: the first, the second, one with the page cache dropped, one after a run was added."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import rows
from benchmark.figures import Figure, figure
from benchmark.runner import Numbers, Options, run

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
SUBSETS = (100, 250, 500, 1000, None)
DROP = Path("/proc/sys/vm/drop_caches")


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Write the results once, and take all four reports in every round, with a cache of their own."""
    folder = options.scratch / "results"
    runs = _grid(options, folder)
    for _ in range(options.size.results):
        next(runs)
    measured: dict[str, list[Numbers]] = {"first": [], "second": [], "not in memory": [], "one run more": []}
    for number in range(options.rounds):
        for name, numbers in measured.items():
            print(f"round {number + 1} of {options.rounds}: report, {name}", file=sys.stderr, flush=True)
            if name == "first":
                for made in (options.scratch / "report", options.scratch / "report-cache"):
                    shutil.rmtree(made, ignore_errors=True)
            if name == "not in memory" and not _drop_page_cache():
                continue
            if name == "one run more":
                next(runs)
            command = ["glue_pool.report", str(folder), "--output", str(options.scratch / "report")]
            caches = {name: str(options.scratch / "report-cache") for name in ("GLUE_POOL_CACHE", "XDG_CACHE_HOME")}
            ran = run([sys.executable, "-m", *command], of=caches, memory=True)
            numbers.append({"seconds": ran.seconds, "peak_bytes": ran.peak_bytes})
    column = f"{options.size.results} results"
    there = {name: {column: [numbers]} for name, numbers in measured.items() if numbers}
    if "not in memory" not in there:
        print("the page cache may not be dropped here: no figure for it", file=sys.stderr)
    seconds = [figure(f"report, {name}, s", 2, lambda a: a["seconds"], **of) for name, of in there.items()]
    memory = figure("report, first: peak memory, MB", 0, lambda a: a["peak_bytes"] / 1e6, **there["first"])
    return measured, [*seconds, memory]


def _drop_page_cache() -> bool:
    os.sync()
    try:
        DROP.write_text("1", encoding="utf-8")
    except OSError:
        return False
    time.sleep(1)
    return True


def _grid(options: Options, folder: Path) -> Iterator[Path]:
    """Write results one by one: of each task one short run is real, the others are its own with noise on its logits."""
    from glue_pool import pipeline, results
    from glue_pool.choices import CONF

    poolings = sorted(file.stem for file in (CONF / "pooling").glob("*.yaml"))
    real = {}
    for task in TASKS:
        line = ["pooling=mean", "tracking=none", "train.max_steps=2", "encoder.num_hidden_layers=1", "data=synthetic"]
        cfg = rows.config(replace(options, data=None), task, *line, f"output_root={options.scratch}/real")
        pipeline.run(cfg)
        real[task] = cfg, _Real(results.find(cfg).path)
    cells = [(task, rows.config(options, task, f"pooling={name}").pooling) for task, name in product(TASKS, poolings)]
    for seed in range(1, 1000):
        for size, (task, pooling) in product(SUBSETS, cells):
            cfg, of = real[task]
            subset = replace(cfg.subset, size=size)
            yield of.again(replace(cfg, pooling=pooling, subset=subset, seed=seed, output_root=str(folder)))


class _Real:
    """A run that was carried out: what its folder says, to write others like it."""

    def __init__(self, folder: Path) -> None:
        import json

        import pyarrow.parquet as pq

        self._manifest, self._result = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("manifest.json", "result.json")
        )
        table = pq.read_table(folder / "predictions.parquet")
        self._columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}

    def again(self, cfg: Any) -> Path:
        """Write the run with another config, other logits and the scores that follow; return its folder."""
        from glue_pool import keys, metrics, results

        key = keys.run_key(cfg, data_id=str(self._manifest["data"]["identity"]), encoder_id="drawn")
        folder, columns = results.run_folder(cfg, key), dict(self._columns)
        noise = np.random.default_rng([cfg.seed, cfg.subset.size or 0, sum(map(ord, cfg.pooling["name"]))])
        columns["logits"] = (columns["logits"] + noise.normal(0, 1, columns["logits"].shape)).astype(np.float32)
        scores = {}
        for split in cfg.task.dev_splits:
            at = (columns["split"] == split) & (columns["epoch"] == "last")
            labels, logits = columns["label"][at], columns["logits"][at]
            scores[split] = metrics.compute(cfg.task.metrics, labels, logits, positive=cfg.task.positive_id)
        score = scores[cfg.task.dev_splits[0]][cfg.task.primary_metric]
        best = {"epoch": 1.0, "metrics": scores, "score": score}
        result: Any = {**self._result, **results.describe(cfg, key), "status": "completed", "metrics": scores}
        folder.create(cfg, {**self._manifest, "run_key": key})
        folder.append_history({"epoch": 1.0, "step": 2, "metrics": scores, "seconds": 1.0})
        folder.write_predictions(columns)
        result |= {"score": score, "best": best} | {name: self._result[name] for name in KEPT}
        folder.write_result(result)
        return folder.path


KEPT = ("train_rows", "splits", "parameters", "timing", "collapsed", "peak_memory_bytes")
