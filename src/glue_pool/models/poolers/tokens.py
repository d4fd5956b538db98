"""Poolers over the last layer's tokens, all alike: `mean`, `max`, `mean_max`, `gem`, `logsumexp`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glue_pool.models.poolers.base import Pooler, require
from glue_pool.models.poolers.masked import masked_max, masked_mean, wide, without_padding
from glue_pool.models.poolers.shares import taken


class Mean(Pooler):
    """z = masked mean over tokens of H^L (common practice)."""

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_mean(hidden_states[-1], attention_mask)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """1/n for each of n tokens."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class Max(Pooler):
    """z = masked max over tokens of H^L, feature by feature (common practice)."""

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return masked_max(hidden_states[-1], attention_mask)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """The share of features whose max a token has; tokens that are equal share a feature."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class MeanMax(Pooler):
    """z = [masked mean; masked max] over tokens of H^L, 2d features (common practice)."""

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.out_dim = 2 * d

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = hidden_states[-1]
        mean, top = masked_mean(hidden, attention_mask), masked_max(hidden, attention_mask)
        return torch.cat([mean, top], dim=-1)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """Half of what `mean` says, and half of what `max` says."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class GeM(Pooler):
    """z = (masked mean over tokens of clamp(h, eps)^p)^(1/p), p learnable (arXiv 1711.02512).

    The clamp drops negative activations: a feature below 0 at every token pools to eps. Computed
    as exp of a scaled log-mean-exp of log h, which overflows at no p.
    """

    def __init__(self, d: int, num_layers: int, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__(d, num_layers)
        require(1e-6 <= p <= 1e6, "p", p, "has to lie in 1e-6..1e6")
        require(1e-30 <= eps <= 1, "eps", eps, "has to lie in 1e-30..1")
        self.eps = eps
        self.p = nn.Parameter(torch.tensor(float(p)))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = hidden_states[-1]
        return _log_mean_exp(self._logs(hidden, attention_mask), attention_mask, self.p).exp().to(hidden.dtype)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """A token's share of the sum of powers, clamp(h, eps)^p, as a mean over features.

        Of a feature that is below 0 at every token they are equal.
        """
        logs = self._logs(hidden_states[-1], attention_mask)
        return taken(lambda states: _log_mean_exp(states[0], attention_mask, self.p), [logs])

    def _logs(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = without_padding(hidden, mask)
        return hidden.to(wide(hidden)).clamp(min=self.eps).log()


class LogSumExp(Pooler):
    """z = (1/r) log(masked mean over tokens of exp(r h)); r -> 0: mean, r -> inf: max."""

    def __init__(self, d: int, num_layers: int, *, r: float = 1.0) -> None:
        super().__init__(d, num_layers)
        require(1e-6 <= r <= 1e6, "r", r, "has to lie in 1e-6..1e6")
        self.r = r

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        hidden = hidden_states[-1]
        return _log_mean_exp(hidden.to(wide(hidden)), attention_mask, self.r).to(hidden.dtype)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """softmax_t(r h), as a mean over features."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


def _log_mean_exp(x: Tensor, mask: Tensor, scale: Tensor | float) -> Tensor:
    """(1/scale) log(masked mean over tokens of exp(scale x)): `(batch, d)`.

    Subtracting the max keeps it finite at a large scale, expm1 and log1p exact at a small one.
    """
    top = masked_max(x, mask).detach()  # the result does not depend on it
    below = (x - top.unsqueeze(1)).masked_fill(~mask.unsqueeze(-1), 0)
    mean = torch.expm1(scale * below).sum(1) / mask.sum(1, keepdim=True)
    return top + torch.log1p(mean) / scale
