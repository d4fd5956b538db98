"""A trial: a few rows through an encoder, which has to give them the same hidden states in whatever batch they are.

It ends a run before it trains (or keeps hidden states) where an encoder's weights are not finite, where it reads in one
direction, or where a row's numbers depend on the rows beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glue_pool.data.layout import layout
from glue_pool.models.encoder import Encoder

LENGTHS = (3, 5, 5, 11, 24)  # tokens of the rows, the shortest first
MOST = 1e-4  # of a token's vector, in relation to its length: fp32 leaves some 1e-6, what looks at padding more
SEEN = 1e-5  # by which a token's vector moves at least with one that it sees, likewise

NOT_FINITE = "its hidden states are not finite"


@dataclass(frozen=True)
class Trial:
    """What a trial showed.

    difference: between a row by itself and among others, the largest of all tokens, in relation to the vector's length.
    forward, backward: whether the last token's vector depends on the first token, and the first's on the last.
    repeats: whether the same row twice gives the same bits.
    """

    difference: float
    forward: bool
    backward: bool
    repeats: bool

    @property
    def failed(self) -> str | None:
        """Say what is wrong; None where nothing is."""
        if not np.isfinite(self.difference):
            return NOT_FINITE
        if not self.repeats:
            return "it gives other hidden states each time"
        if not (self.forward and self.backward):
            return "its tokens don't see all others"
        if self.difference > MOST:
            return f"a row's hidden states depend on the rows beside it (by {self.difference:.0e} of their size)"
        return None


def trial(encoder: Encoder, padding_side: str = "right", lengths: Sequence[int] = LENGTHS) -> Trial:
    """Run rows of the given lengths, the shortest first, through an encoder: each by itself, then all at once.

    The encoder is in evaluation mode. Raises whatever its forward raises.
    """
    batch = rows(encoder, lengths)
    short = next(row for row in batch if len(row) > 2)  # within any window of attention
    other = min(set(range(len(short) + 2)) - {*short.tolist(), encoder.padding_id})
    first, last = short.clone(), short.clone()
    first[0], last[-1] = other, other
    alone = [torch.cat(layer) for layer in zip(*(states(encoder, [row], padding_side) for row in batch), strict=True)]
    one, again, with_first, with_last = (states(encoder, [row], padding_side) for row in (short, short, first, last))
    return Trial(
        differs(states(encoder, batch, padding_side), alone),
        differs([with_first[-1][-1]], [one[-1][-1]]) > SEEN,
        differs([with_last[-1][0]], [one[-1][0]]) > SEEN,
        all(map(torch.equal, again, one)),
    )


def no_states(encoder: Encoder) -> str | None:
    """Say whether some layer's states of some rows are not finite, or of another size than the config says."""
    found = states(encoder, rows(encoder, LENGTHS[:3]))
    if odd := next((state.shape[-1] for state in found if state.shape[-1] != encoder.d), None):
        return f"its layers' hidden states are of {encoder.d} and of {odd}"
    return None if all(state.isfinite().all() for state in found) else NOT_FINITE


def rows(encoder: Encoder, lengths: Sequence[int]) -> list[Tensor]:
    """Return rows of token ids that an encoder takes, of the given lengths or as long as it takes them."""
    drawn = np.random.default_rng(0)
    most = encoder.max_tokens or max(lengths)
    vocabulary = np.setdiff1d(np.arange(min(encoder.vocab_size, 50_000)), [encoder.padding_id])
    return [torch.from_numpy(drawn.choice(vocabulary, min(length, most))) for length in lengths]


def states(encoder: Encoder, batch: Sequence[Tensor], padding_side: str = "right") -> list[Tensor]:
    """Return every layer's states of a batch of rows, `(tokens, d)`."""
    layers = tuple(range(1, encoder.num_layers + 1))
    device = encoder.embeddings.get_parameter("weight").device
    ids, arranged = torch.cat(list(batch)).to(device), layout([len(row) for row in batch], padding_side).to(device)
    with torch.no_grad():
        hidden = encoder(ids, torch.zeros_like(ids), arranged, layers)
    return [hidden.tokens(layer) for layer in layers]


def differs(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Return by how much two lists of states differ at most, in relation to a vector's length; NaN where one is."""
    by = [
        ((x - y).norm(dim=-1) / y.norm(dim=-1).clamp_min(1e-12)).max().item() for x, y in zip(some, others, strict=True)
    ]
    return float(np.max(by))
