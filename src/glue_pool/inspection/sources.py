"""A batch traced: what each row's pooled vector came from, by the pooler's own weights or by gradient times input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glue_pool.data.batches import Batch, HiddenBatch
from glue_pool.errors import UserError
from glue_pool.models.classifier import Classifier
from glue_pool.models.encoder import Hidden
from glue_pool.models.poolers import Pooler

Method = Literal["weights", "gradient times input"]


@dataclass(frozen=True)
class Traced:
    """A row of a batch.

    row: its position in the split. logits: `(outputs,)` fp32; of a regression task the output before `Scale`.
    shares: `(heads, layers, tokens)` fp32, 1 in total for each head. positions: `(tokens,)` where the tokens that the
    pooler read stand in the row: [CLS] alone, or those that no edit left out.
    """

    row: int
    logits: np.ndarray
    shares: np.ndarray
    positions: np.ndarray
    method: Method


def trace(model: Classifier, batch: Batch) -> Iterator[Traced]:
    """Trace a batch's rows, in its order.

    Where the pooler's `shares` are None they are |sum over features of h * dy/dh|, in parts of their total: h the
    hidden states that the pooler reads, y the row's largest logit, or its score. Raises UserError where what a pooler
    of one's own says can't be shares.
    """
    pooler = model.pooler
    hidden = model.encoder(batch.input_ids, batch.token_type_ids, batch.layout, pooler.layers)
    states, mask = _read(pooler, hidden)
    found = pooler.shares(states, mask)
    if found is None:
        logits, shares = _gradient_times_input(model, states, mask, batch)
    else:
        logits, shares = _logits(model, states, mask, batch), _checked(found, pooler, mask)
    method: Method = "gradient times input" if found is None else "weights"
    of_rows, by_row = logits.cpu().numpy(), shares.float().cpu().numpy()
    for i, (positions, places) in enumerate(_places(pooler, hidden)):
        yield Traced(int(batch.rows[i]), of_rows[i], by_row[i][..., places], positions, method)


def _read(pooler: Pooler, hidden: Hidden) -> tuple[list[Tensor], Tensor]:
    """Return what a classifier gives its pooler, before `fold`."""
    if pooler.reads == "cls":
        return [hidden.cls(layer)[:, None] for layer in pooler.layers], torch.ones_like(hidden.mask[:, :1])
    return [hidden.pad(hidden.states[layer]) for layer in pooler.layers], hidden.mask


def _places(pooler: Pooler, hidden: Hidden) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield of each row where its tokens stand in it, and where in the padded form, which has [CLS] first."""
    layout = hidden.layout
    positions, ranks, cls = (x.cpu().numpy() for x in (layout.positions, layout.ranks, layout.cls))
    begins, lengths = layout.starts.cpu().numpy(), layout.mask.sum(1).cpu().numpy()
    for first, length, at in zip(begins, lengths, cls, strict=True):
        if pooler.reads == "cls":
            yield positions[at : at + 1], np.zeros(1, dtype=np.int64)
        else:
            yield positions[first : first + length], ranks[first : first + length]


def _logits(model: Classifier, states: Sequence[Tensor], mask: Tensor, batch: Batch) -> Tensor:
    folded = tuple(states if model.pooler.reads == "cls" else model.pooler.fold(states))
    logits: Tensor = model(HiddenBatch(((folded, mask),), False, batch.labels, batch.rows, batch.tokens)).logits
    return logits


def _gradient_times_input(
    model: Classifier, states: Sequence[Tensor], mask: Tensor, batch: Batch
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # its LSTM has a gradient in training alone
        leaves = [state.detach().requires_grad_() for state in states]
        logits = _logits(model, leaves, mask, batch)
        slopes = torch.autograd.grad(logits.amax(1).sum(), leaves, materialize_grads=True)
    products = [(h.detach().float() * slope.float()).sum(-1).abs() for h, slope in zip(leaves, slopes, strict=True)]
    by = torch.stack(products, 1).masked_fill(~mask[:, None], 0)
    total = by.sum((1, 2), keepdim=True)
    alike = mask[:, None].float().expand_as(by) / mask.sum(1)[:, None, None] / len(leaves)
    return logits.detach(), torch.where(total > 0, by / total, alike).unsqueeze(1)


def _checked(shares: Tensor, pooler: Pooler, mask: Tensor) -> Tensor:
    """Refuse what a pooler of one's own says if it is no shares."""
    batch, tokens = mask.shape
    wanted = (batch, len(pooler.layers), tokens)
    name = f"{type(pooler).__name__}.shares"
    if shares.dim() != 4 or not shares.shape[1] or (shares.shape[0], *shares.shape[2:]) != wanted:
        said = f"(batch, heads, layers, tokens), here ({batch}, heads, {wanted[1]}, {tokens})"
        raise UserError(f"{name}: returned {tuple(shares.shape)}, has to be {said}")
    total = shares.float().sum((2, 3))
    if not ((shares >= 0).all() and torch.allclose(total, torch.ones_like(total), atol=0.01)):
        raise UserError(f"{name}: has to be 0 or more and 1 in total for each head; the first is {total[0, 0]:g}")
    return shares
