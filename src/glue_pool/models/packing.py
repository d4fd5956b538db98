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

from glue_pool.models.dropout import apply_mask, keep_mask

PACKED = "glue_pool_packed"


@dataclass(frozen=True)
class Block:
    """Neighbouring sequences that attention on the CPU handles at once, padded to the longest of them.

    tokens: the slice of the packed row that they fill.
    shape: (sequences, tokens of the longest).
    index: `(sequences * longest,)` positions within the slice, padding pointing at 0; None if all are equally long.
    inverse: `(tokens in the slice,)` positions of the real tokens among the padded ones; None likewise.
    mask: `(sequences, longest)`, true on real tokens; None likewise.
    """

    tokens: slice
    shape: tuple[int, int]
    index: Tensor | None
    inverse: Tensor | None
    mask: Tensor | None

    def pad(self, x: Tensor, *, zero: bool = False) -> Tensor:
        """`(heads, tokens, d_head)` of a whole batch to this block's `(heads * sequences, longest, d_head)`.

        What stands at padding is some other token's, or 0 if `zero`.
        """
        x = x[:, self.tokens]
        if self.index is not None:
            x = x.index_select(1, self.index)
            if zero and self.mask is not None:
                x = x.mul_(self.mask.flatten()[None, :, None])
        return x.reshape(-1, self.shape[1], x.shape[-1])

    def unpad(self, x: Tensor, out: Tensor) -> None:
        """Write this block's `(heads * sequences, longest, d_head)` into a batch's `(tokens, heads, d_head)`."""
        x = x.view(out.shape[1], -1, x.shape[-1])
        if self.inverse is not None:
            x = x.index_select(1, self.inverse)
        out[self.tokens] = x.transpose(0, 1)

    def bias(self, heads: int, dtype: torch.dtype, window: int | None) -> Tensor | None:
        """What is added to the scores at padding and outside the window; None if there is neither.

        Finite, since padding far from any real token attends to nothing: -inf would give NaN.
        """
        sequences, longest = self.shape
        windowed = window is not None and longest > window
        if self.mask is None and not windowed:
            return None
        allowed = torch.ones(1, 1, longest, dtype=torch.bool) if self.mask is None else self.mask[:, None, :]
        if window is not None and windowed:
            allowed = allowed & _near(longest, window, allowed.device)
        bias = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
        return bias.expand(heads, sequences, *bias.shape[1:]).flatten(0, 1)


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed batch lie; they are sorted by length, shortest first.

    starts: `(batch,)` position of each sequence's first token ([CLS]) in the packed row.
    positions: `(tokens,)` position of every token within its sequence.
    index: `(batch, longest)` position in the packed row of every token of the padded form, 0 for padding.
    inverse: `(tokens,)` position in the padded form (its rows end to end) of every token of the packed row.
    mask: `(batch, longest)` bool, true on real tokens.
    """

    starts: Tensor
    positions: Tensor
    index: Tensor
    inverse: Tensor
    mask: Tensor
    blocks: tuple[Block, ...]

    def pad(self, packed: Tensor) -> Tensor:
        """`(tokens, ...)` to `(batch, longest, ...)`; what stands at padding is arbitrary."""
        padded: Tensor = packed.index_select(0, self.index.flatten()).unflatten(0, self.index.shape)
        return padded

    def unpad(self, padded: Tensor) -> Tensor:
        """`(batch, longest, ...)` to `(tokens, ...)`; by index, since a boolean mask would wait for a GPU."""
        return padded.flatten(0, 1).index_select(0, self.inverse)

    def to(self, device: torch.device) -> "Layout":
        """Return the layout with its tensors on a device; the blocks stay, since only the CPU's attention uses them."""
        if self.starts.device == device:
            return self
        return Layout(
            send(self.starts, device),
            send(self.positions, device),
            send(self.index, device),
            send(self.inverse, device),
            send(self.mask, device),
            self.blocks,
        )


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device without waiting for it."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


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
        torch.from_numpy(np.flatnonzero(mask)),
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
        torch.from_numpy(mask),
    )


# What one more block costs in attention on the CPU, as a number of query-key pairs (measured on MiniLM).
PAIRS_A_BLOCK = 1300


def _split(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Cut ascending lengths into the blocks that cost least: query-key pairs, padded ones too, and their number."""
    count = len(sizes)
    best, cut = np.zeros(count + 1), np.zeros(count + 1, dtype=np.int64)
    for last in range(1, count + 1):
        cost = best[:last] + PAIRS_A_BLOCK + np.arange(last, 0, -1) * float(sizes[last - 1]) ** 2
        cut[last] = first = int(cost.argmin())
        best[last] = cost[first]
    blocks, last = [], count
    while last:
        blocks.append((int(cut[last]), last))
        last = int(cut[last])
    return blocks[::-1]


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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attend = _attend_on_cpu if query.device.type == "cpu" else _attend
    return attend(query[0], key[0], value[0], layout, scale, dropout, sliding_window)[None], None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float, dropout: float, window: int | None
) -> Tensor:
    """`(heads, tokens, d_head)` to `(tokens, heads, d_head)`, all sequences padded to the longest."""
    q, k, v = (layout.pad(x.transpose(0, 1)).transpose(1, 2) for x in (q, k, v))
    mask = layout.mask[:, None, None, :]
    if window is not None and layout.mask.shape[1] > window:
        mask = mask & _near(layout.mask.shape[1], window, mask.device)
        mask = mask | ~layout.mask[:, None, :, None]  # padding far from any real token: no row may be all false
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return layout.unpad(attended.transpose(1, 2))


def _near(length: int, window: int, device: torch.device) -> Tensor:
    position = torch.arange(length, device=device)
    return (position[:, None] - position[None, :]).abs() < window


def _attend_on_cpu(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float, dropout: float, window: int | None
) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        attended: Tensor = _BlockAttention.apply(q, k, v, layout.blocks, scale, dropout, window)  # type: ignore[no-untyped-call]
    return attended


class _BlockAttention(torch.autograd.Function):
    """softmax(q k^T scale) v, block by block, keeping only what its gradient needs.

    q, k, v: `(heads, tokens, d_head)`; returns `(tokens, heads, d_head)`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        blocks: tuple[Block, ...],
        scale: float,
        dropout: float,
        window: int | None,
    ) -> Tensor:
        heads, tokens, width = q.shape
        out = q.new_empty(tokens, heads, width)
        nothing = q.new_empty(())
        kept = []
        for block in blocks:
            qb, kb, vb = (block.pad(x) for x in (q, k, v))
            bias = block.bias(heads, q.dtype, window)
            if bias is None:
                scores = torch.baddbmm(nothing, qb, kb.transpose(1, 2), beta=0, alpha=scale)
            else:
                scores = torch.baddbmm(bias, qb, kb.transpose(1, 2), alpha=scale)
            weights = torch.softmax(scores, -1)
            mask, factor, dropped = None, 1.0, weights
            if dropout > 0:
                mask, factor = keep_mask(tuple(weights.shape), dropout)
                dropped = apply_mask(weights, mask)
            block.unpad(torch.baddbmm(nothing, dropped, vb, beta=0, alpha=factor), out)
            kept.append((qb, kb, vb, weights, mask))
        ctx.save_for_backward(*(tensor for tensors in kept for tensor in tensors))
        ctx.facts = blocks, scale, factor
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        blocks, scale, factor = ctx.facts
        saved = iter(ctx.saved_tensors)
        tokens, heads, width = gradient.shape
        grads = gradient.new_empty(3, tokens, heads, width)
        nothing = gradient.new_empty(())
        for block, qb, kb, vb, weights, mask in zip(blocks, *(saved,) * 5, strict=True):
            d_out = block.pad(gradient.transpose(0, 1), zero=True)
            d_weights = torch.baddbmm(nothing, d_out, vb.transpose(1, 2), beta=0, alpha=factor)
            dropped = weights
            if mask is not None:
                d_weights, dropped = apply_mask(d_weights, mask), apply_mask(weights, mask)
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            block.unpad(torch.baddbmm(nothing, d_scores, kb, beta=0, alpha=scale), grads[0])
            block.unpad(torch.baddbmm(nothing, d_scores.transpose(1, 2), qb, beta=0, alpha=scale), grads[1])
            block.unpad(torch.baddbmm(nothing, dropped.transpose(1, 2), d_out, beta=0, alpha=factor), grads[2])
        return *(grad.transpose(0, 1) for grad in grads), None, None, None, None


AttentionInterface.register(PACKED, packed_attention)
