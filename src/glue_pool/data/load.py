"""A task's data as a run sees it: tokenised splits, the subset, and what the manifest says of them."""

import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glue_pool.data import findings, sources, subset
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Split, Tokenizer, Tokens, tokenise
from glue_pool.progress import say
from glue_pool.result import SplitFacts
from glue_pool.schema import Config
from glue_pool.tasks import TaskConfig


@dataclass(frozen=True)
class TaskData:
    """The train rows of a run, its dev splits, and where they came from (plain data for the manifest)."""

    train: Split
    dev: Mapping[str, Split]
    splits: dict[str, SplitFacts]
    about: dict[str, Any]


@dataclass(frozen=True)
class _Whole:
    """All rows of a task's splits, tokenised, and what the manifest says of them."""

    tokens: Mapping[str, Tokens]
    splits: dict[str, SplitFacts]
    about: dict[str, Any]


_kept: OrderedDict[str, _Whole] = OrderedDict()
KEPT = 4  # data sets that a process keeps for its next runs: labels and lengths in memory, tokens mapped from the cache


def load(cfg: Config, encoder_folder: Path) -> TaskData:
    """Read the task's splits, tokenise what is not in the cache yet, and draw the subset of the train rows.

    What a process has read before, it does not read again, unless the files have changed.
    """
    whole = _whole(cfg, encoder_folder)
    train = whole.tokens[cfg.task.train_split]
    chosen = subset.draw(train.labels, cfg.subset.size, cfg.subset.seed, score_range=cfg.task.score_range)
    drawn = {"rows": len(chosen), "indices": _digest(chosen)}
    return TaskData(
        train.select(chosen),
        {name: whole.tokens[name] for name in cfg.task.dev_splits},
        whole.splits,
        {**whole.about, "subset": drawn},
    )


def check(configs: Sequence[Config]) -> None:
    """Read the rows of runs on one task, and say what is odd about them; nothing is tokenised.

    Raises UserError where they can't be used, or are too few for one of the subsets.
    """
    rows = sources.read(configs[0].data, configs[0].task)
    for size in {cfg.subset.size for cfg in configs}:
        subset.check(len(rows[configs[0].task.train_split]), size)
    _say(findings.of(rows, configs[0].task), configs[0].task)


def _whole(cfg: Config, encoder_folder: Path) -> _Whole:
    tokenizer = Tokenizer(encoder_folder)
    content = sources.content_id(cfg.data, cfg.task)
    key = json.dumps([content, asdict(cfg.task), tokenizer.fingerprint, cfg.train.max_length, cfg.data.cache_dir])
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    whole = _kept[key] = _read(cfg, content, tokenizer)
    if len(_kept) > KEPT:
        _kept.popitem(last=False)
    return whole


def _read(cfg: Config, content: str, tokenizer: Tokenizer) -> _Whole:
    rows, cache = sources.read(cfg.data, cfg.task), Path(cfg.data.cache_dir)
    subset.check(len(rows[cfg.task.train_split]), cfg.subset.size)  # before the long work
    found = findings.of(rows, cfg.task)
    _say(found, cfg.task)
    of = f"{cfg.task.name}: rows of"
    tokens = {n: tokenise(split, tokenizer, cfg.train.max_length, cache, f"{of} {n}") for n, split in rows.items()}
    of_tokenizer = _of_tokenizer(tokens[cfg.task.train_split], cfg.encoder.name)
    _say(of_tokenizer, cfg.task)
    return _Whole(
        tokens,
        describe_splits(cfg, rows),
        {
            "source": cfg.rows_from,
            "identity": content,
            "fingerprints": {name: split.fingerprint() for name, split in rows.items()},
            "findings": [*found, *of_tokenizer],
            **(
                {}
                if cfg.task.dev_share is None or cfg.rows_from == "synthetic"
                else {"dev_share": _held_out(cfg.task, rows)}
            ),
            "tokens": {
                name: {
                    "rows": len(t),
                    "tokens": int(t.lengths.sum()),
                    "truncated": t.truncated,
                    "empty": t.empty,
                    "cls": t.cls,
                }
                for name, t in tokens.items()
            },
        },
    )


def _of_tokenizer(tokens: Tokens, encoder: str) -> list[str]:
    """Return what is odd about how a tokenizer frames texts."""
    found = []
    if tokens.joined:
        found.append(f"the tokenizer of {encoder} puts nothing between the two texts of a row")
    if tokens.stand_in is not None:
        place = f"a row's {'first' if tokens.cls == 0 else 'last'} token"
        found.append(f"the tokenizer of {encoder} adds no [CLS] at an end: {tokens.stand_in}, {place}, stands for it")
    return found


def _say(found: Sequence[str], task: TaskConfig) -> None:
    for line in found:
        say(f"mind: {task.name}: {line}", sys.stdout)


def _held_out(task: TaskConfig, rows: Mapping[str, Rows]) -> dict[str, Any]:
    """Say which rows of the train split are the dev split: by their idx, as in the predictions."""
    idx = rows[task.dev_splits[0]].idx
    return {"share": task.dev_share, "seed": task.dev_seed, "rows": len(idx), "idx": _digest(idx)}


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def describe_splits(cfg: Config, rows: Mapping[str, Rows]) -> dict[str, SplitFacts]:
    """Say for every split how many rows were read, and whether that is the data set's own split."""
    return {
        name: {
            "rows": len(split),
            "official": cfg.data.name != "synthetic" and len(split) == cfg.task.official_rows.get(name),
        }
        for name, split in rows.items()
    }
