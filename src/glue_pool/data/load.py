"""A task's data as a run sees it: tokenised splits, the subset, and what the manifest says of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_pool.data import sources, subset
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Split, Tokenizer, tokenise
from glue_pool.schema import Config


@dataclass(frozen=True)
class TaskData:
    """The train rows of a run, its dev splits, and where they came from (plain data for the manifest)."""

    train: Split
    dev: Mapping[str, Split]
    splits: dict[str, dict[str, Any]]
    about: dict[str, Any]


def load(cfg: Config, encoder_folder: Path) -> TaskData:
    """Read the task's splits, draw the subset of the train rows, and tokenise what is not in the cache yet."""
    rows = sources.read(cfg.data, cfg.task)
    chosen = subset.draw(rows[cfg.task.train_split], cfg.subset.size, cfg.subset.seed, score_range=cfg.task.score_range)
    tokenizer, cache = Tokenizer(encoder_folder), Path(cfg.data.cache_dir).expanduser()
    tokens = {name: tokenise(split, tokenizer, cfg.train.max_length, cache) for name, split in rows.items()}
    return TaskData(
        tokens[cfg.task.train_split].select(chosen),
        {name: tokens[name] for name in cfg.task.dev_splits},
        describe_splits(cfg, rows),
        {
            "source": cfg.data.name,
            "fingerprints": {name: sources.fingerprint(split) for name, split in rows.items()},
            "tokens": {
                name: {"rows": len(t), "tokens": int(t.lengths.sum()), "truncated": t.truncated, "empty": t.empty}
                for name, t in tokens.items()
            },
            "subset": {"rows": len(chosen), "indices": hashlib.sha256(chosen.tobytes()).hexdigest()},
        },
    )


def describe_splits(cfg: Config, rows: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """Say for every split how many rows were read, and whether that is GLUE's own split."""
    return {
        name: {
            "rows": len(split),
            "official": cfg.data.name != "synthetic" and len(split) == cfg.task.official_rows[name],
        }
        for name, split in rows.items()
    }
