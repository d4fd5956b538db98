"""Batches: which rows go together, and their tokens (or hidden states) laid end to end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from glue_pool.data.features import Features
from glue_pool.data.layout import Layout, layout, send
from glue_pool.data.tokens import Split, Tokens
from glue_pool.hardware import Hardware


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
            send(self.input_ids, device),
            None if types is None else send(types, device),
            self.layout.to(device),
            send(self.labels, device),
            self.rows,
        )


@dataclass(frozen=True)
class HiddenBatch:
    """Some rows of a split whose hidden states are known, in the order in which `Batch` would have them.

    parts: some neighbouring rows each, padded to their longest: the layers, each `(rows, longest, d)` in fp32, and the
    mask `(rows, longest)`, true on real tokens; longest is 1 where there is one vector a row.
    pooled: whether that vector is what the pooler returns.
    labels, rows: as in `Batch`; tokens: how many tokens the rows have.
    """

    parts: tuple[tuple[tuple[Tensor, ...], Tensor], ...]
    pooled: bool
    labels: Tensor
    rows: np.ndarray
    tokens: int

    def to(self, device: torch.device) -> "HiddenBatch":
        """Return the batch with its tensors on a device."""
        if self.labels.device == device:
            return self
        parts = tuple(
            (tuple(send(state, device) for state in states), send(mask, device)) for states, mask in self.parts
        )
        return HiddenBatch(parts, self.pooled, send(self.labels, device), self.rows, self.tokens)


@overload
def collate(split: Tokens, rows: np.ndarray, padding_side: str = ...) -> Batch: ...
@overload
def collate(split: Features, rows: np.ndarray, padding_side: str = ...) -> HiddenBatch: ...
@overload
def collate(split: Split, rows: np.ndarray, padding_side: str = ...) -> Batch | HiddenBatch: ...
def collate(split: Split, rows: np.ndarray, padding_side: str = "right") -> Batch | HiddenBatch:
    """Put the given rows of a split into one batch."""
    lengths = split.lengths[rows]
    order = np.argsort(lengths, kind="stable")
    rows, lengths = rows[order], lengths[order]
    labels = torch.from_numpy(split.labels[rows])
    if isinstance(split, Features):
        if split.a_vector_a_row:
            parts = [_part(split, rows, np.ones_like(lengths))]
        else:
            cuts = range(0, len(rows), PART)
            parts = [_part(split, rows[i : i + PART], lengths[i : i + PART]) for i in cuts]
        return HiddenBatch(tuple(parts), split.pooled, labels, rows, int(lengths.sum()))
    assert isinstance(split, Tokens)
    arranged = layout(lengths.tolist(), padding_side, split.cls or 0)
    where = np.repeat(split.offsets[rows], lengths) + arranged.positions.numpy()
    types = split.token_type_ids
    return Batch(
        torch.from_numpy(split.input_ids[where].astype(np.int64)),
        None if types is None else torch.from_numpy(types[where].astype(np.int64)),
        arranged,
        labels,
        rows,
    )


# How many rows of similar length are padded together: in random batches of 32, padding is most of what is there.
PART = 16


def _part(split: Features, rows: np.ndarray, lengths: np.ndarray) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the hidden states of some rows in fp32, padded on the right with other tokens, and the mask."""
    position = np.arange(lengths.max())[None, :]
    mask = position < lengths[:, None]
    where = split.offsets[rows][:, None] + np.where(mask, position, 0)
    states = (torch.from_numpy(array[where]) for array in split.states)
    return tuple(
        state.view(torch.bfloat16).float() if state.dtype == torch.uint16 else state for state in states
    ), torch.from_numpy(mask)


def epoch_order(rows: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return the order in which an epoch visits the rows: uniformly random, the same for every method."""
    if not shuffle:
        return np.arange(rows)
    return np.random.default_rng([seed, epoch]).permutation(rows)


@overload
def batches(split: Tokens, order: np.ndarray, batch_size: int, padding_side: str = ...) -> Iterator[Batch]: ...
@overload
def batches(split: Features, order: np.ndarray, batch_size: int, padding_side: str = ...) -> Iterator[HiddenBatch]: ...
@overload
def batches(
    split: Split, order: np.ndarray, batch_size: int, padding_side: str = ...
) -> Iterator[Batch | HiddenBatch]: ...
def batches(
    split: Split, order: np.ndarray, batch_size: int, padding_side: str = "right"
) -> Iterator[Batch | HiddenBatch]:
    """Yield the rows in the given order, `batch_size` at a time; the last batch holds the rest."""
    for first in range(0, len(order), batch_size):
        yield collate(split, order[first : first + batch_size], padding_side)


def over(
    split: Split,
    each: Callable[[Any], object],
    hardware: Hardware,
    batch_size: int,
    padding_side: str = "right",
) -> None:
    """Go once over all rows of a split, without gradients: `each` gets batches of rows of similar length.

    A batch is on the device, `batch.rows` says which rows it is, and `each` runs in the hardware's precision. The
    longest come first: the memory that they give back holds all that follow, where ever longer ones would take more.
    """
    by_length = np.argsort(split.lengths, kind="stable")
    with torch.no_grad(), hardware.autocast():
        for first in reversed(range(0, len(by_length), batch_size)):
            batch = collate(split, by_length[first : first + batch_size], padding_side).to(hardware.device)
            with hardware.computing("pass", batch.tokens):
                each(batch)
