"""Batches: which rows go together, and their tokens (or hidden states) laid end to end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import Tensor

from glue_pool.data.features import Features, Split
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

    @property
    def tokens(self) -> int:
        """How many tokens the rows have."""
        return len(self.input_ids)

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


@dataclass(frozen=True)
class StateBatch:
    """Some rows of a split whose hidden states are known, in the order in which `Batch` would have them.

    states: one `(batch, longest, d)` a layer, or `(batch, 1, d)` where there is one vector a row, in fp32.
    mask: `(batch, longest)` or `(batch, 1)`, true on real tokens; pooled: whether `states` is what the pooler returns.
    labels, rows: as in `Batch`; tokens: how many tokens the rows have.
    """

    states: tuple[Tensor, ...]
    mask: Tensor
    pooled: bool
    labels: Tensor
    rows: np.ndarray
    tokens: int

    def to(self, device: torch.device) -> "StateBatch":
        """Return the batch with its tensors on a device."""
        if self.mask.device == device:
            return self
        states = tuple(state.to(device, non_blocking=True) for state in self.states)
        mask, labels = (tensor.to(device, non_blocking=True) for tensor in (self.mask, self.labels))
        return StateBatch(states, mask, self.pooled, labels, self.rows, self.tokens)


@overload
def collate(split: Tokens, rows: np.ndarray, padding_side: str = ...) -> Batch: ...
@overload
def collate(split: Features, rows: np.ndarray, padding_side: str = ...) -> StateBatch: ...
@overload
def collate(split: Split, rows: np.ndarray, padding_side: str = ...) -> Batch | StateBatch: ...
def collate(split: Split, rows: np.ndarray, padding_side: str = "right") -> Batch | StateBatch:
    """Put the given rows of a split into one batch."""
    lengths = split.lengths[rows]
    order = np.argsort(lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    labels = torch.from_numpy(split.labels[rows])
    if isinstance(split, Features):
        if split.a_vector_a_row:
            states = tuple(_tensor(array[split.offsets[rows]])[:, None] for array in split.states)
            mask = torch.ones(len(rows), 1, dtype=torch.bool)
        else:
            arranged = layout(lengths.tolist(), padding_side)
            where = np.repeat(split.offsets[rows], lengths) + arranged.positions.numpy()
            states = tuple(arranged.pad(_tensor(array[where])) for array in split.states)
            mask = arranged.mask
        return StateBatch(states, mask, split.pooled, labels, rows, int(lengths.sum()))
    arranged = layout(lengths.tolist(), padding_side)
    where = np.repeat(split.offsets[rows], lengths) + arranged.positions.numpy()
    types = split.token_type_ids
    return Batch(
        torch.from_numpy(split.input_ids[where].astype(np.int64)),
        None if types is None else torch.from_numpy(types[where].astype(np.int64)),
        arranged,
        labels,
        rows,
    )


def _tensor(states: np.ndarray) -> Tensor:
    """Return hidden states in fp32; uint16 holds bfloat16's bits."""
    tensor = torch.from_numpy(states)
    return tensor.view(torch.bfloat16).float() if tensor.dtype == torch.uint16 else tensor


def epoch_order(rows: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return the order in which an epoch visits the rows: uniformly random, the same for every method."""
    if not shuffle:
        return np.arange(rows)
    return np.random.default_rng([seed, epoch]).permutation(rows)


@overload
def batches(split: Tokens, order: np.ndarray, batch_size: int, padding_side: str = ...) -> Iterator[Batch]: ...
@overload
def batches(split: Features, order: np.ndarray, batch_size: int, padding_side: str = ...) -> Iterator[StateBatch]: ...
@overload
def batches(
    split: Split, order: np.ndarray, batch_size: int, padding_side: str = ...
) -> Iterator[Batch | StateBatch]: ...
def batches(
    split: Split, order: np.ndarray, batch_size: int, padding_side: str = "right"
) -> Iterator[Batch | StateBatch]:
    """Yield the rows in the given order, `batch_size` at a time; the last batch holds the rest."""
    for first in range(0, len(order), batch_size):
        yield collate(split, order[first : first + batch_size], padding_side)
