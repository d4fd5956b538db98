"""Generated rows, in the shapes of GLUE's nine tasks or of any other: no file, no network, the same for a seed.

The sentences come from word lists and templates, label first, so the classes are balanced. A text
is a dev or a train text by its checksum: no split depends on the size of another, and none shares
a row with another.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.data.synthetic import general
from glue_pool.data.synthetic.events import mrpc, stsb
from glue_pool.data.synthetic.inference import mnli, rte
from glue_pool.data.synthetic.questions import qnli, qqp
from glue_pool.data.synthetic.sentences import cola, sst2, wnli
from glue_pool.data.synthetic.words import REALM
from glue_pool.errors import UserError, nearest
from glue_pool.tasks import TaskConfig

Write = Callable[[Random, Any], tuple[str, ...]]  # the texts of one row with the given label


class Generator(NamedTuple):
    """How a task's rows are made.

    draw: the labels of the next rows, balanced. array: labels as `Rows` has them. further: writes the dev splits after
    the first, if not `write`.
    """

    write: Write
    draw: Callable[[Random], Sequence[Any]]
    array: Callable[[Sequence[Any]], np.ndarray]
    further: Write | None = None


class Glue(NamedTuple):
    """A generator in the shape of one of GLUE's tasks."""

    write: Write
    texts: int
    labels: int
    further: Write | None = None


GLUE: dict[str, Glue] = {
    "cola": Glue(cola, 1, 2),
    "sst2": Glue(sst2, 1, 2),
    "mrpc": Glue(mrpc, 2, 2),
    "qqp": Glue(qqp, 2, 2),
    "stsb": Glue(stsb, 2, 0),
    "mnli": Glue(mnli, 2, 3, partial(mnli, world=REALM)),
    "qnli": Glue(qnli, 2, 2),
    "rte": Glue(rte, 2, 2),
    "wnli": Glue(wnli, 2, 2),
}
DEV_SHARE = 4  # one text in four could be a dev text


def generate(task: TaskConfig, *, train_rows: int, dev_rows: int, seed: int) -> dict[str, Rows]:
    """The task's train split and its dev splits, from the generator that `task.synthetic` names or one for any task.

    Raises UserError where there is no such generator, or the task has another shape.
    """
    made_by = _of_glue(task) if task.synthetic else _for_any(task)

    def split(name: str, rows: int, write: Write, part: Callable[[int], bool]) -> Rows:
        rng = Random(f"{task.synthetic or task.name} {name} {seed}")
        return _split(rng, made_by._replace(write=write), rows, part)

    splits = {task.train_split: split(task.train_split, train_rows, made_by.write, _is_train)}
    worlds = [made_by.write, *[made_by.further or made_by.write] * (len(task.dev_splits) - 1)]
    for i, name in enumerate(task.dev_splits):
        alike = [j for j, other in enumerate(worlds) if other is worlds[i]]  # dev splits of one world part its texts
        part = partial(_is_dev, at=alike.index(i), of=len(alike))
        splits[name] = split(name, dev_rows, worlds[i], part)
    return splits


def _of_glue(task: TaskConfig) -> Generator:
    made = GLUE.get(str(task.synthetic))
    if made is None:
        names = f"one of {', '.join(GLUE)}{nearest(str(task.synthetic), list(GLUE))}"
        raise UserError(f"task.synthetic={task.synthetic}: {names}, or null for rows of the task's own shape")
    write, texts, labels, further = made
    if (len(task.columns), len(task.labels), task.multi_label) != (texts, labels, False):
        raise UserError(
            f"task.synthetic={task.synthetic}: makes {texts} texts and {labels or 'no'} labels a row, task {task.name} "
            f"has {len(task.columns)} and {len(task.labels) or 'no'}; null makes rows of the task's own shape"
        )
    if not labels:
        return _scored(write, 11, task)
    return Generator(write, lambda rng: rng.sample(range(labels), labels), _ids, further)


def _for_any(task: TaskConfig) -> Generator:
    texts, labels = len(task.columns), len(task.labels)
    if not labels:
        return _scored(partial(general.of_score, texts=texts), 2 * general.VERDICTS_A_ROW + 1, task)
    write = partial(general.of_labels, words=general.words_of(labels), texts=texts)
    if task.multi_label:
        return Generator(write, partial(_sets, labels=labels), partial(_zeros_and_ones, labels=labels))
    return Generator(lambda rng, label: write(rng, (label,)), lambda rng: rng.sample(range(labels), labels), _ids)


def _scored(write: Write, levels: int, task: TaskConfig) -> Generator:
    low, high = task.score_range or (0.0, 1.0)
    array = partial(_scores, low=low, high=high, levels=levels)
    return Generator(write, lambda rng: rng.sample(range(levels), levels), array)


def _sets(rng: Random, labels: int) -> list[tuple[int, ...]]:
    """Sets of one to three labels with every label once, and an empty one."""
    left = rng.sample(range(labels), labels)
    sets: list[tuple[int, ...]] = [()]
    while left:
        size = rng.choice([1, 1, 2, 3])
        sets.append(tuple(left[:size]))
        left = left[size:]
    return rng.sample(sets, len(sets))


def _ids(labels: Sequence[int]) -> np.ndarray:
    return np.array(labels, np.int64)


def _scores(levels_of: Sequence[int], low: float, high: float, levels: int) -> np.ndarray:
    share = np.array(levels_of) / (levels - 1)
    return ((1 - share) * low + share * high).astype(np.float32)


def _zeros_and_ones(sets: Sequence[tuple[int, ...]], labels: int) -> np.ndarray:
    return np.array([[label in chosen for label in range(labels)] for chosen in sets], np.int64)


def _is_train(checksum: int) -> bool:
    return checksum % DEV_SHARE != 0


def _is_dev(checksum: int, at: int, of: int) -> bool:
    return checksum % DEV_SHARE == 0 and checksum // DEV_SHARE % of == at


def _split(rng: Random, made_by: Generator, rows: int, part: Callable[[int], bool]) -> Rows:
    seen: set[tuple[str, ...]] = set()
    texts: list[tuple[str, ...]] = []
    labels: list[Any] = []
    while len(texts) < rows:
        for label in made_by.draw(rng):
            tries = 0
            while True:
                row = made_by.write(rng, label)
                if part(crc32(row[0].encode())):
                    tries += 1
                    if row not in seen or tries == 20:  # small vocabularies run out: then repeat
                        break
            seen.add(row)
            texts.append(row)
            labels.append(label)
    columns = tuple(list(column) for column in zip(*texts[:rows], strict=True))
    return Rows(columns, made_by.array(labels[:rows]), np.arange(rows, dtype=np.int64))
