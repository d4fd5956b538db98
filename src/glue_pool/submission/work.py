"""Predictions of a submission under way: FILE.zip.partial has each file's rows so far, and what they depend on."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_pool.data.rows import Rows
from glue_pool.errors import NotWritten, UserError
from glue_pool.locks import Lease
from glue_pool.predict import identity, models, table
from glue_pool.predict.job import Job
from glue_pool.predict.models import Models
from glue_pool.predict.partial import Partial
from glue_pool.predict.reading import Row
from glue_pool.predict.table import Table
from glue_pool.progress import say
from glue_pool.submission import archive, official, splits
from glue_pool.submission.official import FILES, File
from glue_pool.submission.runs import Part


@dataclass(frozen=True)
class Settings:
    """How is predicted, as `predict` has it."""

    data: str | None
    batch_size: int
    window: int
    device: str
    precision: str
    classes: Sequence[type]


@dataclass(frozen=True)
class Begun:
    """A file's rows so far; about: what they depend on."""

    part: Part
    partial: Partial
    table: Table
    about: Mapping[str, Any]


class Work:
    """The files of a submission that are predicted, those of one task's models one after another."""

    def __init__(self, output: Path, hashes: Mapping[str, str], parts: Sequence[Part], settings: Settings) -> None:
        self._output = output
        self._hashes = hashes  # of the rows, by file
        self._settings = settings
        self.folder = table.partial(output)
        self._groups: dict[tuple[Path, ...], list[Part]] = {}
        for part in parts:
            self._groups.setdefault(tuple(part.models), []).append(part)
        self._begun: dict[str, Begun] = {}

    def check(self) -> None:
        """Load each task's models, one task's at a time, and refuse those that are none, or none of their run."""
        for folders, parts in self._groups.items():
            loaded = self._load(folders)
            for part in parts:
                said = list(part.runs[0].task["labels"])
                if loaded.task.labels != said:
                    raise UserError(f"{folders[0]}: its labels aren't those of its run's config ({', '.join(said)})")
                options = {"batch_size": self._settings.batch_size, "window": self._settings.window}
                about = identity.identity(loaded, self._hashes[part.file.name], options, self._settings.classes)
                place = self.folder / f"{Path(part.file.name).stem}.csv"
                of_file = Table.of(loaded.task, place)
                self._begun[part.file.name] = Begun(part, Partial(place, of_file), of_file, about)
            del loaded  # before the next are there, too

    def run(self, lease: Lease, *, force: bool) -> None:
        """Predict what is not there yet."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: can't be made ({error.strerror}); name another --output") from None
        done = {
            name: begun.partial.begin(begun.about, goes_on=True, force=force) for name, begun in self._begun.items()
        }
        for folders, parts in self._groups.items():
            left = [part for part in parts if done[part.file.name] < part.file.rows]
            for part in parts:
                if part not in left:
                    say(f"{part.file.name}: {part.file.rows:,} rows were there already", sys.stdout)
            if not left:
                continue
            loaded = self._load(folders)
            for part in left:
                self._predict(loaded, part, done[part.file.name], lease)
            del loaded

    def _load(self, folders: Sequence[Path]) -> Models:
        return models.load(
            folders, self._settings.classes, device=self._settings.device, precision=self._settings.precision
        )

    def _predict(self, loaded: Models, part: Part, done: int, lease: Lease) -> None:
        name, found = part.file.name, splits.read(part, self._settings.data)
        if found.fingerprint() != self._hashes[name]:
            raise UserError(f"{name}: its test split was changed since this command began; run it again")
        job = Job(loaded, self._begun[name].partial, None, name, done, False, self._settings.batch_size)
        job.run(_rows(found), self._settings.window, lease, len(found))
        say(f"{name}: {job.summary()}", sys.stdout)

    def finish(self, lease: Lease) -> None:
        """Write the zip, files without predictions filled, and remove what was partial."""
        lease.check()
        made = self.folder / "whole.zip"
        try:
            archive.write(made, ((file, self._lines(file)) for file in FILES.values()))
            os.replace(made, self._output)
        except OSError as error:
            said = f"can't be written ({error.strerror}); {self.kept_line()}"
            raise NotWritten(f"{self._output}: {said}; mend that and run the same command again") from error
        finally:
            with suppress(OSError):
                made.unlink(missing_ok=True)
        self._remove()

    def _lines(self, file: File) -> Iterator[str]:
        """Yield what is predicted for each row of a file."""
        begun = self._begun.get(file.name)
        if begun is None:
            yield from (file.filling for _ in range(file.rows))
        else:
            for first, *_ in begun.table.read(begun.partial.file):
                yield file.values[first] if file.labels else official.score(first)

    def kept_line(self) -> str:
        """Say how many rows are kept, and where."""
        kept = sum(begun.partial.kept() for begun in self._begun.values())
        return f"{kept:,} rows are kept in {self.folder}" if kept else "no rows are kept"

    def tidy(self) -> None:
        """Remove what there is of files without a row."""
        for begun in self._begun.values():
            if not begun.partial.kept():
                begun.partial.remove()
        with suppress(OSError):
            self.folder.rmdir()

    def _remove(self) -> None:
        """Remove what was partial of this output, also what an earlier command left of other files."""
        for name in FILES:
            place = table.partial(self.folder / f"{Path(name).stem}.csv")
            for file in (place, place.with_name(f"{place.name}.json")):
                with suppress(OSError):
                    file.unlink()
        with suppress(OSError):
            self.folder.rmdir()


def _rows(found: Rows) -> Iterator[Row]:
    for line, texts in enumerate(zip(*found.texts, strict=True), 1):
        yield Row(line, texts, None, (), None)
