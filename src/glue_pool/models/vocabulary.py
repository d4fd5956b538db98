"""Word embeddings without the rows that a task's tokens never touch.

Half of a small encoder's parameters are word embeddings, and AdamW visits all of them in every step. A row that no
token of the run names has no gradient: it takes no part in the loss, in the gradient's norm or in any logit, and AdamW
only decays it. So training on the other rows alone is exact.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from glue_pool.models.encoder import Encoder


@contextmanager
def only(encoder: Encoder, used: np.ndarray) -> Iterator[None]:
    """Train with the embeddings of the given token ids alone; afterwards the whole table is there again.

    used: sorted unique ids that batches may hold, those of padding included. Rows outside keep their start.
    """
    whole = encoder.backbone.get_input_embeddings()  # type: ignore[operator]
    if not isinstance(whole, nn.Embedding) or not whole.weight.requires_grad:
        yield
        return
    ids = torch.from_numpy(used).long().to(whole.weight.device)
    lookup = torch.full((whole.num_embeddings,), -1, device=ids.device)  # an id outside is an error, no other's row
    lookup[ids] = torch.arange(len(ids), device=ids.device)
    padding = whole.padding_idx
    part = nn.Embedding.from_pretrained(
        whole.weight.detach()[ids],
        freeze=False,
        padding_idx=None if padding is None else int(lookup[padding]),
    )
    encoder.backbone.set_input_embeddings(part)  # type: ignore[operator]
    encoder.lookup = lookup
    try:
        yield
    finally:
        with torch.no_grad():
            whole.weight[ids] = part.weight
        encoder.backbone.set_input_embeddings(whole)  # type: ignore[operator]
        encoder.lookup = None


def used_ids(*token_ids: np.ndarray, also: Sequence[int]) -> np.ndarray:
    """Return the sorted unique ids in some splits, and some more (the padding's)."""
    seen = np.zeros(1 + max([*also, *(int(ids.max()) for ids in token_ids)]), dtype=bool)
    for ids in (*token_ids, np.asarray(also, dtype=np.int64)):
        seen[ids] = True
    return np.flatnonzero(seen)
