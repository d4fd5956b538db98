"""Generated rows in the shapes of GLUE's nine tasks: no file, no network, the same for a seed.

The sentences come from word lists and templates, label first, so the classes are balanced. A text
is a dev or a train text by its checksum: no split depends on the size of another, and none shares
a row with another.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from zlib import crc32

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.data.synthetic.events import mrpc, stsb
from glue_pool.data.synthetic.inference import mnli, rte
from glue_pool.data.synthetic.questions import qnli, qqp
from glue_pool.data.synthetic.sentences import cola, sst2, wnli
from glue_pool.data.synthetic.words import REALM
from glue_pool.errors import UserError

Write = Callable[[Random, int], tuple[str, ...]]  # the texts of one row with the given label
TASKS: dict[str, tuple[Write, int]] = {  # and how many labels there are
    "cola": (cola, 2),
    "sst2": (sst2, 2),
    "mrpc": (mrpc, 2),
    "qqp": (qqp, 2),
    "stsb": (stsb, 11),  # half points from 0 to 5
    "mnli": (mnli, 3),
    "qnli": (qnli, 2),
    "rte": (rte, 2),
    "wnli": (wnli, 2),
}
DEV_SHARE = 4  # one text in four could be a dev text


def generate(task: str, *, train_rows: int, dev_rows: int, seed: int) -> dict[str, Rows]:
    """The task's train and dev splits, named and labelled as in `nyu-mll/glue`."""
    if task not in TASKS:
        raise UserError(f"data=synthetic has no task {task!r}: it makes {', '.join(TASKS)}")
    write, levels = TASKS[task]
    dev = {"validation": write}
    if task == "mnli":
        dev = {"validation_matched": mnli, "validation_mismatched": partial(mnli, world=REALM)}

    def split(name: str, write: Write, rows: int) -> Rows:
        rng = Random(f"{task} {name} {seed}")
        return _split(rng, write, levels, rows, dev=name in dev, scores=task == "stsb")

    return {
        "train": split("train", write, train_rows),
        **{name: split(name, write, dev_rows) for name, write in dev.items()},
    }


def _split(rng: Random, write: Write, levels: int, rows: int, *, dev: bool, scores: bool) -> Rows:
    seen: set[tuple[str, ...]] = set()
    texts: list[tuple[str, ...]] = []
    labels: list[int] = []
    while len(texts) < rows:
        for label in rng.sample(range(levels), levels):
            tries = 0
            while True:
                row = write(rng, label)
                if (crc32(row[0].encode()) % DEV_SHARE == 0) == dev:
                    tries += 1
                    if row not in seen or tries == 20:  # small vocabularies run out: then repeat
                        break
            seen.add(row)
            texts.append(row)
            labels.append(label)
    columns = tuple(list(column) for column in zip(*texts[:rows], strict=True))
    y = np.array(labels[:rows], np.float32) / 2 if scores else np.array(labels[:rows], np.int64)
    return Rows(columns, y, np.arange(rows, dtype=np.int64))
