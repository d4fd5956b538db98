"""What a report keeps for the next one: blocks of bytes under names that say all that they were made from.

So what is found is right, whatever else has changed. A file that is missing or damaged is no error: everything is made
anew.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import glue_pool
from glue_pool.choices import CONF
from glue_pool.results import write_atomically

FORMAT = 1
MADE_BY = ("glue-pool", "numpy", "scipy", "pyarrow", "PyYAML")  # another version of these may make something else
MOST = 32  # files that are kept, the last used


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
        names, blocks = np.array(list(self.used), dtype="S32"), list(self.used.values())
        ends = np.cumsum([len(block) for block in blocks], dtype=np.int64)
        content = np.frombuffer(b"".join(blocks), dtype=np.uint8)
        write_atomically(self.file, lambda file: np.savez(file, names=names, ends=ends, content=content))
        _drop(self.file.parent)


def _read(file: Path) -> Mapping[str, Any]:
    """Return a file's blocks; np.load compares its checksums."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names, ends, content = (arrays[name] for name in ("names", "ends", "content"))
        starts = [0, *ends[:-1].tolist()]
        blocks = memoryview(content)
        cut = [blocks[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
        return dict(zip(names.astype(str).tolist(), cut, strict=True))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}


def _drop(folder: Path) -> None:
    used: dict[Path, float] = {}
    for file in folder.glob("*.npz"):
        with suppress(OSError):  # another report has dropped it
            used[file] = file.stat().st_mtime
    for file in sorted(used, key=lambda file: used[file], reverse=True)[MOST:]:
        with suppress(OSError):
            file.unlink()


def place(cache: Path, *of: object) -> Path:
    """Return the file of what is said by `of`, made by these very versions."""
    return cache / "report" / f"{digest(FORMAT, _made_by(), of)}.npz"


@cache
def _made_by() -> str:
    """Return a hash of the code that makes what is kept, and of what it works with; code in a checkout may change."""
    files = [file for top in (Path(glue_pool.__file__).parent, CONF) for file in top.rglob("*.*") if file.is_file()]
    code = sorted(
        (str(file), (about := file.stat()).st_size, about.st_mtime_ns)
        for file in files
        if file.suffix in (".py", ".yaml", ".html")
    )
    return digest([version(name) for name in MADE_BY], code)
