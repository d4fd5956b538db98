"""Where the rows of a batch lie: end to end without padding, and how to pad them and back.

Everything in an encoder but attention works token by token, so a batch needs no padding there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


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
            allowed = allowed & near(longest, window, allowed.device)
        bias = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
        return bias.expand(heads, sequences, *bias.shape[1:]).flatten(0, 1)


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed batch lie, one after another; a batch has its shortest first.

    starts: `(batch,)` position of each sequence's first token in the packed row; cls: `(batch,)` that of its [CLS].
    positions: `(tokens,)` position of every token within its sequence.
    ranks: `(tokens,)` its position where [CLS] comes first and the others follow as they are.
    index: `(batch, longest)` position in the packed row of every token of the padded form, 0 for padding.
    inverse: `(tokens,)` position in the padded form (its rows end to end) of every token of the packed row.
    mask: `(batch, longest)` bool, true on real tokens.
    cls_first: `(batch * longest,)` position in the padded form of every token of the padded form with [CLS] first; None
    if that is how it is.
    """

    starts: Tensor
    cls: Tensor
    positions: Tensor
    ranks: Tensor
    index: Tensor
    inverse: Tensor
    mask: Tensor
    cls_first: Tensor | None
    blocks: tuple[Block, ...]

    def pad(self, packed: Tensor) -> Tensor:
        """`(tokens, ...)` to `(batch, longest, ...)`; what stands at padding is arbitrary."""
        padded: Tensor = packed.index_select(0, self.index.flatten()).unflatten(0, self.index.shape)
        return padded

    def unpad(self, padded: Tensor) -> Tensor:
        """`(batch, longest, ...)` to `(tokens, ...)`; by index, since a boolean mask would wait for a GPU."""
        return padded.flatten(0, 1).index_select(0, self.inverse)

    def lead(self, padded: Tensor) -> Tensor:
        """Let [CLS] be the first real token of each sequence in the padded form; the others follow as they are."""
        if self.cls_first is None:
            return padded
        led: Tensor = padded.flatten(0, 1).index_select(0, self.cls_first).unflatten(0, self.mask.shape)
        return led

    def keep(self, rows: Tensor) -> "Layout":
        """Return the layout of the tokens at these ascending rows alone; every sequence has to keep its [CLS].
        ValueError otherwise.

        `positions` stay what they were. The padded form is padded on the right.
        """
        kept, begins = rows.cpu().numpy(), self.starts.cpu().numpy()
        cls = begins if self.cls is self.starts else self.cls.cpu().numpy()
        if kept.ndim != 1 or kept.dtype.kind not in "iu" or not (np.diff(kept) > 0).all():
            raise ValueError("the tokens that go on have to be ascending row numbers, no mask")
        if not np.isin(cls, kept).all():
            raise ValueError("a sequence lost its [CLS]")
        sequence = np.searchsorted(begins, kept, side="right") - 1
        sizes = np.bincount(sequence, minlength=len(begins))
        shorter = layout(sizes, cls=np.searchsorted(kept, cls) - (np.cumsum(sizes) - sizes))
        return replace(shorter.to(rows.device), positions=self.positions.index_select(0, rows))

    def to(self, device: torch.device) -> "Layout":
        """Return the layout with its tensors on a device; the blocks stay, since only the CPU's attention uses them."""
        if self.starts.device == device:
            return self
        starts, positions = send(self.starts, device), send(self.positions, device)
        return Layout(
            starts,
            starts if self.cls is self.starts else send(self.cls, device),
            positions,
            positions if self.ranks is self.positions else send(self.ranks, device),
            send(self.index, device),
            send(self.inverse, device),
            send(self.mask, device),
            None if self.cls_first is None else send(self.cls_first, device),
            self.blocks,
        )


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device without waiting for it."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def layout(lengths: Sequence[int] | np.ndarray, padding_side: str = "right", cls: int | np.ndarray = 0) -> Layout:
    """Lay out sequences of the given lengths, all of at least one token; attention costs least where they ascend.

    cls: the position of [CLS] in its sequence, of each or of all; a negative one counts from the end, as Python's do.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    positions = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    index, mask = _padded(starts, sizes, padding_side)
    inverse = np.flatnonzero(mask)
    of_sequences, of_tokens = torch.from_numpy(starts), torch.from_numpy(positions)
    where, ranks, cls_first = of_sequences, of_tokens, None
    place = np.where(np.less(cls, 0), sizes + cls, cls)
    if place.any():
        of_its_cls = np.repeat(place, sizes)
        in_order = np.where(positions == of_its_cls, 0, positions + (positions < of_its_cls))
        moved = np.arange(mask.size)
        moved[inverse - positions + in_order] = inverse
        where, ranks, cls_first = map(torch.from_numpy, (starts + place, in_order, moved))
    return Layout(
        of_sequences,
        where,
        of_tokens,
        ranks,
        torch.from_numpy(index),
        torch.from_numpy(inverse),
        torch.from_numpy(mask),
        cls_first,
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
    shape = (last - first, int(size.max()))
    if size.min() == size.max():
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
PAIRS_A_BLOCK = 3500


def _split(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Cut successive lengths into the blocks that cost least: query-key pairs, padded ones too, and their number."""
    count = len(sizes)
    best, cut = np.zeros(count + 1), np.zeros(count + 1, dtype=np.int64)
    for last in range(1, count + 1):
        longest = np.maximum.accumulate(sizes[last - 1 :: -1])[::-1]  # of a block from each one to this one
        cost = best[:last] + PAIRS_A_BLOCK + np.arange(last, 0, -1) * longest.astype(float) ** 2
        cut[last] = first = int(cost.argmin())
        best[last] = cost[first]
    blocks, last = [], count
    while last:
        blocks.append((int(cut[last]), last))
        last = int(cut[last])
    return blocks[::-1]


def near(length: int, window: int, device: torch.device) -> Tensor:
    """Return which positions `(length, length)` lie within a window of each other."""
    position = torch.arange(length, device=device)
    return (position[:, None] - position[None, :]).abs() < window
