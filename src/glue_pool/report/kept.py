"""What a report keeps for the next one: blocks of bytes under names that say all that they were made from.

So what is found is right, whatever else has changed. A file begins with a hash of all that follows: a JSON line of its
blocks' names and bytes, and the blocks. One that is missing or damaged is no error: everything is made anew.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from glue_pool.choices import CONF
from glue_pool.results import write_atomically

FORMAT = 1
MADE_BY = ("glue-pool", "numpy", "scipy", "pyarrow", "PyYAML")  # another version of these may make something else
MOST, MOST_BYTES = 32, 300_000_000  # files that are kept, the last used, and all of them together
SUFFIX = ".kept"
CHECK = 32  # bytes of the hash


def digest(*parts: object) -> str:
    """Return a hash of texts, numbers, None, bytes, arrays (their type and shape too), and sequences of these."""
    found = hashlib.blake2b(digest_size=16)
    _add(parts, found)
    return found.hexdigest()


def _add(part: object, to: Any) -> None:
    if isinstance(part, np.ndarray):
        to.update(f"{part.dtype.str}{part.shape};".encode())
        to.update(np.ascontiguousarray(part).data)
    elif isinstance(part, bytes):
        to.update(b"%d:" % len(part))
        to.update(part)
    elif isinstance(part, tuple | list):
        to.update(b"%d[" % len(part))
        for item in part:
            _add(item, to)
    else:
        _add(repr(part).encode("utf-8", "surrogatepass"), to)


class Kept:
    """The blocks of one file: those of an earlier report, and what this one asks for, which alone stays.

    file: None keeps nothing beyond this object.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.before: Mapping[str, Any] = {} if file is None else _read(file)
        self.used: dict[str, Any] = {}
        self._new = False

    def __contains__(self, name: str) -> bool:
        return name in self.used or name in self.before

    def get(self, name: str) -> Any:
        """Return a block, None where there is none."""
        if name not in self.used:
            if name not in self.before:
                return None
            self.used[name] = self.before[name]
        return self.used[name]

    def put(self, name: str, block: bytes) -> None:
        """Keep a block."""
        self._new |= self.before.get(name) != block
        self.used[name] = block

    def numbers(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return 64-bit numbers in a row, made if they aren't there."""
        if (found := self.get(name)) is None:
            self.put(name, found := np.asarray(make(), dtype=float).tobytes())
        return np.frombuffer(found)

    def text(self, name: str, make: Callable[[], str]) -> str:
        """Return a text, made if it isn't there."""
        if (found := self.get(name)) is None:
            self.put(name, found := make().encode("utf-8", "surrogatepass"))
        return str(found, "utf-8", "surrogatepass")

    def write(self) -> None:
        """Bring to disk what was used, if that is something else than before, and drop what was not used for long.

        Raises OSError.
        """
        if self.file is None:
            return
        if not self._new and self.used.keys() == self.before.keys():
            with suppress(OSError):  # another's
                os.utime(self.file)
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps({name: len(block) for name, block in self.used.items()}) + "\n"
        parts = [head.encode(), *self.used.values()]
        write_atomically(self.file, lambda file: file.writelines([_hash(parts), *parts]))
        _drop(self.file.parent)


def _read(file: Path) -> Mapping[str, Any]:
    """Return a file's blocks, none unless all of it is as it was written."""
    try:
        content = file.read_bytes()
    except (OSError, MemoryError):
        return {}
    all_of_it = memoryview(content)
    if _hash([all_of_it[CHECK:]]) != content[:CHECK]:
        return {}
    sizes = json.loads(content[CHECK : (start := content.index(b"\n", CHECK) + 1)])
    ends = np.cumsum([start, *sizes.values()]).tolist()
    return {name: all_of_it[at:end] for name, (at, end) in zip(sizes, pairwise(ends), strict=True)}


def _hash(parts: Iterable[Any]) -> bytes:
    found = hashlib.blake2b(digest_size=CHECK)
    for part in parts:
        found.update(part)
    return found.digest()


def _drop(folder: Path) -> None:
    """Remove the files that were not used for longest, and what a report that was killed has not written to its end."""
    about: dict[Path, os.stat_result] = {}
    for file in folder.glob(f"*{SUFFIX}*"):
        with suppress(OSError):  # another report has dropped it
            about[file] = file.stat()
    newest = sorted(about, key=lambda file: about[file].st_mtime_ns, reverse=True)
    sizes = np.cumsum([about[file].st_size for file in newest])
    for file in newest[min(MOST, int(np.searchsorted(sizes, MOST_BYTES, "right"))) :]:
        with suppress(OSError):
            file.unlink()


def place(cache: Path, *of: object) -> Path:
    """Return the file of what is said by `of`, made by these very versions."""
    return cache / "report" / f"{digest(FORMAT, _made_by(), of)}{SUFFIX}"


@cache
def _made_by() -> str:
    """Return a hash of the code that makes what is kept, and of what it works with; code in a checkout may change."""
    files = [file for top in (Path(__file__).parents[1], CONF) for file in top.rglob("*.*") if file.is_file()]
    code = sorted(
        (str(file), (about := file.stat()).st_size, about.st_mtime_ns)
        for file in files
        if file.suffix in (".py", ".yaml", ".html")
    )
    return digest([version(name) for name in MADE_BY], code)
