"""Poolers that read the last layer's [CLS] alone: `cls` (and `bert`, with the encoder's own tanh), `mlp_control`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glue_pool.models.poolers.base import Pooler, linear
from glue_pool.models.poolers.masked import first_token
from glue_pool.models.poolers.shares import taken


class Cls(Pooler):
    """z = c_L. With `tanh: pretrained`, BERT's own classifier (arXiv 1810.04805)."""

    reads = "cls"

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return first_token(hidden_states[-1], attention_mask)

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """All of it is the last layer's [CLS]."""
        return taken(lambda states: self(states, attention_mask), hidden_states)


class MLPControl(Pooler):
    """z = s * (W2 tanh(W1 c_L + b1)) + b2, inner size 2d: capacity without attention.

    Exactly the MHA's 4d^2 + 4d parameters: the matrices and biases alone are 4d^2 + 3d, the gain
    s (one a feature, 1 at the start) makes up the rest.
    """

    reads = "cls"

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.inner = linear(d, 2 * d)
        self.outer = linear(2 * d, d, bias=False)
        self.gain = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        inner = torch.tanh(self.inner(first_token(hidden_states[-1], attention_mask)))
        z: Tensor = self.gain * self.outer(inner) + self.bias
        return z
