"""Poolers that make one of several layers.

`concat_cls`, `mean_cls`, `max_cls`, `layer_lstm` and `layer_attention` read the layers' [CLS] vectors,
`first_last_mean` and `max_seq_mean` their tokens, `scalar_mix` either. `maxpool` and its like, which also attend, are
in attention.py.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glue_pool.models.poolers.base import Pooler, last_layers, linear, require
from glue_pool.models.poolers.masked import first_token, is_first, masked_mean, wide
from glue_pool.models.poolers.shares import taken
from glue_pool.models.steady import softmax


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

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """1/k for each layer's [CLS]."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class MeanCls(Pooler):
    """z = mean over l = L-k+1..L of c_l (Sun et al. 2019, arXiv 1905.05583)."""

    bounds: ClassVar[Mapping[str, str]] = {"k": "layers"}
    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, k: int = 4) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return _cls_by_layer(hidden_states, attention_mask).mean(1)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """1/k for each layer's [CLS]."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class MaxCls(Pooler):
    """z_j = max over l = L-k+1..L of c_l[j] (MaxPoolBERT, arXiv 2505.15696)."""

    bounds: ClassVar[Mapping[str, str]] = {"k": "layers"}
    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, k: int = 3) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(k, num_layers)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return _cls_by_layer(hidden_states, attention_mask).amax(1)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """The share of features whose max a layer's [CLS] has; layers that are equal share a feature."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class LayerLSTM(Pooler):
    """z = W h + b, h the last state of an LSTM over c_1..c_L (arXiv 2002.04815)."""

    reads = "cls"

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(num_layers, num_layers)
        self.lstm = nn.LSTM(d, d, batch_first=True)
        self.out = linear(d, d)

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
        self.out = linear(d, d)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        cls = _cls_by_layer(hidden_states, attention_mask)
        z: Tensor = self.out((self._weights(cls).to(cls.dtype).unsqueeze(1) @ cls).squeeze(1))
        return z

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """a_l, at [CLS]."""
        weights = self._weights(_cls_by_layer(hidden_states, attention_mask))
        return weights[:, None, :, None] * is_first(attention_mask)[:, None, None]

    def _weights(self, cls: Tensor) -> Tensor:
        """`(batch, layers, d)` -> `(batch, layers)`."""
        return softmax(cls @ self.query, dtype=wide(cls))


class ScalarMix(Pooler):
    """z = gamma sum_l softmax(w)_l x_l, l = 1..L, x_l = c_l or the masked mean of H^l.

    ELMo's mix (arXiv 1802.05365), w = 0 and gamma = 1 at the start. Mixing the pooled vectors is
    pooling the mixed layers, since both steps are linear, and cheaper.
    """

    def __init__(self, d: int, num_layers: int, *, then: Literal["cls", "mean"] = "cls") -> None:
        super().__init__(d, num_layers)
        require(then in ("cls", "mean"), "then", then, "has to be cls or mean")
        self.layers = last_layers(num_layers, num_layers)
        self.reads = "cls" if then == "cls" else "tokens"
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return self.gamma * self._mix(hidden_states, attention_mask)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """softmax(w)_l, at [CLS] or 1/n of it at each of n tokens."""
        return taken(lambda states: self._mix(states, attention_mask), hidden_states)

    def _mix(self, hidden_states: Sequence[Tensor], mask: Tensor) -> Tensor:
        pool = first_token if self.reads == "cls" else masked_mean
        pooled = torch.stack([pool(h, mask) for h in hidden_states], dim=-1)
        return pooled @ F.softmax(self.weights, dim=0).to(pooled.dtype)


class FirstLastMean(Pooler):
    """z = masked mean over tokens of (H^1 + H^L) / 2 (sentence-embedding practice)."""

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.layers = (1, num_layers) if num_layers > 1 else (1,)

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        return hidden_states if len(hidden_states) == 1 else [(hidden_states[0] + hidden_states[-1]) / 2]

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_mean(self.fold(hidden_states)[0], attention_mask)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """1/(2n) for each of n tokens in each of the two layers."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


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

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """1/n for each of n tokens, by the share of its features whose max a layer has; of equal layers the lowest."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


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


def _cls_by_layer(hidden_states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """`(batch, layers, d)`."""
    return torch.stack([first_token(h, mask) for h in hidden_states], dim=1)
