"""How many CPU threads compute a batch: as many as are fastest at the moment, found by trying.

The threads of one process wait for each other thousands of times a step, and where something else runs on one of their
cores, all wait until it is done with its slice of time (docs/speed.md). Numbers are the same on any number of threads
up to a bound (`models.steady`, `unsplit`), so it may change between two batches.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

OWN = torch.get_num_threads()  # torch's own choice, before a run makes another
MOST = 4  # by default: with more, the terms of a sum are shared out in some products
WARM_UP = 2  # batches of a kind, the first of which are slow
SHORTEST, LONGEST = 2, 64  # batches between two tries
GAIN = 1.05  # by which another number has to be faster
BUSY = 0.9  # a smaller share of the threads' time on their cores means that something else ran there,
CROWDED = 0.6  # and one as small as this, that they wait for each other most of the time
SPARE = 0.4  # of a core may be busy and count as idle
TICKS = 0.05  # seconds, in which the system's clock ticks some times


def unsplit(d: int) -> int:
    """Return how many threads share out the elements of a product, and never the terms of one, in a training.

    Of an encoder of width d, in batches of up to 16,384 tokens: tried from 64 to 768 (tests/models/test_steady.py).
    """
    return MOST if d >= 256 else 2 if d >= 128 else 1


def use(most: int) -> None:
    """Let what follows use at most so many threads."""
    global _crew
    torch.set_num_threads(most)
    _crew = Crew(most, _idle)


@contextmanager
def computing(kind: str, work: int) -> Iterator[None]:
    """Compute a batch inside the block; kind: of batches whose speeds are alike; work: its tokens."""
    before = torch.get_num_threads()
    torch.set_num_threads(_crew.threads(kind))
    wall, busy = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        torch.set_num_threads(before)
    seconds = time.perf_counter() - wall
    _crew.learn(work / seconds, (time.process_time() - busy) / seconds)


class Crew:
    """Decides on the number of threads: one number is in use, a neighbour is tried at times and kept if it is faster.

    Fewer are tried where the threads don't get their cores; more only where cores are idle, since beside other work a
    single batch on more threads can take fifty times as long. Tries that find nothing are further and further apart.

    idle: says how many cores have had nothing to do since it was asked before, None if it can't say.
    """

    def __init__(self, most: int, idle: Callable[[], float | None]) -> None:
        self.most = most
        self._idle = idle
        self._numbers = sorted({most, *(2**i for i in range(most.bit_length()))})
        free = self._idle()
        fitting = [i for i, number in enumerate(self._numbers) if free is None or number - 1 <= free + SPARE]
        self._at = fitting[-1]
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
        number = self._numbers[self._at]
        if self._trying is not None:
            better = speed > GAIN * sum(self._speeds) / len(self._speeds)
            if better:
                self._at = self._trying
                self._begin()
            self._gap = SHORTEST if better else min(2 * self._gap, LONGEST)
            self._trying, self._batches = None, 0
        elif number > 1 and cores < CROWDED * number:  # whatever it costs on fewer, it is less
            self._at -= 1
            self._begin()
            self._gap = SHORTEST
        elif self._batches > 0:
            self._speeds.append(speed)
            if self._batches >= self._gap:
                self._trying = self._neighbour(cores)

    def _neighbour(self, cores: float) -> int | None:
        """Return which other number is worth a try now."""
        number = self._numbers[self._at]
        if number > 1 and cores < BUSY * number:
            return self._at - 1
        if number < self.most:
            free, more = self._idle(), self._numbers[self._at + 1] - number
            return self._at + 1 if free is None or more <= free + SPARE else None
        return self._at - 1 if number > 1 and self._batches >= LONGEST else None


class Idle:
    """How many of the cores that this process may use have had nothing to do, on average since it was asked before."""

    def __init__(self) -> None:
        self._before = _idle_seconds()

    def __call__(self) -> float | None:
        """Return the cores; None where the system doesn't say, or for a tick or two."""
        now = _idle_seconds()
        if now is None or self._before is None or now[0] - self._before[0] < TICKS:
            return None
        (at, idle), (began, before) = now, self._before
        self._before = now
        return (idle - before) / (at - began)


def _idle_seconds() -> tuple[float, float] | None:
    """Return the time, and how long this process's cores have been idle, or at work for what has a low priority."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            lines = [line.split() for line in file if line.startswith("cpu") and line[3].isdigit()]
    except OSError:  # not Linux
        return None
    own = os.sched_getaffinity(0)
    ticks = sum(int(nice) + int(idle) + int(wait) for cpu, _, nice, _, idle, wait, *_ in lines if int(cpu[3:]) in own)
    return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK")


_idle = Idle()
_crew = Crew(min(OWN, MOST), _idle)
