"""Poolers in which one query attends to all tokens.

A learnt one to the last layer's: `attention`; the last layer's mean token: `adapool`. [CLS] to the last layer's: `mha`;
to the last k layers' folded into one: `maxpool`, `mean_seq_mha`, `sum_seq_mha`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glue_pool.models import shape
from glue_pool.models.poolers.base import Pooler, last_layers, linear, require
from glue_pool.models.poolers.layers import larger
from glue_pool.models.poolers.masked import first_token, masked_mean, masked_softmax, without_padding
from glue_pool.models.poolers.shares import slopes_of


class Attention(Pooler):
    """z = sum_t a_t h_t, a = softmax_t(w2 . tanh(W1 h_t)) over real tokens (arXiv 1409.0473)."""

    def __init__(self, d: int, num_layers: int, *, inner_size: int | None = None) -> None:
        super().__init__(d, num_layers)
        size = d if inner_size is None else inner_size
        require(size >= 1, "inner_size", size, "has to be at least 1 (null: the encoder's d)")
        self.inner = linear(d, size, bias=False)
        self.score = linear(size, 1, bias=False)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = without_padding(hidden_states[-1], attention_mask)
        return (self._weights(hidden, attention_mask).to(hidden.dtype) @ hidden).squeeze(1)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """a_t."""
        return self._weights(without_padding(hidden_states[-1], attention_mask), attention_mask).unsqueeze(1)

    def _weights(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`(batch, tokens, d)` -> `(batch, 1, tokens)`."""
        scores: Tensor = self.score(torch.tanh(self.inner(hidden))).mT
        return masked_softmax(scores, mask)


class _SeqMHA(Pooler, ABC):
    """z = MHA(query = M_0, key = value = M), M the last k layers folded into one, M_0 its [CLS].

    residual adds the query to z; layer_norm then normalises it.
    """

    reads = "both"
    bounds: ClassVar[Mapping[str, str]] = {"k": "layers", "num_heads": "heads"}

    def __init__(
        self,
        d: int,
        num_layers: int,
        *,
        k: int = 3,
        num_heads: int = 4,
        dropout: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)
        self.attention = _multihead_attention(d, num_heads, dropout=dropout)
        self.residual = residual
        self.norm = nn.LayerNorm(d) if layer_norm else None

    @abstractmethod
    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Make one layer M of the k layers."""

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        (tokens,) = self.fold(hidden_states)
        query = first_token(tokens, attention_mask)
        z = single_query_attention(self.attention, query, tokens, attention_mask)
        z = query + z if self.residual else z
        return z if self.norm is None else self.norm(z)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """Each head's attention weight of a token, by what each layer gave to the token's M_t.

        Of a max that is the share of features whose max a layer has, of equal layers the lowest; of a mean or a sum
        1/k. What `residual` adds, M_0 itself, is not counted.
        """
        (tokens,) = self.fold(hidden_states)
        weights = single_query_weights(self.attention, first_token(tokens, attention_mask), tokens, attention_mask)
        layers = slopes_of(lambda states: self.fold(states)[0], hidden_states)
        return weights.unsqueeze(2) * (layers / layers.sum(1, keepdim=True)).unsqueeze(1)


class MaxSeqMHA(_SeqMHA):
    """MaxPoolBERT (arXiv 2505.15696): z = MHA(query = M_0, key = value = M).

    M_t[j] = max over l = L-k+1..L of H^l_t[j]: the max is over layers, at every position t.
    Whether the paper has a residual, a LayerNorm or dropout here is not public: keys, off.
    """

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return [reduce(larger, hidden_states)]


class MeanSeqMHA(_SeqMHA):
    """`maxpool` with M_t = mean over l = L-k+1..L of H^l_t: an ablation."""

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return [reduce(torch.add, hidden_states) / len(hidden_states)]


class SumSeqMHA(_SeqMHA):
    """`maxpool` with M_t = sum over l = L-k+1..L of H^l_t: an ablation."""

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return [reduce(torch.add, hidden_states)]


class MHA(_SeqMHA):
    """z = MHA(query = c_L, key = value = H^L) (MaxPoolBERT, arXiv 2505.15696)."""

    def __init__(
        self,
        d: int,
        num_layers: int,
        *,
        num_heads: int = 4,
        dropout: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(
            d,
            num_layers,
            k=1,
            num_heads=num_heads,
            dropout=dropout,
            residual=residual,
            layer_norm=layer_norm,
        )

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return hidden_states


class AdaPool(Pooler):
    """z = q + MHA(query = q, key = value = H^L), q the masked mean of H^L (arXiv 2506.09215).

    The projections have no bias.
    """

    bounds: ClassVar[Mapping[str, str]] = {"num_heads": "heads"}

    def __init__(self, d: int, num_layers: int, *, num_heads: int = 4) -> None:
        super().__init__(d, num_layers)
        self.attention = _multihead_attention(d, num_heads, bias=False)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = hidden_states[-1]
        query = masked_mean(hidden, attention_mask)
        return query + single_query_attention(self.attention, query, hidden, attention_mask)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """Each head's attention weights; the mean q, which is added, is not counted."""
        hidden = hidden_states[-1]
        query = masked_mean(hidden, attention_mask)
        return single_query_weights(self.attention, query, hidden, attention_mask).unsqueeze(2)


def single_query_attention(attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """What `attention(query, tokens, tokens)` returns, without a projection of any token.

    With one query a sequence, head h's scores (W_k x_t + b_k) . q are (W_k^T q) . x_t plus a
    constant over t, which the softmax drops, and its output is W_v (sum_t a_t x_t) + b_v sum_t a_t.
    query: `(batch, d)`; tokens: `(batch, tokens, d)`; mask: `(batch, tokens)`; returns
    `(batch, d)`.
    """
    by_head = (attention.num_heads, attention.head_dim, attention.embed_dim)
    tokens = _ready(tokens, mask)
    (w_q, w_k, w_v), (b_q, _, b_v) = _projections(attention)
    weights = _head_weights(attention, w_q, w_k, b_q, query, tokens, mask).to(tokens.dtype)
    weights = F.dropout(weights, attention.dropout, attention.training)
    value = torch.einsum("bhd,hed->bhe", weights @ tokens, w_v.reshape(by_head))
    if b_v is not None:
        value = value + weights.sum(-1, keepdim=True) * b_v.reshape(by_head[:2])
    z: Tensor = attention.out_proj(value.flatten(1))
    return z


def single_query_weights(attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """The weights by which `single_query_attention` attends, in fp32 or wider: `(batch, heads, tokens)`."""
    (w_q, w_k, _), (b_q, _, _) = _projections(attention)
    return _head_weights(attention, w_q, w_k, b_q, query, _ready(tokens, mask), mask)


def _projections(attention: nn.MultiheadAttention) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    """Return the weights and the biases of queries, keys and values; taken apart once, they have one gradient."""
    biases = attention.in_proj_bias
    return attention.in_proj_weight.chunk(3), (None, None, None) if biases is None else biases.chunk(3)


def _ready(tokens: Tensor, mask: Tensor) -> Tensor:
    if torch.is_autocast_enabled(tokens.device.type):  # once, not for each of the two products with them
        tokens = tokens.to(torch.get_autocast_dtype(tokens.device.type))
    return without_padding(tokens, mask)


def _head_weights(
    attention: nn.MultiheadAttention,
    w_q: Tensor,
    w_k: Tensor,
    b_q: Tensor | None,
    query: Tensor,
    tokens: Tensor,
    mask: Tensor,
) -> Tensor:
    by_head = (attention.num_heads, attention.head_dim, attention.embed_dim)
    q = F.linear(query, w_q, b_q).reshape(-1, *by_head[:2]) / math.sqrt(attention.head_dim)
    key = torch.einsum("bhe,hed->bhd", q, w_k.reshape(by_head))
    return masked_softmax((tokens @ key.mT).mT, mask)


def _multihead_attention(d: int, num_heads: int, *, dropout: float = 0.0, bias: bool = True) -> nn.MultiheadAttention:
    shape.check_heads("pooling.num_heads", num_heads, d)
    require(0 <= dropout < 1, "dropout", dropout, "has to be at least 0 and below 1")
    attention = nn.MultiheadAttention(d, num_heads, dropout=dropout, bias=bias, batch_first=True)
    # torch draws the in-projection Xavier-uniform and sets the biases to 0, but leaves this one.
    nn.init.xavier_uniform_(attention.out_proj.weight)
    return attention
