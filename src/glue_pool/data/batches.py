"""Batches: which rows go together, and their tokens laid end to end."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glue_pool.data.tokens import Tokens
from glue_pool.models.packing import Layout, layout


@dataclass(frozen=True)
class Batch:
    """Some rows of a split, shortest first.

    input_ids, token_type_ids: `(tokens,)`, the rows end to end as `layout` says; types are None for encoders without.
    labels: `(batch,)` class ids or float32 scores.
    rows: `(batch,)` the rows' positions in the split.
    """

    input_ids: Tensor
    token_type_ids: Tensor | None
    layout: Layout
    labels: Tensor
    rows: np.ndarray

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        if self.input_ids.device == device:
            return self
        types = self.token_type_ids
        return Batch(
            self.input_ids.to(device, non_blocking=True),
            None if types is None else types.to(device, non_blocking=True),
            self.layout.to(device),
            self.labels.to(device, non_blocking=True),
            self.rows,
        )


def collate(tokens: Tokens, rows: np.ndarray, padding_side: str = "right") -> Batch:
    """Put the given rows of a split into one batch."""
    lengths = tokens.lengths[rows]
    order = np.argsort(lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    arranged = layout(lengths.tolist(), padding_side)
    where = np.repeat(tokens.offsets[rows], lengths) + arranged.positions.numpy()
    types = tokens.token_type_ids
    return Batch(
        torch.from_numpy(tokens.input_ids[where].astype(np.int64)),
        None if types is None else torch.from_numpy(types[where].astype(np.int64)),
        arranged,
        torch.from_numpy(tokens.labels[rows]),
        rows,
    )


def epoch_order(rows: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return the order in which an epoch visits the rows: uniformly random, the same for every method."""
    if not shuffle:
        return np.arange(rows)
    return np.random.default_rng([seed, epoch]).permutation(rows)


def batches(tokens: Tokens, order: np.ndarray, batch_size: int, padding_side: str = "right") -> Iterator[Batch]:
    """Yield the rows in the given order, `batch_size` at a time; the last batch holds the rest."""
    for first in range(0, len(order), batch_size):
        yield collate(tokens, order[first : first + batch_size], padding_side)
