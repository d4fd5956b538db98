"""What poolers compute of hidden states `(batch, tokens, d)` and their mask `(batch, tokens)`, true at real tokens."""

import math

import torch
from torch import Tensor

from glue_pool.models.steady import softmax


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """[CLS], the first real token: `(batch, tokens, d)` -> `(batch, d)`."""
    first = mask.int().argmax(1)  # argmax returns the first of equals
    return hidden[torch.arange(len(hidden), device=hidden.device), first]


def is_first(mask: Tensor) -> Tensor:
    """Where the first real token is, `(batch, tokens)` bool."""
    return mask & (mask.cumsum(1) == 1)


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens, summed in fp32 or wider: `(batch, tokens, d)` -> `(batch, d)`."""
    total = without_padding(hidden, mask).sum(1, dtype=wide(hidden))
    return (total / mask.sum(1, keepdim=True)).to(hidden.dtype)


def masked_max(hidden: Tensor, mask: Tensor) -> Tensor:
    """Max over real tokens: `(batch, tokens, d)` -> `(batch, d)`."""
    return hidden.masked_fill(~mask.unsqueeze(-1), -math.inf).amax(1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over real tokens in fp32 or wider: `(batch, heads, tokens)`, same shape back."""
    scores = scores.masked_fill(~mask.unsqueeze(1), -math.inf)
    return softmax(scores, dtype=wide(scores))


def without_padding(hidden: Tensor, mask: Tensor) -> Tensor:
    """Zeros at padding, because even a weight of 0 lets an inf or NaN through."""
    return hidden.masked_fill(~mask.unsqueeze(-1), 0)


def wide(x: Tensor) -> torch.dtype:
    """The type that sums are in: the tensor's own, or fp32 where that is narrower."""
    return torch.promote_types(x.dtype, torch.float32)
