"""Folders of runs as `glue_pool.train` leaves them, with predictions that are drawn instead of trained.

python tests/run_folders.py FOLDER [RUNS]   # to look at a report of many runs
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

from glue_pool import choices, keys, metrics, results, schema
from glue_pool.result import Result
from glue_pool.results import RunFolder
from glue_pool.schema import Config
from glue_pool.tasks import TaskConfig
from glue_pool.train import CONF

DEV_ROWS = {"cola": 1043, "sst2": 872, "mrpc": 408, "stsb": 1500, "qqp": 2000, "mnli": 2000, "qnli": 2000, "rte": 277,
            "wnli": 71}  # fmt: skip
OWN_ROWS = 250


def own(name: str, metric: str, **others: Any) -> TaskConfig:
    """Return a task that doesn't come with glue_pool."""
    task = TaskConfig(name=name, metrics=[metric], primary_metric=metric, columns=["text"], dev_splits=["dev"])
    return replace(task, **others)


OWN = {
    task.name: task
    for task in (
        own("risk", "log_loss", title="Risk & Co", labels=["low", "middle", "high"]),
        own("price", "mean_squared_error", order=2),
        own("topics", "log_loss", labels=["a", "b", "c", "d"], multi_label=True),
        own("spam", "f1", title="Spam", labels=["spam", "ham"], positive="spam"),
    )
}
VERSIONS = {"python": "3.11.7", "glue-pool": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.6"}

HARDWARE = {"platform": "Linux", "cpu": "a CPU", "cores": 2, "gpu": None, "threads": 1, "device": "cpu"}


@dataclass(frozen=True)
class Drawn:
    """A run to write: its command line, and how good it turns out."""

    overrides: tuple[str, ...]
    seed: int = 1
    skill: float = 1.0  # of a probit model: 1 gets 80 % right or so
    collapsed: bool = False
    nan: bool = False
    error: str | None = None  # it failed with this
    official: bool = True
    manifest: Mapping[str, Any] = field(default_factory=dict)  # what differs from the usual one
    data: str = "drawn"  # what its rows are identified by

    def write(self, root: Path) -> Path:
        """Write the run's folder and return it."""
        cfg = replace(config(self.overrides), seed=self.seed, output_root=str(root))
        key = keys.run_key(cfg, data_id=self.data, encoder_id=f"{cfg.encoder.name} {cfg.edit}")
        folder = results.run_folder(cfg, key)
        about = results.describe(cfg, key)
        if self.error:
            failed: Result = {**about, "status": "failed", "error": self.error, "traceback": "Traceback …"}
            folder.record_failure(cfg, failed)
            return folder.path
        splits = {name: {"rows": rows, "official": self.official} for name, rows in self._rows(cfg).items()}
        folder.create(cfg, _manifest(key, cfg, splits) | dict(self.manifest))
        scores, columns = self._predict(cfg)
        folder.append_history({"epoch": 3.0, "step": 48, "metrics": scores, "seconds": 1.0})
        folder.write_predictions(columns)
        self._write_result(cfg, folder, about, scores, splits)
        return folder.path

    def _rows(self, cfg: Config) -> dict[str, int]:
        return {"train": 2490, **dict.fromkeys(cfg.task.dev_splits, _rows_of(cfg.task))}

    def _predict(self, cfg: Config) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
        task = cfg.task
        examples = _rows_of(task)
        labels, hard = _dev_rows(task.name, examples, len(task.labels), task.multi_label)
        draw = np.random.default_rng([self.seed, sum(map(ord, cfg.method + task.name)), cfg.subset.size or 0])
        margin = self.skill + draw.normal(0, 0.15) + hard + draw.normal(0, 0.6, examples)
        if not task.labels:
            logits = (labels + (100 if task.name in OWN else 1) * (2.5 - self.skill) * draw.normal(size=examples))[
                :, None
            ]
        elif task.multi_label:
            logits = (2 * labels - 1) * (margin[:, None] + draw.normal(0, 0.6, labels.shape))
        else:
            other = (labels + 1) % len(task.labels)
            logits = np.zeros((examples, len(task.labels)))
            logits[np.arange(examples), labels] = margin
            logits[np.arange(examples), other] = -margin
        if self.collapsed:
            logits = np.tile(np.eye(max(1, len(task.labels)))[0], (examples, 1))
        if self.nan:
            logits[0, 0] = np.nan
        logits = logits.astype(np.float32)
        scores = {
            split: metrics.compute(task.metrics, labels, logits, positive=task.positive_id) for split in task.dev_splits
        }
        every = len(task.dev_splits)
        return scores, {
            "epoch": np.repeat("last", examples * every),
            "split": np.repeat(np.array(task.dev_splits), examples),
            "idx": np.tile(np.arange(examples), every),
            **({"group": np.tile(np.arange(examples), every)} if task.group else {}),  # each row is one by itself
            "label": np.concatenate([labels] * every),
            "logits": np.tile(logits, (every, 1)),
        }

    def _write_result(
        self, cfg: Config, folder: RunFolder, about: Result, scores: dict[str, dict[str, float]], splits: Any
    ) -> None:
        score = scores[cfg.task.dev_splits[0]][cfg.task.primary_metric]
        pooling = 591_360 if "mha" in cfg.pooling["name"] else 0
        seconds = 20.0 + self.seed + pooling / 1e5
        folder.write_result(
            {
                **about,
                "status": "completed",
                "train_rows": cfg.subset.size or 2490,
                "metrics": scores,
                "best": {"epoch": 3.0, "metrics": scores, "score": score},
                "score": score,
                "collapsed": self.collapsed,
                "splits": splits,
                "parameters": {"total": 22_566_146 + pooling, "pooling": pooling},
                "timing": {
                    "setup_seconds": 1.0,
                    "train_seconds": seconds - 3,
                    "eval_seconds": 2.0,
                    "total_seconds": seconds,
                    "train_steps": 48,
                    "evaluations": 1,
                    "train_examples_per_second": 80.0,
                    "train_tokens_per_second": 4000.0,
                },
                "peak_memory_bytes": 2_400_000_000,
            }
        )


@cache
def config(overrides: tuple[str, ...]) -> Config:
    """Return the checked config of a command line, on which `task=…` may also be one of OWN."""
    own = next((OWN[name] for of in overrides if (name := of.removeprefix("task=")) in OWN), None)
    others = [of for of in overrides if own is None or of != f"task={own.name}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = schema.check(compose("config", ["encoder=minilm_l6", "data=synthetic", *others]))
    return replace(cfg, task=own) if own else cfg


def _rows_of(task: TaskConfig) -> int:
    return DEV_ROWS.get(task.name, OWN_ROWS)


@cache
def _dev_rows(task: str, rows: int, classes: int, multi_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a task's labels, and how easy each row is: the same for all runs."""
    draw = np.random.default_rng(sum(map(ord, task)))
    if multi_label:
        return draw.integers(2, size=(rows, classes)), draw.normal(size=rows)
    labels = draw.integers(classes, size=rows) if classes else draw.uniform(0, 500 if task in OWN else 5, rows)
    return labels, draw.normal(size=rows)


def _manifest(key: str, cfg: Config, splits: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_key": key,
        "versions": VERSIONS,
        "git": {"commit": "0123456789abcdef", "modified": False},
        "hardware": HARDWARE,
        "precision": "bf16",
        "batching": "packed",
        "encoder": {"name": cfg.encoder.name, "identity": "5" * 64, "model_type": "bert"},
        "data": {"source": cfg.data.name, "fingerprints": {"train": "a" * 64, "validation": "b" * 64}},
        "splits": splits,
    }


GAINS = {"bert": 0.0, "mean": 0.1, "max_cls": -0.05, "mha": 0.05, "maxpool": 0.3, "mlp_control": 0.0}


def grid(
    tasks: tuple[str, ...], methods: tuple[str, ...], seeds: int, subsets: tuple[str, ...] = ("full",)
) -> Iterator[Drawn]:
    """Yield a whole grid of runs; more train rows make every method better."""
    for subset, task, method, seed in product(subsets, tasks, methods, range(1, seeds + 1)):
        rows = config((f"subset={subset}",)).subset.size or 2490
        skill = 0.3 + 0.2 * np.log10(rows) + GAINS.get(method, 0.0)
        yield Drawn((f"task={task}", f"pooling={method}", f"subset={subset}"), seed, float(skill))


def example() -> Iterator[Drawn]:
    """Yield runs that fill every section of a report: curves, ablations, probes, collapsed and failed runs."""
    methods = tuple(GAINS)
    yield from grid(("cola", "mrpc", "stsb", "rte", "wnli"), methods, 5, ("n100", "n500", "full"))
    for k, seed in product((1, 2, 4), range(1, 6)):
        yield Drawn(("task=rte", "pooling=max_cls", f"pooling.k={k}", "subset=n500"), seed, 0.8 + 0.1 * k)
    for heads, seed in product((1, 8), range(1, 6)):
        yield Drawn(("task=rte", "pooling=mha", f"pooling.num_heads={heads}", "subset=n500"), seed, 0.9)
    for seed in range(1, 6):
        yield Drawn(("task=rte", "pooling=mean", "encoder.freeze=true"), seed, 0.5)
        yield Drawn(("task=rte", "pooling=bert", "encoder.freeze=true"), seed, 0.3)
    yield Drawn(("task=cola", "pooling=mean"), 6, collapsed=True)
    yield Drawn(("task=cola", "pooling=mha"), 6, nan=True)
    yield Drawn(("task=mrpc", "pooling=mha"), 6, error="<b>RuntimeError</b>: out of memory & more")
    yield Drawn(("task=rte", "pooling=mean", "optimizer.lr=1e-3"), 1, 0.2)


def many(runs: int) -> list[Drawn]:
    """Return so many runs, 10,098 at most, of all tasks: up to 1,000 of one subset and 5 seeds, else of 5 and 10."""
    files = sorted((CONF / "pooling").glob("*.yaml"))
    poolings = [file.stem for file in files if not choices.read(file, file.stem).other_name_of]
    methods = ("bert", *(name for name in poolings if name != "bert"))
    if runs <= 1000:
        return list(grid(tuple(DEV_ROWS), methods[: -(-runs // 45)], 5, ("n500",)))[:runs]
    every = list(grid(tuple(DEV_ROWS), methods, 10, ("n100", "n250", "n500", "n1000", "full")))
    return [*every, *(run for run in grid(tuple(DEV_ROWS), methods, 11, ("n100",)) if run.seed == 11)][:runs]


if __name__ == "__main__":
    for drawn in many(int(sys.argv[2])) if len(sys.argv) > 2 else example():
        drawn.write(Path(sys.argv[1]))
