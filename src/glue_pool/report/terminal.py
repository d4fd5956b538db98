"""The tables that a person sees on a terminal, and what to mind about them."""

import io
import math
import shutil
from collections.abc import Collection, Sequence
from typing import TextIO

import numpy as np

from glue_pool.progress import is_terminal, printable, say
from glue_pool.report import remarks
from glue_pool.report.columns import Column, Task, units
from glue_pool.report.panels import Row, counted, subset_label
from glue_pool.report.study import Study
from glue_pool.report.verdicts import AVERAGE, Family, Mark, Table, power, versus
from glue_pool.shell import one_line
from glue_pool.stats import Summary

WIDTH = 120  # where nobody says how wide a terminal is
Minded = Collection[tuple[Row, str]]  # rows and columns
GAP = 3  # between columns
MOST_SEEDS = 1000  # that are named: more is as good as never
LISTED = 20  # notes, and things left out, that are shown; the page has all
MINDED = "!"  # behind a mark: there is something to mind of it
MARKS: dict[Mark, str] = {"better": "▲", "worse": "▼", "equivalent": "≈", "": ""}
NOT_COMPARED = "°"
ASCII = str.maketrans({"±": "+-", "▲": "^", "▼": "v", "≈": "=", "°": "*"})  # for a terminal that has no others


class Recorded(io.StringIO):
    """Takes what is shown as a file would show it."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The file's."""
        return self._file.encoding

    def isatty(self) -> bool:
        """Whether the file is a terminal."""
        return self._file.isatty()


def looks(file: TextIO) -> tuple[str, int]:
    """Return all of a file that what is shown there depends on: its encoding, and its width in characters."""
    return file.encoding, shutil.get_terminal_size().columns if is_terminal(file) else WIDTH


def show(study: Study, tables: Sequence[Table], baseline: str | None, tasks: Sequence[str], file: TextIO) -> None:
    """Print a table for every encoder and subset, what is not compared, the notes and what was left out."""
    families = [table.family(baseline) for table in tables]
    for table, family in zip(tables, families, strict=True):
        _show(table, family, baseline, [task for task in tasks if task in table.tasks], file)
    say(_signs(_legend(study, tables, families, baseline, tasks), file), file)
    alone = [line for table, family in zip(tables, families, strict=True) for line in _uncompared(table, family, tasks)]
    _list(f"not compared ({_signs(NOT_COMPARED, file)})", alone, file)
    _list("mind", study.notes, file)
    _list("left out", [f"{item.path}: {item.reason}" for item in study.left_out], file)


def _legend(
    study: Study, tables: Sequence[Table], families: Sequence[Family], baseline: str | None, tasks: Sequence[str]
) -> str:
    n = " and ".join(f"{of}s" for of in dict.fromkeys(counted(table.subset) for table in tables))
    lines = [
        f"mean ± standard deviation {units([study.tasks[task] for task in tasks])} (n {n}; c: collapsed, f: failed, "
        "u: of the n, not in comparisons)"
    ]
    margin = tables[0].margin
    if any(family.verdicts for family in families):
        lines += [
            f"then the difference to {versus(tables, baseline)}, on the seeds that both have (n pairs, where fewer)",
            f"{MARKS['better']} better, {MARKS['worse']} worse for new seeds and new dev examples: right in 95 % for "
            "the whole table, its rows, tasks and average",
            f"{MARKS['equivalent']} within ±{margin:g} points: right in 95 % for each difference by itself; "
            f"{NOT_COMPARED} not compared, {MINDED} mind: said below",
        ]
        if any(table.subset[0] is not None for table in tables):
            lines.append("not for another draw of the train rows, where draws are not pooled")
    if any(verdict.difference.seed_std > 0 for family in families for verdict in family.verdicts.values()):
        lines += [
            "the last two lines, medians over methods: the true gain that these seeds find 4 times in 5, and",
            f"the paired seeds that a gain of {margin:g} points would take, from as few to as many as these leave open",
            "(never: too few dev examples)",
        ]
    return "\n".join(f"  {line}" for line in lines)


def _show(table: Table, family: Family, baseline: str | None, tasks: Sequence[str], file: TextIO) -> None:
    ordered = table.panel.ordered(baseline)
    rows = [row for row in ordered if any(table.panel.cell(row, table.subset, t).runs for t in tasks)]
    averaged = [task for task in tasks if task in table.average_tasks]
    shown = [*tasks, *([AVERAGE] if len(averaged) > 1 else [])]
    minded = remarks.cautions(table, baseline)
    columns = [
        (_head(table, column, averaged), [_cell(table, family, minded, row, column, averaged) for row in rows])
        for column in shown
    ]
    names = [table.name(row, baseline) for row in rows]
    if any(verdict.difference.seed_std > 0 for verdict in family.verdicts.values()):
        names += ["gain found at 80 %", f"{counted(table.subset)}s for {table.margin:g} points"]
        for column, (_, cells) in zip(shown, columns, strict=True):
            whole = column != AVERAGE or averaged == table.average_tasks
            cells += [("", text) for text in (_power(table, family, column) if whole else ["", ""])]
    say(f"\n  {table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}\n", file)
    _print(names, columns, file)


def _print(names: Sequence[str], columns: Sequence[tuple[str, Sequence[tuple[str, str]]]], file: TextIO) -> None:
    """Print columns, each its head and its cells of two parts, in as many parts of a table as the width takes."""
    left = [_aligned(_signs(head, file), [tuple(_signs(part, file) for part in cell) for cell in cells])
            for head, cells in columns]  # fmt: skip
    labels = max(len(name) for name in ["method", *names])
    _, width = looks(file)
    while left:
        part = [left.pop(0)]
        while left and labels + sum(len(column[0]) + GAP for column in [*part, left[0]]) <= width - 2:
            part.append(left.pop(0))
        for label, *cells in zip(["method", *names], *part, strict=True):
            say(f"  {label:{labels}}{''.join(' ' * GAP + cell for cell in cells)}".rstrip(), file)
        say("", file)


def _aligned(head: str, cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a column's lines, all of one width: its head, then means and differences below each other."""
    means, differences = (max(map(len, of)) for of in zip(*cells, strict=True))
    gap = 2 if means and differences else 0
    lines = [f"{mean:>{means}}{' ' * gap}{difference:>{differences}}" for mean, difference in cells]
    width = max(len(head), means + gap + differences)
    return [f"{line:>{width}}" for line in (head, *lines)]


def _power(table: Table, family: Family, column: str) -> list[str]:
    """Return the gain that these seeds find with a power of 80 %, and the seeds that the margin takes: medians."""
    of = [v.difference for (_, name), v in family.verdicts.items() if name == column and v.difference.seed_std > 0]
    if not of:
        return ["", ""]
    found = power(of, table, column)
    gain = table.columns[column].text(float(np.nanmedian([one.detectable for one in found])))
    if not table.columns[column].in_points:
        return [gain, ""]
    seeds, fewest, most = (
        float(np.median([getattr(one, name) for one in found])) for name in ("seeds", "fewest", "most")
    )
    if (low := _count(fewest)) == (high := _count(most)):
        return [gain, low]
    return [gain, f"{_count(seeds)} ({low} to {high})"]


def _count(seeds: float) -> str:
    return "never" if math.isinf(seeds) else f"{seeds:.0f}" if seeds <= MOST_SEEDS else f"over {MOST_SEEDS}"


def _head(table: Table, name: str, averaged: Sequence[str]) -> str:
    column = table.columns[name]
    if not isinstance(column, Task):
        return column.title if list(averaged) == table.average_tasks else f"average of these {len(averaged)}"
    return f"{name} ({column.metric.name}{'' if column.in_points else f', {column.unit}'})"


def _cell(
    table: Table, family: Family, minded: Minded, row: Row, name: str, averaged: Sequence[str]
) -> tuple[str, str]:
    """Return `57.40 ± 0.96 (5)`, and beside it `+1.20▲`."""
    column = table.columns[name]
    if name != AVERAGE:
        cell = table.panel.cell(row, table.subset, name)
        if not (cell.runs or cell.failed):
            return "", ""
        uncounted = len(table.uncounted.get((name, row), ()))
        return _mean(cell.summary, column, uncounted), _difference(table, family, minded, row, name, cell.summary.n)
    summary = table.average(row, averaged)
    if summary is None:
        return "", ""
    whole = list(averaged) == table.average_tasks  # of fewer tasks there is the mean alone
    return _mean(summary, column), _difference(table, family, minded, row, name, summary.n) if whole else ""


def _mean(summary: Summary, column: Column, uncounted: int = 0) -> str:
    spread = f" ± {column.text(summary.std)}" if summary.n > 1 else ""
    mean = f"{column.text(summary.mean)}{spread} " if summary.n else ""
    return f"{mean}({summary.counts}{f', {uncounted}u' if uncounted else ''})"


def _difference(table: Table, family: Family, minded: Minded, row: Row, column: str, n: int) -> str:
    verdict = family.verdicts.get((row, column))
    mark = NOT_COMPARED if (row, column) in family.not_compared else MARKS[verdict.mark] if verdict else ""
    mark += MINDED * ((row, column) in minded)
    if verdict is None:
        return mark
    pairs = verdict.difference.pairs
    return f"{table.columns[column].signed(verdict.difference.estimate)}{f' ({pairs})' if pairs != n else ''}{mark:1}"


def _uncompared(table: Table, family: Family, tasks: Sequence[str]) -> list[str]:
    """Say of each cell with scores and without a verdict why, one reason a line."""
    cells: dict[str, dict[str, list[str]]] = {}
    for (row, column), reason in family.not_compared.items():
        if column in tasks or (column == AVERAGE and set(table.average_tasks) <= set(tasks)):
            name = "average" if column == AVERAGE else column
            cells.setdefault(reason, {}).setdefault(row.label, []).append(name)
    where = f"{table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}"
    said = {
        reason: "; ".join(f"{label} on {', '.join(names)}" for label, names in of.items())
        for reason, of in cells.items()
    }
    return [f"{where}: {which}: {reason}" for reason, which in said.items()]


def _signs(text: str, file: TextIO) -> str:
    return text if printable(text, file) == text else text.translate(ASCII)


def _list(title: str, lines: Sequence[str], file: TextIO) -> None:
    if not lines:
        return
    say(f"\n  {title}", file)
    for line in lines[:LISTED]:
        say(f"    {one_line(line)}", file)
    if len(lines) > LISTED:
        say(f"    and {len(lines) - LISTED} more, which the page lists", file)
