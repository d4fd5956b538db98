"""What was measured, as medians with lowest and highest, and as a table in Markdown."""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmark.runner import Numbers


class Figure(NamedTuple):
    """A row of the table: what was measured, and its values over the rounds for each column, as a task."""

    what: str
    digits: int
    values: dict[str, list[float]]

    def spreads(self) -> dict[str, dict[str, float]]:
        """Return median, lowest and highest of each column."""
        return {
            column: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
            for column, values in self.values.items()
        }

    def cell(self, column: str) -> str:
        """Return `median (lowest to highest)`; nothing for a column that it lacks."""
        if column not in self.values:
            return ""
        spread = self.spreads()[column]
        median, lowest, highest = (f"{value:.{self.digits}f}" for value in spread.values())
        return f"{median} ({lowest} to {highest})"


def figure(what: str, digits: int, value: Callable[..., float], **contenders: Sequence[Sequence[Numbers]]) -> Figure:
    """Return a figure whose values come from the contenders' numbers of the same round.

    contenders: by column, the rounds of each contender that `value` takes.
    """
    return Figure(
        what,
        digits,
        {
            column: [float(value(*numbers)) for numbers in zip(*rounds, strict=True)]
            for column, rounds in contenders.items()
        },
    )


def table(figures: Sequence[Figure]) -> str:
    """Return figures as Markdown, a row each."""
    columns = list(dict.fromkeys(column for figure in figures for column in figure.values))
    rows = [[figure.what, *(figure.cell(column) for column in columns)] for figure in figures]
    lines = [["", *columns], ["---"] * (len(columns) + 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
