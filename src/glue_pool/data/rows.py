"""Rows: one split of a task as it was read, before any token."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rows:
    """One split, column by column; the i-th entry of each column belongs to the same row.

    texts: one list of strings (single sentences) or two (pairs).
    labels: `(rows,)` int64 class ids, or float32 scores for a regression task; -1 where hidden.
    idx: `(rows,)` int64, the row's `idx` in its split, which GLUE's submissions and our predictions use.
    """

    texts: tuple[list[str], ...]
    labels: np.ndarray
    idx: np.ndarray

    def __len__(self) -> int:
        return len(self.idx)
