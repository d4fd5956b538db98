"""What an earlier report has left: runs as their files said, in an index; what it computed of them; its own files."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glue_pool import components
from glue_pool.report import kept, scan
from glue_pool.report.folders import Place
from glue_pool.report.kept import Kept, digest
from glue_pool.report.predicted import About
from glue_pool.report.scan import UNREADABLE, LeftOut, Run
from glue_pool.report.study import Study

INDEX = "index"
STATE, CLASSES = "state", "classes"
SHARED = ("environment", "task", "settings")  # what many runs have alike: a line refers to it


class Known:
    """What an earlier report has left in a file, and what this one finds out; without a file only the latter.

    A line of the index counts as long as the stamps of the run's files are the same (`folders.Stamp`).
    """

    def __init__(self, file: Path | None = None) -> None:
        self.kept = Kept(file)
        self.abouts: dict[Path, About] = {}  # of predictions, by the run's folder
        self._read: list[tuple[Place, Run]] = []
        head, *lines = self.kept.text(INDEX, lambda: "{}").splitlines()
        self._shared: dict[str, Any] = json.loads(head)
        there = unchanged(self._shared.pop("classes", {}))
        self._lines = {name: line for name, _, line in (line.partition("\t") for line in lines)} if there else {}

    def run(self, place: Place) -> Run | LeftOut:
        """Return the run in a folder, read where nothing is known of it."""
        line = self._lines.get(_name(place))
        found = self._of_line(place, line) if line else scan.read(place.path)
        if isinstance(found, Run):
            self._read.append((place, found))
        return found

    def _of_line(self, place: Place, line: str) -> Run:
        result, planned, findings, about, *at = json.loads(line)
        environment, task, settings = (self._shared[name][i] for name, i in zip(SHARED, at, strict=True))
        if about:
            self.abouts[place.path] = About(*about)
        return Run(place.path, result, environment, task, settings, planned, tuple(findings))

    def write(self, now: int) -> None:
        """Leave what is known for another report; now: when this one began to look at the files, in ns.

        Raises OSError.
        """
        self.kept.put(INDEX, self._index(now).encode())
        self.kept.write()

    def _index(self, now: int) -> str:
        """Return lines of the runs whose files had settled, and are JSON that reads back as it was."""
        runs = [(place, run) for place, run in self._read if place.settled(now)]
        shared: dict[str, dict[str, int]] = {name: {} for name in SHARED}
        texts_of: dict[int, str | None] = {}  # by id: most runs have one and the same
        lines = []
        for place, run in runs:
            parts = [getattr(run, name) for name in SHARED]
            for part in parts:
                if id(part) not in texts_of:
                    texts_of[id(part)] = _text(part)
            texts = [texts_of[id(part)] for part in parts]
            if None in texts:
                continue
            at = [of.setdefault(text, len(of)) for text, of in zip(texts, shared.values(), strict=True) if text]
            about = self.abouts.get(run.folder)
            known = [about.wrong, about.rows, about.logits] if about and about.lasting else None
            lines.append(f"{_name(place)}\t{json.dumps([run.result, run.planned, run.findings, known, *at])}")
        head = {name: [json.loads(text) for text in of] for name, of in shared.items()}
        return "\n".join([json.dumps({**head, "classes": declared(classes(run for _, run in runs))}), *lines])


class Finished:
    """A report as it was shown and written, for the next one on files that are the same.

    cache: None keeps nothing. asked: all that it depends on beside the files.
    """

    def __init__(self, cache: Path | None, there: Sequence[Place], asked: object) -> None:
        self._there = there
        self._state = digest(repr([(str(of.path), of.real, of.stamps, str(of.error or "")) for of in there])).encode()
        self._kept = Kept(cache and kept.place(cache, "finished", asked))

    def contents(self) -> dict[str, bytes] | None:
        """Return what was shown and written, by file; None where there is nothing, or something has changed since."""
        if self._kept.get(STATE) != self._state or not unchanged(json.loads(bytes(self._kept.get(CLASSES)))):
            return None
        found = {name: bytes(self._kept.get(name)) for name in self._kept.before}
        self._kept.write()
        return {name: content for name, content in found.items() if name not in (STATE, CLASSES)}

    def keep(self, contents: Mapping[str, bytes], study: Study, now: int) -> None:
        """Keep a report, if another look at the same files would find the same; now: when it began to look, in ns.

        Raises OSError.
        """
        passing = any(item.reason.startswith(UNREADABLE) for item in study.left_out)
        if not passing and all(of.settled(now) for of in self._there):
            said = json.dumps(declared(classes(study.runs))).encode()
            for name, content in {STATE: self._state, CLASSES: said, **contents}.items():
                self._kept.put(name, content)
            self._kept.write()


def classes(runs: Iterable[Run]) -> set[str]:
    """Return the classes of one's own that runs are made of: their settings are completed by what these say."""
    distinct = {id(run.settings): run.settings for run in runs}.values()
    named = {str(value) for of in distinct for key, value in of.items() if key.endswith("._target_")}
    return {name for name in named if "." in name}


def declared(of: Collection[str]) -> dict[str, str]:
    """Return what classes of one's own say of themselves."""
    return {name: repr(components.in_source(name)) for name in sorted(of)}


def unchanged(said: Mapping[str, str]) -> bool:
    """Whether classes say of themselves what they did."""
    return declared(said) == said


def _name(place: Place) -> str:
    return json.dumps([place.real, place.stamps])


def _text(content: Mapping[str, Any]) -> str | None:
    """Return this as JSON; None where that does not give it back, such as a date in YAML."""
    try:
        text = json.dumps(content)
        return text if json.loads(text) == content else None
    except (TypeError, ValueError):
        return None
