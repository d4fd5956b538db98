"""Where runs are: the folders with a result under some roots, and the stamps that their files are known again by."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULT = "result.json"
FILES = (RESULT, "config.yaml", "manifest.json", "predictions.parquet")  # that a report reads
UNFINISHED = {*FILES[1:], "history.jsonl"}  # what a run has before its result
COARSE, FINE = 2_000_000_000, 100_000_000  # ns that two changes of a file may have the same time for

# inode, bytes, and the times in ns when the content and when anything of the file changed
Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Place:
    """A folder of a run, or one that can't be read."""

    path: Path
    real: str = ""  # without links
    stamps: tuple[Stamp | None, ...] = ()  # of FILES, None where one isn't there; nothing without a result
    error: OSError | None = None

    def settled(self, now: int) -> bool:
        """Whether its files would have other stamps if they changed after this time, in ns."""
        times = [time for stamp in self.stamps if stamp for time in stamp[2:]]
        return all(time + (FINE if time % 1_000_000_000 else COARSE) < now for time in times)


def places(roots: Sequence[Path]) -> list[Place]:
    """Return the folders of runs, each once, links followed, in the order of their names; a root's errors last."""
    seen: set[str] = set()
    found: list[Place] = []
    for root in roots:
        errors: list[Place] = []
        found += _places(os.fspath(root), os.path.realpath(root), seen, errors)
        found += errors
    return found


def _places(place: str, real: str, seen: set[str], errors: list[Place]) -> Iterator[Place]:
    if real in seen:
        return
    try:
        with os.scandir(place) as listed:
            entries = {entry.name: entry for entry in listed}
    except OSError as error:
        errors.append(Place(Path(place), error=error))
        return
    seen.add(real)
    folders = {name for name, entry in entries.items() if _is_folder(entry)}
    files = entries.keys() - folders
    if RESULT in files:
        yield Place(Path(place), real, tuple(_stamp(entries.get(name)) for name in FILES))
    elif RESULT in folders or not UNFINISHED.isdisjoint(files):
        yield Place(Path(place), real)
    for name in sorted(folder for folder in folders if not folder.startswith(".")):
        entry = entries[name]
        inner = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, name)
        yield from _places(os.path.join(place, name), inner, seen, errors)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stamp(entry: os.DirEntry[str] | None) -> Stamp | None:
    try:
        found = entry and entry.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else None
