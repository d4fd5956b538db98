"""Rows: one split of a task as it was read, before any token."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Rows:
    """One split, column by column; the i-th entry of each column belongs to the same row.

    texts: one list of strings (single sentences) or two (pairs).
    labels: `(rows,)` int64 class ids, or float32 scores for a regression task; -1 where hidden. Of a multi-label task
    `(rows, labels)` int64, 1 for each label that the row has and 0 for the others.
    idx: `(rows,)` int64, the row's `idx` in its split, which GLUE's submissions and our predictions use.
    groups: `(rows,)` int64, equal where rows share what the task's `group` says; None where that is not asked for.
    """

    texts: tuple[list[str], ...]
    labels: np.ndarray
    idx: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.idx)

    def select(self, rows: np.ndarray) -> Self:
        """Return the given rows alone, in that order."""
        texts = tuple([column[row] for row in rows] for column in self.texts)
        groups = None if self.groups is None else self.groups[rows]
        return type(self)(texts, self.labels[rows], self.idx[rows], groups)

    def some(self, limit: int | None) -> Self:
        """Return so many rows drawn at random, the same ones every time, in their order; all for None or too many."""
        if limit is None or limit >= len(self):
            return self
        return self.select(np.sort(np.random.default_rng(0).choice(len(self), limit, replace=False)))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the texts, labels and idx, the same on every machine."""
        digest = hashlib.sha256()

        def add(array: np.ndarray) -> None:
            digest.update(f"{array.dtype.str} {array.size} ".encode())
            digest.update(np.ascontiguousarray(array).data)

        for column in self.texts:  # with its lengths the joined text says where each row ends
            add(np.fromiter(map(len, column), "<i8", len(column)))
            digest.update("".join(column).encode("utf-8", "surrogatepass"))
        add(self.labels.astype("<f8" if self.labels.dtype.kind == "f" else "<i8"))
        add(self.idx.astype("<i8"))
        return digest.hexdigest()
