"""Packed attention: the tokens of a batch in one row, and attention that keeps its sequences apart.

Everything in an encoder but attention works token by token, so a batch needs no padding there. Attention looks up the
batch's `Layout` where the encoder left it and pads within blocks of sequences of similar length, which keeps dropout
exact.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from glue_pool.data.layout import Block, Layout, near
from glue_pool.models.dropout import apply_mask, keep_mask
from glue_pool.models.steady import softmax_backward

PACKED = "glue_pool_packed"


@dataclass
class Running:
    """What an encoder's attention has to know of the batch that runs through it now; one an encoder.

    It is no keyword of the model, since a model hands the same ones to every layer, and tokens may leave on the way.
    tokens: how many it began with. layer: the one that runs, 1-based. alive: the rows of the batch's tokens that are
    still there, None for all. left: before which layer tokens left, and the rows of those that stayed, among those that
    were there.
    """

    layout: Layout | None = None
    tokens: int = 0
    layer: int = 0
    alive: Tensor | None = None
    left: list[tuple[int, Tensor]] = field(default_factory=list)

    def attach(self, module: nn.Module) -> None:
        """Let every module inside find it."""
        for inner in module.modules():
            vars(inner)["running"] = self

    def start(self, layout: Layout) -> None:
        """Begin with a batch."""
        self.layout, self.layer, self.alive, self.left = layout, 0, None, []
        self.tokens = len(layout.positions)

    def keep(self, rows: Tensor) -> None:
        """Let only these rows of the tokens go on, before the layer that runs."""
        assert self.layout is not None
        self.layout = self.layout.keep(rows)
        self.alive = rows if self.alive is None else self.alive.index_select(0, rows)
        self.left.append((self.layer, rows))

    def survivors(self, state: Tensor, layer: int) -> Tensor:
        """Return of a layer's output `(tokens, d)` the tokens that are there at the end."""
        for before, rows in self.left:
            if before > layer:
                state = state.index_select(0, rows)
        return state


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence of a packed batch: transformers' attention interface, `(1, heads, tokens, d_head)`.

    Returns `(1, tokens, heads, d_head)` and no weights. `attention_mask` is None here: the layout says it all.
    """
    layout: Layout = module.running.layout  # type: ignore[assignment]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.dtype != value.dtype:  # rotary positions are applied in fp32 by some families
        query, key = query.to(value.dtype), key.to(value.dtype)
    if (shared := query.shape[1] // key.shape[1]) > 1:  # some families' heads share keys and values
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    attend = _attend_on_cpu if query.device.type == "cpu" else _attend
    return attend(query[0], key[0], value[0], layout, scale, dropout, sliding_window)[None], None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float, dropout: float, window: int | None
) -> Tensor:
    """`(heads, tokens, d_head)` to `(tokens, heads, d_head)`, all sequences padded to the longest."""
    q, k, v = (layout.pad(x.transpose(0, 1)).transpose(1, 2) for x in (q, k, v))
    mask = layout.mask[:, None, None, :]
    if window is not None and layout.mask.shape[1] > window:
        mask = mask & near(layout.mask.shape[1], window, mask.device)
        mask = mask | ~layout.mask[:, None, :, None]  # padding far from any real token: no row may be all false
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return layout.unpad(attended.transpose(1, 2))


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
            d_scores = softmax_backward(d_weights, weights)
            block.unpad(torch.baddbmm(nothing, d_scores, kb, beta=0, alpha=scale), grads[0])
            block.unpad(torch.baddbmm(nothing, d_scores.transpose(1, 2), qb, beta=0, alpha=scale), grads[1])
            block.unpad(torch.baddbmm(nothing, dropped.transpose(1, 2), d_out, beta=0, alpha=factor), grads[2])
        return *(grad.transpose(0, 1) for grad in grads), None, None, None, None


AttentionInterface.register(PACKED, packed_attention)
