"""The same rows for all: a folder for `data=local` with some train rows of a task and its dev rows."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.runner import Options


def config(options: Options, task: str, *overrides: str) -> Any:
    """Return the checked config of a task, with the benchmark's encoder and data."""
    from hydra import compose, initialize_config_dir

    from glue_pool import schema
    from glue_pool.train import CONF

    data = ["data=synthetic"] if options.data is None else ["data=local", f"data.dir={options.data}"]
    line = [f"task={task}", *options.encoder_overrides, *data, f"data.cache_dir={options.scratch}/cache", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return schema.check(compose("config", line))


def folder(options: Options, task: str, size: int) -> Path:
    """Write a folder with so many train rows, drawn at random, unless it is there; return it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from glue_pool.data import sources

    cfg, place = config(options, task), options.scratch / f"rows-{size}"
    if (place / task).is_dir():
        return place
    (place / task).mkdir(parents=True)
    splits = sources.read(cfg.data, cfg.task)
    for name, rows in splits.items():
        most = size if name == cfg.task.train_split else options.size.dev_rows
        drawn = np.random.default_rng(0).permutation(len(rows))[:most]
        chosen = rows.select(np.sort(drawn))
        columns = dict(zip(cfg.task.columns, chosen.texts, strict=True))
        pq.write_table(
            pa.table({**columns, "label": chosen.labels, "idx": chosen.idx}), place / task / f"{name}.parquet"
        )
    return place
