"""The lines of one file of a submission: what is wrong with them, lines that follow each other with a fault as one."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from glue_pool.submission.official import HEADER, HIGHEST, LOWEST, File

INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
SHOWN = 1000  # faults of one file that are named, and stretches of one that are
LONG = 30  # characters of a value that are shown
BOM = b"\xef\xbb\xbf"


@dataclass
class Found:
    """What a file holds: how often each value is there (of scores, how many), their range, and its faults.

    faults: each begins with its place, `, line 7: …`, or with `: ` where it is of the whole file.
    """

    values: Counter[str] = field(default_factory=Counter)
    lowest: float = math.inf
    highest: float = -math.inf
    faults: list[str] = field(default_factory=list)


class _Faults:
    """Faults of lines as they come: those of one kind in lines that follow each other are one."""

    def __init__(self) -> None:
        self._open: dict[str, list[int]] = {}  # first and last line
        self._examples: dict[str, str] = {}
        self._closed: list[tuple[int, int, str, str]] = []
        self._more: Counter[str] = Counter()  # lines beyond those that are named

    def add(self, line: int, said: str, value: str = "") -> None:
        stretch = self._open.get(said)
        if stretch is not None and stretch[1] == line - 1:
            stretch[1] = line
            return
        self._close(said)
        self._open[said], self._examples[said] = [line, line], value

    def _close(self, said: str) -> None:
        if (stretch := self._open.pop(said, None)) is None:
            return
        if len(self._closed) < SHOWN:
            self._closed.append((stretch[0], stretch[1], said, self._examples[said]))
        else:
            self._more[said] += stretch[1] - stretch[0] + 1

    def named(self) -> Iterator[str]:
        for said in list(self._open):
            self._close(said)
        for first, last, said, value in sorted(self._closed):
            place = f"line {first}" if first == last else f"lines {first} to {last}"
            shown = value if len(value) <= LONG else f"{value[:LONG]}…"
            example = "" if not value else f" ({shown!r})" if first == last else f" ({shown!r} in the first)"
            yield f", {place}: {said}{example}"
        for said, lines in self._more.items():
            yield f", {lines:,} lines more: {said}"


class _Index:
    """Which indices came, and in which order."""

    def __init__(self, rows: int) -> None:
        self._seen = bytearray(rows)
        self._last = -1

    def wrong(self, text: str) -> str | None:
        """Return what is wrong with the index of the next row."""
        if not INDEX.fullmatch(text):
            return "the index is no whole number"
        index = int(text)
        if index >= len(self._seen):
            return f"the index is outside 0 to {len(self._seen) - 1}"
        if self._seen[index]:
            return "the index was there before"
        self._seen[index] = 1
        before, self._last = self._last, index
        return "the index is out of order" if index < before else None

    def missing(self) -> list[tuple[int, int]]:
        """Return the stretches of indices that didn't come."""
        found, at = [], self._seen.find(0)
        while at != -1:
            end = self._seen.find(1, at)
            end = len(self._seen) if end == -1 else end
            found.append((at, end - 1))
            at = self._seen.find(0, end)
        return found


def look(content: bytes, file: File) -> Found:
    """Look at what a file holds."""
    found, faults, index, rows = Found(), _Faults(), _Index(file.rows), 0
    if content.startswith(BOM):
        faults.add(1, "a byte order mark before the header")
        content = content[len(BOM) :]
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    texts = _texts(lines, faults)
    header: tuple[int, str | None] = next(texts, (1, ""))
    if header[1] is not None and header[1] != HEADER:
        faults.add(1, "the header is not index and prediction with a tab between them", header[1])
        if INDEX.fullmatch(header[1].partition("\t")[0]):  # no header: the first row
            texts = itertools.chain([header], texts)
    for number, text in texts:
        if text is None:
            rows += 1
            continue
        if not text.strip():
            faults.add(number, "blank")
            continue
        rows += 1
        cells = text.split("\t")
        if said := index.wrong(cells[0]):
            faults.add(number, said, cells[0])
        if len(cells) != 2:
            faults.add(number, f"{len(cells)} {'column' if len(cells) == 1 else 'columns'} instead of 2")
        elif said := _wrong_value(cells[1], file):
            faults.add(number, said, cells[1])
        else:
            _count(cells[1], file, found)
    found.faults += faults.named()
    if rows != file.rows:
        found.faults.append(f": {rows:,} rows, GLUE's test split has {file.rows:,}")
    gaps = index.missing()
    for first, last in gaps[:SHOWN]:
        what = f"index {first} is" if first == last else f"indices {first} to {last} are"
        found.faults.append(f": {what} missing")
    if more := gaps[SHOWN:]:
        found.faults.append(f": {sum(last - first + 1 for first, last in more):,} indices more are missing")
    return found


def _texts(lines: list[bytes], faults: _Faults) -> Iterator[tuple[int, str | None]]:
    """Yield each line's number and text, None for one that is no text."""
    for number, raw in enumerate(lines, 1):
        line = raw
        if b"\r" in line:
            faults.add(number, "has a carriage return; lines end with a line feed alone")
            line = line.removesuffix(b"\r")
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError:
            faults.add(number, "no UTF-8")
            yield number, None


def _wrong_value(text: str, file: File) -> str | None:
    """Return what is wrong with a prediction, in words that are the same for the same fault."""
    values = file.values.values()
    if not file.labels:
        return _wrong_score(text)
    if text in values:
        return None
    wanted = f"{', '.join(list(values)[:-1])} or {list(values)[-1]}"
    if text.strip() in values:
        return f"blanks around the prediction; it is {wanted}"
    if file.by_name and text.isdecimal():
        return f"a number instead of a label's name: {wanted}"
    if not file.by_name and text in file.labels:
        return f"a label's name instead of its number: {wanted}"
    return f"the prediction is not {wanted}"


def _wrong_score(text: str) -> str | None:
    if not NUMBER.fullmatch(text):
        return f"the prediction is no number from {LOWEST:g} to {HIGHEST:g}"
    if not LOWEST <= float(text) <= HIGHEST:
        return f"the prediction is outside {LOWEST:g} to {HIGHEST:g}"
    return None


def _count(text: str, file: File, found: Found) -> None:
    if file.labels:
        found.values[text] += 1
    else:
        score = float(text)
        found.values[""] += 1
        found.lowest, found.highest = min(found.lowest, score), max(found.highest, score)
