"""Word embeddings without the rows that a task's tokens never touch.

Half of a small encoder's parameters are word embeddings, and AdamW visits all of them in every step. A row that no
token of the run names has no gradient: it takes no part in the loss, in the gradient's norm or in any logit, and AdamW
only decays it. So training on the other rows alone is exact.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from glue_pool.models.encoder import Encoder


class Part(nn.Embedding):
    """Some rows of a table of embeddings, which goes by the whole table's ids; another id is an error."""

    lookup: Tensor

    def __init__(self, whole: nn.Embedding, ids: Tensor) -> None:
        lookup = torch.full((whole.num_embeddings,), -1, device=ids.device)
        lookup[ids] = torch.arange(len(ids), device=ids.device)
        row = -1 if whole.padding_idx is None else int(lookup[whole.padding_idx])
        super().__init__(
            len(ids), whole.embedding_dim, None if row < 0 else row, _weight=whole.weight.detach()[ids], _freeze=False
        )
        self.register_buffer("lookup", lookup, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors of token ids, `(..., d)`."""
        return super().forward(self.lookup[input])


@contextmanager
def only(encoder: Encoder, used: np.ndarray) -> Iterator[None]:
    """Train with the embeddings of the given token ids alone; afterwards the whole table is there again.

    used: sorted unique ids that batches may hold, those of padding included. Rows outside keep their start. A table
    that does more than look up (Gemma's scales its rows) stays whole.
    """
    whole = encoder.embeddings
    if type(whole) is not nn.Embedding or not whole.weight.requires_grad:
        yield
        return
    ids = torch.from_numpy(used).long().to(whole.weight.device)
    part = Part(whole, ids)
    encoder.backbone.set_input_embeddings(part)  # type: ignore[operator]
    try:
        yield
    finally:
        with torch.no_grad():
            whole.weight[ids] = part.weight
        encoder.backbone.set_input_embeddings(whole)  # type: ignore[operator]


def used_ids(*token_ids: np.ndarray, also: Sequence[int]) -> np.ndarray:
    """Return the sorted unique ids in some splits, and some more (the padding's)."""
    seen = np.zeros(1 + max([*also, *(int(ids.max()) for ids in token_ids)]), dtype=bool)
    for ids in (*token_ids, np.asarray(also, dtype=np.int64)):
        seen[ids] = True
    return np.flatnonzero(seen)
