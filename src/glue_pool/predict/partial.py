"""What is done of an output: FILE.partial has its whole rows, FILE.partial.json says what they depend on.

The same command goes on after the last whole row; rows are added a window at a time and are on the disk then.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from glue_pool.errors import NotWritten, UserError
from glue_pool.predict.table import Table, Values, partial


class Partial:
    """The rows of an output while not all of them are there."""

    def __init__(self, output: Path, table: Table) -> None:
        self.output = output
        self.file = partial(output)
        self.about = self.file.with_name(f"{self.file.name}.json")
        self._table = table

    def begin(self, identity: Mapping[str, Any], *, goes_on: bool, force: bool) -> int:
        """Return how many rows are there already of the same thing; others are refused, or with force removed.

        identity: all that the rows depend on. goes_on: whether they can be gone on with; else they are removed.
        """
        rows = 0
        if self.file.exists():
            if differing := self._differing(identity):
                if not force:
                    raise UserError(f"{self.file}: {differing}; --force starts over, or name another --output")
                self.remove()
            elif goes_on:
                rows, size = self._table.end_of_rows(self.file)
                with self._writing():
                    os.truncate(self.file, size)
            else:
                self.remove()
        if not rows:
            try:
                with self._writing():
                    _durably(self.about, (json.dumps(identity, indent=2) + "\n").encode(), "wb")
                    _durably(self.file, self._table.head, "wb")
            except NotWritten:
                self.remove()
                raise
        return rows

    def add(self, rows: Sequence[Values]) -> None:
        """Add rows, which are on the disk after it; raises NotWritten where it is full."""
        with self._writing():
            _durably(self.file, self._table.encode(rows), "ab")

    def kept(self) -> int:
        """Return how many whole rows are there."""
        return self._table.end_of_rows(self.file)[0] if self.file.exists() else 0

    def values(self) -> Iterator[Values]:
        """Yield the numbers of the rows."""
        return self._table.values(self.file)

    def finish(self) -> None:
        """Give the output its name: from here on nothing is partial."""
        with self._writing():
            if self.output.suffix.lower() == ".parquet":
                made = self.file.with_name(f"{self.file.name}.parquet")
                try:
                    self._table.to_parquet(self.file, made)
                    os.replace(made, self.output)
                finally:
                    made.unlink(missing_ok=True)
            else:
                os.replace(self.file, self.output)
        self.remove()

    def remove(self) -> None:
        """Remove what is there of the output."""
        for file in (self.file, self.about):
            with suppress(FileNotFoundError):
                file.unlink()

    def _differing(self, identity: Mapping[str, Any]) -> str | None:
        """Say what is there of another thing than the identity's; None where it is of the same."""
        try:
            there = json.loads(self.about.read_text(encoding="utf-8"))
            assert isinstance(there, dict)
        except (OSError, ValueError, AssertionError):
            return f"is there, and no readable {self.about.name} says what it is of"
        for name, value in json.loads(json.dumps(identity)).items():
            if there.get(name) != value:
                shown = "" if name in ("models", "input") else f" ({there.get(name)} there, {value} now)"
                what = WORDS.get(name) or "another " + name.replace("_", " ")
                return f"is of {what}{shown}"
        return None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = f"can't be written ({error.strerror}): {self.kept_line()}"
            raise NotWritten(f"{self.file}: {said}; mend that and run the same command again") from error

    def kept_line(self) -> str:
        """Say how many rows are kept, and where."""
        kept = self.kept()
        return f"{kept:,} rows are kept in {self.file}" if kept else "no rows are kept"


WORDS = {"models": "other models", "input": "another input", "columns": "other columns", "classes": "other classes"}


def _durably(file: Path, content: bytes, mode: str) -> None:
    with io.FileIO(file, mode) as raw:
        left = memoryview(content)
        while left:
            left = left[raw.write(left) :]
        os.fsync(raw.fileno())
