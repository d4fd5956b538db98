"""Packed batches: the tokens of a batch in one row, and attention that keeps its sequences apart.

Everything in an encoder but attention works token by token, so a batch needs no padding there. Attention gets the
batch's `Layout` as a keyword and pads within blocks of sequences of similar length, which keeps dropout exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

PACKED = "glue_pool_packed"


@dataclass(frozen=True)
class Block:
    """Neighbouring sequences that attention handles at once.

    tokens: the slice of the packed row that they fill.
    shape: (sequences, tokens of the longest).
    index: `(sequences * longest,)` positions within the slice, padding pointing at 0; None if all are equally long.
    inverse: `(tokens in the slice,)` positions of the real tokens among the padded ones; None likewise.
    mask: `(sequences, 1, 1, longest)`, true on real tokens; None likewise.
    """

    tokens: slice
    shape: tuple[int, int]
    index: Tensor | None
    inverse: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed batch lie; they are sorted by length, shortest first.

    starts: `(batch,)` position of each sequence's first token ([CLS]) in the packed row.
    positions: `(tokens,)` position of every token within its sequence.
    index: `(batch, longest)` position in the packed row of every token of the padded form, 0 for padding.
    mask: `(batch, longest)` bool, true on real tokens.
    """

    starts: Tensor
    positions: Tensor
    index: Tensor
    mask: Tensor
    blocks: tuple[Block, ...]

    def pad(self, packed: Tensor) -> Tensor:
        """`(tokens, ...)` to `(batch, longest, ...)`; what stands at padding is arbitrary."""
        return packed.index_select(0, self.index.flatten()).unflatten(0, self.index.shape)

    def to(self, device: torch.device) -> "Layout":
        """Return the layout with its tensors on a device."""
        if self.starts.device == device:
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        blocks = tuple(Block(b.tokens, b.shape, move(b.index), move(b.inverse), move(b.mask)) for b in self.blocks)
        moved = (t.to(device, non_blocking=True) for t in (self.starts, self.positions, self.index, self.mask))
        return Layout(*moved, blocks)


def layout(lengths: Sequence[int], padding_side: str = "right") -> Layout:
    """Lay out sequences of the given lengths, which have to ascend, all of at least one token."""
    sizes = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    positions = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    index, mask = _padded(starts, sizes, padding_side)
    return Layout(
        torch.from_numpy(starts),
        torch.from_numpy(positions),
        torch.from_numpy(index),
        torch.from_numpy(mask),
        tuple(_block(starts, sizes, first, last) for first, last in _split(sizes)),
    )


def _padded(starts: np.ndarray, sizes: np.ndarray, side: str = "right") -> tuple[np.ndarray, np.ndarray]:
    offset = np.arange(sizes.max())[None, :]
    if side == "left":
        offset = offset - (sizes.max() - sizes)[:, None]
    mask = (offset >= 0) & (offset < sizes[:, None])
    return np.where(mask, starts[:, None] + offset, 0), mask


def _block(starts: np.ndarray, sizes: np.ndarray, first: int, last: int) -> Block:
    start, size = starts[first:last] - starts[first], sizes[first:last]
    tokens = slice(int(starts[first]), int(starts[first] + size.sum()))
    shape = (last - first, int(size[-1]))
    if size[0] == size[-1]:
        return Block(tokens, shape, None, None, None)
    index, mask = _padded(start, size)
    inverse = np.flatnonzero(mask.reshape(-1))
    return Block(
        tokens,
        shape,
        torch.from_numpy(index.reshape(-1)),
        torch.from_numpy(inverse),
        torch.from_numpy(mask)[:, None, None, :],
    )


def _split(sizes: np.ndarray, most_padding: float = 1.15, smallest: int = 4) -> list[tuple[int, int]]:
    """Cut ascending lengths into blocks whose longest sequence is at most `most_padding` times the shortest."""
    blocks, first = [], 0
    for last in range(1, len(sizes) + 1):
        full = last == len(sizes)
        if full or (last - first >= smallest and sizes[last] > most_padding * sizes[first]):
            blocks.append((first, last))
            first = last
    return blocks


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence of a packed batch: transformers' attention interface, `(1, heads, tokens, d_head)`.

    Returns `(1, tokens, heads, d_head)` and no weights. `attention_mask` is None here: the layout says it all.
    """
    heads = [x[0].transpose(0, 1) for x in (query, key, value)]
    outputs = []
    for block in layout.blocks:
        sequences, longest = block.shape
        q, k, v = (
            (x[block.tokens] if block.index is None else x[block.tokens].index_select(0, block.index))
            .unflatten(0, (sequences, longest))
            .transpose(1, 2)
            for x in heads
        )
        mask = block.mask
        if sliding_window is not None and longest > sliding_window:
            position = torch.arange(longest, device=query.device)
            near = (position[:, None] - position[None, :]).abs() < sliding_window
            mask = near if mask is None else mask & near
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling)
        flat = attended.transpose(1, 2).flatten(0, 1)
        outputs.append(flat if block.inverse is None else flat.index_select(0, block.inverse))
    return torch.cat(outputs)[None], None


AttentionInterface.register(PACKED, packed_attention)
