"""Features: a split after a frozen encoder, its hidden states kept in a cache folder that many processes can share.

An entry is a folder named by what it was made from (tokens, encoder, precision). It holds all layers' [CLS] vectors,
and the tokens of some layers; each file is whole as soon as it is there.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glue_pool.data.tokens import WAY_OUT, Split
from glue_pool.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Features(Split):
    """A split whose hidden states are known; `offsets` say where each row begins in them.

    states: one array a layer, float32 or bfloat16's bits as uint16, memory-mapped: `(tokens, d)`, the rows end to end
    and each with [CLS] first, or `(rows, d)` if `a_vector_a_row`.
    pooled: whether the one array is what the pooler returns, `(rows, out_dim)`.
    """

    states: tuple[np.ndarray, ...]
    a_vector_a_row: bool
    pooled: bool


@dataclass(frozen=True)
class Entry:
    """The cached arrays of one split and one encoder."""

    path: Path

    def read(self, name: str, shape: Sequence[int]) -> np.ndarray | None:
        """Return an array, memory-mapped; None where there is none, or a damaged one."""
        try:
            array = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError):
            return None
        return array if array.shape == tuple(shape) else None

    def lacks(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Return those of the named arrays that are not there."""
        return {name: shape for name, shape in shapes.items() if self.read(name, shape) is None}

    def expect(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """Return an array that was there, or was written, a moment ago."""
        if (array := self.read(name, shape)) is None:
            raise UserError(f"{self.path / name}.npy was there and is gone; run the same command again")
        return array

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let other processes wait before they write this entry; they then find it written."""
        with self._writing():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w", encoding="utf-8")
        with lock:
            with suppress(OSError):  # a file system without locks: each process writes its own, and the last one stays
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"data.cache_dir: hidden states can't be kept in {self.path} ({error.strerror or error}); {WAY_OUT}"
            ) from None

    def write(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: np.dtype,
        fill: Callable[[Mapping[str, np.ndarray]], None],
    ) -> None:
        """Let `fill` write into new arrays of these shapes, and put each into its place once all are full.

        The caller is `alone` with the entry.
        """
        for killed in self.path.glob(".writing-*"):  # nobody else writes now
            shutil.rmtree(killed, ignore_errors=True)
        with self._writing(), tempfile.TemporaryDirectory(dir=self.path, prefix=".writing-") as temporary:
            files = {name: Path(temporary, f"{name}.npy") for name in shapes}
            arrays = {
                name: np.lib.format.open_memmap(files[name], "w+", dtype, shape) for name, shape in shapes.items()
            }
            fill(arrays)
            for name, array in arrays.items():
                array.flush()
                os.replace(files[name], self.path / files[name].name)
