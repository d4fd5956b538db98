"""How many CPU threads compute a batch: as many as are fastest at the moment, found by trying.

The threads of one process wait for each other thousands of times a step, and where something else runs on one of their
cores, all wait until it is done with its slice of time: beside one busy process two threads are half as fast as one
(docs/speed.md). Numbers are the same on any number of threads up to a bound (`models.steady`, `unsplit`), so it may
change between two batches.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

OWN = torch.get_num_threads()  # torch's own choice, before a run makes another
MOST = 4  # by default: with more, the terms of a sum are shared out in some products
WARM_UP = 2  # batches of a kind, the first of which are slow
SHORTEST, LONGEST = 2, 64  # batches between two tries
GAIN = 1.05  # by which another number has to be faster
BUSY = 0.9  # a smaller share of the threads' time on their cores means that something else ran there


def unsplit(d: int) -> int:
    """Return how many threads share out the elements of a product, and never the terms of one, in a training.

    Of an encoder of width d, in batches of up to 16,384 tokens: tried from 64 to 768 (tests/models/test_steady.py).
    """
    return MOST if d >= 256 else 2 if d >= 128 else 1


def use(most: int) -> None:
    """Let what follows use at most so many threads."""
    global _crew
    torch.set_num_threads(most)
    _crew = Crew(most)


@contextmanager
def computing(kind: str, work: int) -> Iterator[None]:
    """Compute a batch inside the block; kind: of batches whose speeds are alike; work: its tokens."""
    torch.set_num_threads(_crew.threads(kind))
    wall, busy = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        torch.set_num_threads(_crew.most)
    seconds = time.perf_counter() - wall
    _crew.learn(work / seconds, (time.process_time() - busy) / seconds)


class Crew:
    """Decides on the number of threads from the speed of batches: one number is in use, a neighbour is tried at times.

    Tries are further and further apart while they find nothing better.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._numbers = sorted({most, *(2**i for i in range(most.bit_length()))})
        self._at = len(self._numbers) - 1
        self._trying: int | None = None
        self._kind = ""
        self._gap = SHORTEST
        self._begin()

    def _begin(self) -> None:
        """Count batches, and their speeds, anew."""
        self._speeds: deque[float] = deque(maxlen=4)
        self._batches = 0  # since then

    def threads(self, kind: str) -> int:
        """Return how many threads the next batch gets."""
        if kind != self._kind:
            self._kind, self._trying = kind, None
            self._begin()
            self._batches = -WARM_UP
        number: int = self._numbers[self._at if self._trying is None else self._trying]
        return number

    def learn(self, speed: float, cores: float) -> None:
        """Take in the speed of the batch, in work a second, and how many cores it kept busy on average."""
        self._batches += 1
        if self._trying is not None:
            better = speed > GAIN * sum(self._speeds) / len(self._speeds)
            if better:
                self._at = self._trying
                self._begin()
            self._gap = SHORTEST if better else min(2 * self._gap, LONGEST)
            self._trying, self._batches = None, 0
        elif self._batches > 0:
            self._speeds.append(speed)
            if self._batches >= self._gap:
                self._trying = self._neighbour(cores)

    def _neighbour(self, cores: float) -> int | None:
        """Return which other number is worth a try now."""
        disturbed = self._at > 0 and cores < BUSY * self._numbers[self._at]
        if disturbed:
            return self._at - 1
        if self._at + 1 < len(self._numbers):
            return self._at + 1
        return self._at - 1 if self._at > 0 and self._batches >= LONGEST else None


_crew = Crew(min(OWN, MOST))
