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
from glue_pool.hardware import Hardware
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
from glue_pool.submission.runs import Missing, Part
from glue_pool.tasks import TaskConfig


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
class LookedAt:
    """A saved model that was loaded to see whether it can be used: its task, and what it computes on."""

    task: TaskConfig
    hardware: Hardware


@dataclass(frozen=True)
class Begun:
    """A file's rows so far; about: what they depend on."""

    part: Part
    partial: Partial
    table: Table
    about: Mapping[str, Any]


class Work:
    """The files of a submission that are predicted, those of one task's models one after another."""

    def __init__(
        self,
        output: Path,
        parts: Sequence[Part],
        looked_at: Mapping[Path, LookedAt],
        hashes: Mapping[str, str],
        settings: Settings,
    ) -> None:
        self._output = output
        self._hashes = hashes  # of the rows, by file
        self._settings = settings
        self.folder = table.partial(output)
        self._groups: dict[tuple[Path, ...], list[Part]] = {}
        for part in parts:
            self._groups.setdefault(tuple(part.models), []).append(part)
        options = {"batch_size": settings.batch_size, "window": settings.window}
        self._begun: dict[str, Begun] = {}
        for part in parts:
            about = identity.identity(
                [(model, looked_at[model].hardware) for model in part.models],
                hashes[part.file.name],
                options,
                settings.classes,
            )
            place = self._place(part.file.name)
            of_file = Table.of(looked_at[part.models[0]].task, place)
            self._begun[part.file.name] = Begun(part, Partial(place, of_file), of_file, about)

    def run(self, lease: Lease, *, force: bool) -> None:
        """Predict what is not there yet."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: can't be made ({error.strerror}); name another --output") from None
        self._check_kept(force=force)
        done = {
            name: begun.partial.begin(begun.about, goes_on=True, force=force) for name, begun in self._begun.items()
        }
        for name, begun in self._begun.items():
            if done[name] > begun.part.file.rows:
                raise UserError(f"{begun.partial.file}: has more rows than {name} has; --force starts over")
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

    def _check_kept(self, *, force: bool) -> None:
        """Refuse to go on where rows are kept of files that are not to be predicted: they would be lost."""
        for name in FILES:
            place = table.partial(self._place(name))
            if name not in self._begun and place.exists():
                if not force:
                    said = f"rows of {name} are kept, which is not predicted this time"
                    raise UserError(f"{self.folder}: {said}; --force drops them, or name another --output")
                for file in self.folder.glob(f"{place.name}*"):
                    file.unlink()

    def _place(self, name: str) -> Path:
        return self.folder / f"{Path(name).stem}.csv"

    def _load(self, folders: Sequence[Path]) -> Models:
        return models.load(
            folders, self._settings.classes, device=self._settings.device, precision=self._settings.precision
        )

    def _predict(self, loaded: Models, part: Part, done: int, lease: Lease) -> None:
        name, found = part.file.name, splits.read(part, self._settings.data)
        if isinstance(found, Missing) or found.fingerprint() != self._hashes[name]:
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
        for begun in self._begun.values():
            begun.partial.remove()

    def _lines(self, file: File) -> Iterator[str]:
        """Yield what is predicted for each row of a file."""
        begun = self._begun.get(file.name)
        if begun is None:
            yield from (file.filling for _ in range(file.rows))
        else:
            for first, *_ in begun.table.read(begun.partial.file):
                if file.labels and first not in file.values:
                    raise UserError(f"{begun.partial.file}: {first!r} is no label of {file.name}; --force starts over")
                yield file.values[first] if file.labels else official.score(first)

    def kept_line(self) -> str:
        """Say how many rows are kept, and where."""
        kept = sum(begun.partial.kept() for begun in self._begun.values())
        return f"{kept:,} rows are kept in {self.folder}" if kept else "no rows are kept"

    def tidy(self) -> None:
        """Remove what there is of files without a row, and the folder where it is empty."""
        for begun in self._begun.values():
            if not begun.partial.kept():
                begun.partial.remove()
        with suppress(OSError):
            self.folder.rmdir()


def _rows(found: Rows) -> Iterator[Row]:
    for line, texts in enumerate(zip(*found.texts, strict=True), 1):
        yield Row(line, texts, None, (), None)
