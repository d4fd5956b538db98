"""Poolers: from an encoder's hidden states to one vector a sequence.

Notation in the docstrings: H^l is layer l's output, l = 1..L (the embedding output is not a
layer), c_l its [CLS] vector, m the attention mask, d the hidden size. [CLS] is the first real token,
wherever the tokenizer puts it. Every pooler ignores padding, on either side and whatever values it holds.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glue_pool.errors import UserError
from glue_pool.models import shape


class Pooler(nn.Module, ABC):
    """The last layer in, d features out; subclasses change what they need.

    Attributes: `layers`, the encoder layers it reads, 1-based and ascending; `reads`, "cls" when
    the [CLS] vectors are enough (training then passes those alone, as tokens = 1), "tokens" when no
    token is another than the rest, or "both"; `out_dim`, the features it returns.

    One of your own is one class in any importable module and one YAML: docs/extending.md.
    Keyword arguments are the YAML's keys; refuse a bad one with `UserError` in `__init__`, which
    also has to work on torch.device("meta").
    """

    bounds: ClassVar[Mapping[str, str]] = {}
    """Keyword arguments that the encoder bounds: by its `layers` (1..L), or as `heads`, which divide d."""
    layers: tuple[int, ...]
    reads: Literal["cls", "tokens", "both"] = "tokens"
    out_dim: int

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__()
        self.layers = (num_layers,)
        self.out_dim = d

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Do what works on every token for itself, on hidden states `(..., d)` of `layers`.

        The classifier calls this before it pads the tokens, and gives `forward` what it returns; folded
        twice it has to be the same as folded once.
        """
        return hidden_states

    @abstractmethod
    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """Pool a batch.

        hidden_states: one `(batch, tokens, d)` for each of `layers`, the first real token [CLS];
        attention_mask: `(batch, tokens)` bool, at least one real token a row. Returns `(batch, out_dim)`.
        """


# Poolers that read [CLS] only.


class Cls(Pooler):
    """z = c_L. With `tanh: pretrained`, BERT's own classifier (arXiv 1810.04805)."""

    reads = "cls"

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return first_token(hidden_states[-1], attention_mask)


class ConcatCls(Pooler):
    """z = [c_{L-k+1}; ...; c_L], k d features (Sun et al. 2019, arXiv 1905.05583)."""

    bounds: ClassVar[Mapping[str, str]] = {"k": "layers"}
    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, k: int = 4) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)
        self.out_dim = k * d

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return torch.cat([first_token(h, attention_mask) for h in hidden_states], dim=-1)


class MeanCls(Pooler):
    """z = mean over l = L-k+1..L of c_l (Sun et al. 2019, arXiv 1905.05583)."""

    bounds: ClassVar[Mapping[str, str]] = {"k": "layers"}
    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, k: int = 4) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return _cls_by_layer(hidden_states, attention_mask).mean(1)


class MaxCls(Pooler):
    """z_j = max over l = L-k+1..L of c_l[j] (MaxPoolBERT, arXiv 2505.15696)."""

    bounds: ClassVar[Mapping[str, str]] = {"k": "layers"}
    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, k: int = 3) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return _cls_by_layer(hidden_states, attention_mask).amax(1)


class LayerLSTM(Pooler):
    """z = W h + b, h the last state of an LSTM over c_1..c_L (arXiv 2002.04815)."""

    reads = "cls"

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(num_layers, num_layers)
        self.lstm = nn.LSTM(d, d, batch_first=True)
        self.out = _linear(d, d)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        states, _ = self.lstm(_cls_by_layer(hidden_states, attention_mask))
        z: Tensor = self.out(states[:, -1])
        return z


class LayerAttention(Pooler):
    """z = W sum_l a_l c_l + b, a = softmax_l(q . c_l), l = 1..L (arXiv 2002.04815).

    q starts at 0: the plain mean over layers.
    """

    reads = "cls"

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(num_layers, num_layers)
        self.query = nn.Parameter(torch.zeros(d))
        self.out = _linear(d, d)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        cls = _cls_by_layer(hidden_states, attention_mask)
        weights = F.softmax(cls @ self.query, dim=-1, dtype=_wide(cls)).to(cls.dtype)
        z: Tensor = self.out((weights.unsqueeze(1) @ cls).squeeze(1))
        return z


class MLPControl(Pooler):
    """z = s * (W2 tanh(W1 c_L + b1)) + b2, inner size 2d: capacity without attention.

    Exactly the MHA's 4d^2 + 4d parameters: the matrices and biases alone are 4d^2 + 3d, the gain
    s (one a feature, 1 at the start) makes up the rest.
    """

    reads = "cls"

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.inner = _linear(d, 2 * d)
        self.outer = _linear(2 * d, d, bias=False)
        self.gain = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        inner = torch.tanh(self.inner(first_token(hidden_states[-1], attention_mask)))
        z: Tensor = self.gain * self.outer(inner) + self.bias
        return z


# Poolers over tokens.


class Mean(Pooler):
    """z = masked mean over tokens of H^L (common practice)."""

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_mean(hidden_states[-1], attention_mask)


class Max(Pooler):
    """z = masked max over tokens of H^L, feature by feature (common practice)."""

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_max(hidden_states[-1], attention_mask)


class MeanMax(Pooler):
    """z = [masked mean; masked max] over tokens of H^L, 2d features (common practice)."""

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.out_dim = 2 * d

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = hidden_states[-1]
        mean, top = masked_mean(hidden, attention_mask), masked_max(hidden, attention_mask)
        return torch.cat([mean, top], dim=-1)


class FirstLastMean(Pooler):
    """z = masked mean over tokens of (H^1 + H^L) / 2 (sentence-embedding practice)."""

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.layers = (1, num_layers) if num_layers > 1 else (1,)

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return hidden_states if len(hidden_states) == 1 else [(hidden_states[0] + hidden_states[-1]) / 2]

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_mean(self.fold(hidden_states)[0], attention_mask)


class Attention(Pooler):
    """z = sum_t a_t h_t, a = softmax_t(w2 . tanh(W1 h_t)) over real tokens (arXiv 1409.0473)."""

    def __init__(self, d: int, num_layers: int, *, inner_size: int | None = None) -> None:
        super().__init__(d, num_layers)
        size = d if inner_size is None else inner_size
        _require(size >= 1, "inner_size", size, "has to be at least 1 (null: the encoder's d)")
        self.inner = _linear(d, size, bias=False)
        self.score = _linear(size, 1, bias=False)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = _without_padding(hidden_states[-1], attention_mask)
        scores: Tensor = self.score(torch.tanh(self.inner(hidden))).mT
        return (_masked_softmax(scores, attention_mask).to(hidden.dtype) @ hidden).squeeze(1)


class GeM(Pooler):
    """z = (masked mean over tokens of clamp(h, eps)^p)^(1/p), p learnable (arXiv 1711.02512).

    The clamp drops negative activations: a feature below 0 at every token pools to eps. Computed
    as exp of a scaled log-mean-exp of log h, which overflows at no p.
    """

    def __init__(self, d: int, num_layers: int, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__(d, num_layers)
        _require(1e-6 <= p <= 1e6, "p", p, "has to lie in 1e-6..1e6")
        _require(1e-30 <= eps <= 1, "eps", eps, "has to lie in 1e-30..1")
        self.eps = eps
        self.p = nn.Parameter(torch.tensor(float(p)))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = _without_padding(hidden_states[-1], attention_mask)
        logs = hidden.to(_wide(hidden)).clamp(min=self.eps).log()
        return _log_mean_exp(logs, attention_mask, self.p).exp().to(hidden.dtype)


class LogSumExp(Pooler):
    """z = (1/r) log(masked mean over tokens of exp(r h)); r -> 0: mean, r -> inf: max."""

    def __init__(self, d: int, num_layers: int, *, r: float = 1.0) -> None:
        super().__init__(d, num_layers)
        _require(1e-6 <= r <= 1e6, "r", r, "has to lie in 1e-6..1e6")
        self.r = r

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = hidden_states[-1]
        return _log_mean_exp(hidden.to(_wide(hidden)), attention_mask, self.r).to(hidden.dtype)


class ScalarMix(Pooler):
    """z = gamma sum_l softmax(w)_l x_l, l = 1..L, x_l = c_l or the masked mean of H^l.

    ELMo's mix (arXiv 1802.05365), w = 0 and gamma = 1 at the start. Mixing the pooled vectors is
    pooling the mixed layers, since both steps are linear, and cheaper.
    """

    def __init__(self, d: int, num_layers: int, *, then: Literal["cls", "mean"] = "cls") -> None:
        super().__init__(d, num_layers)
        _require(then in ("cls", "mean"), "then", then, "has to be cls or mean")
        self.layers = last_layers(num_layers, num_layers)
        self.reads = "cls" if then == "cls" else "tokens"
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        pool = first_token if self.reads == "cls" else masked_mean
        pooled = torch.stack([pool(h, attention_mask) for h in hidden_states], dim=-1)
        return self.gamma * (pooled @ F.softmax(self.weights, dim=0).to(pooled.dtype))


class MaxSeqMean(Pooler):
    """z = masked mean over tokens of M, M_t[j] = max over l = L-k+1..L of H^l_t[j].

    `maxpool` without its MHA: an ablation.
    """

    bounds: ClassVar[Mapping[str, str]] = {"k": "layers"}

    def __init__(self, d: int, num_layers: int, *, k: int = 3) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return [reduce(larger, hidden_states)]

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_mean(self.fold(hidden_states)[0], attention_mask)


# Poolers with one more attention layer, in which a single query attends to all tokens.


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


def single_query_attention(attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """What `attention(query, tokens, tokens)` returns, without a projection of any token.

    With one query a sequence, head h's scores (W_k x_t + b_k) . q are (W_k^T q) . x_t plus a
    constant over t, which the softmax drops, and its output is W_v (sum_t a_t x_t) + b_v sum_t a_t.
    query: `(batch, d)`; tokens: `(batch, tokens, d)`; mask: `(batch, tokens)`; returns
    `(batch, d)`.
    """
    by_head = (attention.num_heads, attention.head_dim, attention.embed_dim)
    w_q, w_k, w_v = attention.in_proj_weight.chunk(3)
    b_q = b_v = None
    if attention.in_proj_bias is not None:
        b_q, _, b_v = attention.in_proj_bias.chunk(3)
    if torch.is_autocast_enabled(tokens.device.type):  # once, not for each of the two products below
        tokens = tokens.to(torch.get_autocast_dtype(tokens.device.type))
    tokens = _without_padding(tokens, mask)
    q = F.linear(query, w_q, b_q).reshape(-1, *by_head[:2]) / math.sqrt(attention.head_dim)
    key = torch.einsum("bhe,hed->bhd", q, w_k.reshape(by_head))
    weights = _masked_softmax((tokens @ key.mT).mT, mask).to(tokens.dtype)
    weights = F.dropout(weights, attention.dropout, attention.training)
    value = torch.einsum("bhd,hed->bhe", weights @ tokens, w_v.reshape(by_head))
    if b_v is not None:
        value = value + weights.sum(-1, keepdim=True) * b_v.reshape(by_head[:2])
    z: Tensor = attention.out_proj(value.flatten(1))
    return z


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """[CLS], the first real token: `(batch, tokens, d)` -> `(batch, d)`."""
    first = mask.int().argmax(1)  # argmax returns the first of equals
    return hidden[torch.arange(len(hidden), device=hidden.device), first]


def larger(a: Tensor, b: Tensor) -> Tensor:
    """Elementwise maximum of two tensors of one shape; where they are equal a has the gradient."""
    found: Tensor = _Larger.apply(a, b)  # type: ignore[no-untyped-call]
    return found


class _Larger(torch.autograd.Function):
    """`torch.maximum`, whose own gradient takes six times as long on two cores."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(b > a)
        return torch.maximum(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        (second,) = ctx.saved_tensors
        for_b = gradient * second.to(gradient.dtype)
        return gradient - for_b, for_b


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens, summed in fp32 or wider: `(batch, tokens, d)` -> `(batch, d)`."""
    total = _without_padding(hidden, mask).sum(1, dtype=_wide(hidden))
    return (total / mask.sum(1, keepdim=True)).to(hidden.dtype)


def masked_max(hidden: Tensor, mask: Tensor) -> Tensor:
    """Max over real tokens: `(batch, tokens, d)` -> `(batch, d)`."""
    return hidden.masked_fill(~mask.unsqueeze(-1), -math.inf).amax(1)


def last_layers(k: int, num_layers: int) -> tuple[int, ...]:
    """Indices of the last k layers, L-k+1..L; UserError unless 1 <= k <= num_layers."""
    shape.check_depth("pooling.k", k, num_layers)
    return tuple(range(num_layers - k + 1, num_layers + 1))


def _cls_by_layer(hidden_states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """`(batch, layers, d)`."""
    return torch.stack([first_token(h, mask) for h in hidden_states], dim=1)


def _without_padding(hidden: Tensor, mask: Tensor) -> Tensor:
    """Zeros at padding, because even a weight of 0 lets an inf or NaN through."""
    return hidden.masked_fill(~mask.unsqueeze(-1), 0)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over real tokens in fp32 or wider: `(batch, heads, tokens)`, same shape back."""
    scores = scores.masked_fill(~mask.unsqueeze(1), -math.inf)
    return F.softmax(scores, dim=-1, dtype=_wide(scores))


def _log_mean_exp(x: Tensor, mask: Tensor, scale: Tensor | float) -> Tensor:
    """(1/scale) log(masked mean over tokens of exp(scale x)): `(batch, d)`.

    Subtracting the max keeps it finite at a large scale, expm1 and log1p exact at a small one.
    """
    top = masked_max(x, mask).detach()  # the result does not depend on it
    below = (x - top.unsqueeze(1)).masked_fill(~mask.unsqueeze(-1), 0)
    mean = torch.expm1(scale * below).sum(1) / mask.sum(1, keepdim=True)
    return top + torch.log1p(mean) / scale


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Xavier-uniform weights, zero bias."""
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def _multihead_attention(d: int, num_heads: int, *, dropout: float = 0.0, bias: bool = True) -> nn.MultiheadAttention:
    shape.check_heads("pooling.num_heads", num_heads, d)
    _require(0 <= dropout < 1, "dropout", dropout, "has to be at least 0 and below 1")
    attention = nn.MultiheadAttention(d, num_heads, dropout=dropout, bias=bias, batch_first=True)
    # torch draws the in-projection Xavier-uniform and sets the biases to 0, but leaves this one.
    nn.init.xavier_uniform_(attention.out_proj.weight)
    return attention


def _require(ok: bool, key: str, value: object, otherwise: str) -> None:
    if not ok:
        raise UserError(f"pooling.{key}={value} {otherwise}")
