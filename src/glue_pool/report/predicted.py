"""What a run predicted, by content: known from an earlier report, and read where the numbers themselves are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glue_pool.errors import UserError
from glue_pool.report.kept import Kept, digest
from glue_pool.report.scan import UNREADABLE, LeftOut, Predictions, Run, no_comparison, read_predictions


@dataclass(frozen=True)
class About:
    """What a file of predictions holds, in hashes."""

    wrong: str | None  # why it is of no use; then there is nothing else
    rows: str = ""  # of idx, labels and the shape of the outputs
    logits: str = ""

    @property
    def lasting(self) -> bool:
        """Whether another look at the same file would find the same."""
        return self.wrong is None or not self.wrong.startswith(UNREADABLE)


class Predicted:
    """A run's predictions; about: what is known of them, None where the file has to be read for that."""

    def __init__(self, run: Run, about: About | None) -> None:
        self.run = run
        self.about = _about(self.run, self._read) if about is None else about

    @property
    def unusable(self) -> LeftOut | None:
        """Why the file is of no use."""
        return None if self.about.wrong is None else no_comparison(self.run, self.about.wrong)

    @property
    def there(self) -> Predictions:
        """The numbers; raises UserError where the file has been changed since the report began."""
        if isinstance(self._read, LeftOut) or _about(self.run, self._read) != self.about:
            raise UserError(f"{self.run.folder / 'predictions.parquet'}: changed during the report; run it again")
        return self._read

    def differs(self, other: "Predicted", kept: Kept) -> str | None:
        """`Predictions.differs`."""
        if self.about.rows == other.about.rows:
            return None
        name = digest("differs", self.about.rows, other.about.rows)
        return kept.text(name, lambda: self.there.differs(other.there) or "") or None

    @cached_property
    def _read(self) -> Predictions | LeftOut:
        return read_predictions(self.run)


def _about(run: Run, found: Predictions | LeftOut) -> About:
    if isinstance(found, LeftOut):
        return About(found.reason)
    alone = None if np.isfinite(found.labels).all() else str(run.folder)  # not even equal to themselves
    return About(None, digest(found.idx, found.labels, found.outputs.shape, alone), found.digest)


def most_common(found: Sequence[Predicted], kept: Kept) -> Predicted | None:
    """Return predictions on the dev rows that most runs have, of as many the first."""
    counts: dict[str, int] = {}
    firsts: list[Predicted] = []
    of_rows: dict[str, Predicted] = {}
    for item in found:
        rows = item.about.rows
        if rows not in of_rows:
            same = next((of for of in firsts if item.differs(of, kept) is None), None)
            of_rows[rows] = same or item
            firsts += [] if same else [item]
        counts[of_rows[rows].about.rows] = counts.get(of_rows[rows].about.rows, 0) + 1
    return max(firsts, key=lambda item: counts[item.about.rows]) if firsts else None
