"""What several tests run on: a folder for `data=local`, and the RoBERTa-type tokenizer that the environment names."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_pool.tasks import TaskConfig

WORDS = "the a small red old dog cat bird house garden sees likes follows finds near under with and not".split()


def write(folder: Path, task: TaskConfig, train_rows: int = 40, dev_rows: int = 24) -> Path:
    """Write random sentences in a task's shape as <folder>/<task>/<split>.parquet, and return the folder."""
    (folder / task.name).mkdir(parents=True)
    for seed, split in enumerate([task.train_split, *task.dev_splits]):
        draw, rows = np.random.default_rng(seed), train_rows if split == task.train_split else dev_rows
        columns = {
            name: [" ".join(draw.choice(WORDS, draw.integers(1, 20))) for _ in range(rows)] for name in task.columns
        }
        labels: Any = draw.integers(0, len(task.labels), rows) if task.labels else draw.uniform(0, 5, rows)
        if task.multi_label:
            labels = pa.array(draw.integers(0, 2, (rows, len(task.labels))).tolist())
        table = pa.table(columns | {"label": labels, "idx": draw.permutation(rows)})
        pq.write_table(table, folder / task.name / f"{split}.parquet")
    return folder


def roberta_tokenizer() -> Path:
    """Return the folder of a byte-level BPE tokenizer that makes no token types; skip the test where there is none."""
    folder = os.environ.get("GLUE_POOL_TEST_TOKENIZERS")
    if not folder:
        pytest.skip("needs a RoBERTa-type tokenizer: GLUE_POOL_TEST_TOKENIZERS=<folder with roberta_type/>")
    return Path(folder).resolve() / "roberta_type"
