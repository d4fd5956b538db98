"""Which layers and tokens a pooled vector came from, where a step's own slopes say it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from glue_pool.models.poolers.masked import wide

Step = Callable[[Sequence[Tensor]], Tensor]


def taken(step: Step, hidden_states: Sequence[Tensor]) -> Tensor:
    """Return how much of what a step makes each layer and token gave, `(batch, 1, layers, tokens)`, 1 in total a row.

    step: from `hidden_states`, one `(batch, tokens, d)` a layer, to a tensor. It has to be a sum of them with weights
    that are not negative, a largest one, or a log-mean-exp (whose slopes are its softmax); of a max the one has all to
    which forward's gradient goes, and equal ones share if they share the gradient.
    """
    slopes = slopes_of(step, hidden_states)
    return (slopes / slopes.sum((1, 2), keepdim=True)).unsqueeze(1)


def slopes_of(step: Step, hidden_states: Sequence[Tensor]) -> Tensor:
    """Return d (sum of what a step makes) / d (a layer's token), summed over features: `(batch, layers, tokens)`."""
    with torch.enable_grad():
        states = [h.detach().to(wide(h)).requires_grad_() for h in hidden_states]
        slopes = torch.autograd.grad(step(states).sum(), states)
    return torch.stack(slopes, dim=1).sum(-1)
