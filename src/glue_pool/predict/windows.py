"""Windows: how many rows are tokenised, sorted by length and predicted together, always the same ones of an input."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from glue_pool.data.tokens import Tokens
from glue_pool.errors import UserError
from glue_pool.predict.models import Models
from glue_pool.predict.reading import Row

ROWS = 2048
CHARACTERS = 1 << 21  # of the texts of a window: a tokenizer takes some hundred bytes for each word of them


@dataclass(frozen=True)
class Window:
    """Rows that follow each other in an input; first: how many are before them."""

    first: int
    rows: Sequence[Row]

    @property
    def end(self) -> int:
        """How many rows of the input end with these."""
        return self.first + len(self.rows)

    @property
    def wrong(self) -> list[Row]:
        """The rows that can't be read."""
        return [row for row in self.rows if row.texts is None]

    @property
    def texts(self) -> list[list[str]]:
        """The columns of the rows that can be read."""
        return [list(column) for column in zip(*(row.texts for row in self.rows if row.texts is not None), strict=True)]


def windows(rows: Iterable[Row], size: int) -> Iterator[Window]:
    """Yield rows in windows, which end after `size` rows or with the row that takes them beyond `CHARACTERS`."""
    first, held, characters = 0, [], 0
    for row in rows:
        held.append(row)
        characters += sum(map(len, row.texts or ()))
        if len(held) == size or characters > CHARACTERS:
            yield Window(first, held)
            first, held, characters = first + len(held), [], 0
    if held:
        yield Window(first, held)


def tokenised(found: Iterable[Window], models: Models, done: int) -> Iterator[tuple[Window, list[Tokens] | None]]:
    """Yield windows with each model's tokens, made in a thread while the model is at work on the window before.

    None stands for those of windows whose rows are done already, the first `done` of the input, or can't be read.
    """
    with ThreadPoolExecutor(1) as thread:
        begun: tuple[Window, Future[list[Tokens]] | None] | None = None
        windows_left, ended = iter(found), None
        while begun is not None or ended is None:
            following = None
            try:
                window = next(windows_left)
                wanted = window.end > done and len(window.wrong) < len(window.rows)
                following = window, thread.submit(models.tokens, window.texts) if wanted else None
            except (StopIteration, UserError) as error:  # the window before is whole
                ended = ended or error
            if begun is not None:
                yield begun[0], None if begun[1] is None else begun[1].result()
            begun = following
        if isinstance(ended, UserError):
            raise ended


def spread(window: Window, values: np.ndarray | None) -> list[list[float] | None]:
    """Return the values of each row of a window, None for one that can't be read; values are those of the others."""
    of_readable = iter([] if values is None else values.tolist())
    return [None if row.texts is None else next(of_readable) for row in window.rows]
