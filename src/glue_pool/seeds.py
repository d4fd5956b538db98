"""Separate random streams out of one training seed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, name: str) -> int:
    """Return the seed of one named stream ("pooler", "classifier", "order", "dropout", …).

    Streams are independent: what one draws never moves another, so a pooler with more parameters changes neither
    the classifier's start nor the order of the data.
    """
    digest = hashlib.sha256(f"{name}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def drawing_from(seed: int, name: str) -> Iterator[None]:
    """Let torch's global CPU generator draw from a named stream inside the block, and as before after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, name))
        yield
