"""A report as it was shown and written, for the next one on files that are the same."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from glue_pool.report import known
from glue_pool.report.folders import Place
from glue_pool.report.kept import Kept, digest, place
from glue_pool.report.scan import UNREADABLE
from glue_pool.report.study import Study

STATE, CLASSES = "state", "classes"


class Finished:
    """What is kept of a report; cache: None keeps nothing. asked: all that it depends on beside the files."""

    def __init__(self, cache: Path | None, there: Sequence[Place], asked: object) -> None:
        self._there = there
        self._state = digest(repr([(str(of.path), of.real, of.stamps, str(of.error or "")) for of in there])).encode()
        self._kept = Kept(cache and place(cache, "finished", asked))

    def contents(self) -> dict[str, bytes] | None:
        """Return what was shown and written, by file; None where there is nothing, or something has changed since."""
        if self._kept.get(STATE) != self._state or not known.unchanged(json.loads(bytes(self._kept.get(CLASSES)))):
            return None
        found = {name: bytes(self._kept.get(name)) for name in self._kept.before}
        self._kept.write()
        return {name: content for name, content in found.items() if name not in (STATE, CLASSES)}

    def keep(self, contents: Mapping[str, bytes], study: Study, now: int) -> None:
        """Keep a report, if another look at the same files would find the same; now: when it began to look, in ns."""
        passing = any(item.reason.startswith(UNREADABLE) for item in study.left_out)
        if not passing and all(of.settled(now) for of in self._there):
            said = json.dumps(known.declared(known.classes(study.runs))).encode()
            for name, content in {STATE: self._state, CLASSES: said, **contents}.items():
                self._kept.put(name, content)
            self._kept.write()
