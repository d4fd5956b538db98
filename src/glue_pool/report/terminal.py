"""The table that a person sees on a terminal, and what to mind about it."""

import math
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np

from glue_pool import stats
from glue_pool.progress import is_terminal, printable, say
from glue_pool.report.columns import Column, Task, units
from glue_pool.report.comparisons import GAIN
from glue_pool.report.panels import Cell, Row, subset_label
from glue_pool.report.study import Study
from glue_pool.report.verdicts import AVERAGE, Table, Verdict, versus
from glue_pool.shell import one_line
from glue_pool.stats import Difference

WIDTH = 120  # where nobody says how wide a terminal is
GAP = 3  # between columns
LISTED = 20  # notes, and things left out, that are shown; the page has all
MARKS = {1: "▲", -1: "▼", 0: ""}
ASCII = str.maketrans({"±": "+-", "▲": "^", "▼": "v"})  # for a terminal that has no others


def show(study: Study, tables: Sequence[Table], baseline: str | None, tasks: Sequence[str], file: TextIO) -> None:
    """Print a table for every encoder and subset, the notes and what was left out."""
    powerful = [_show(table, baseline, [task for task in tasks if task in table.tasks], file) for table in tables]
    shown = [study.tasks[task] for task in tasks]
    legend = f"  mean ± standard deviation {units(shown)} (n seeds; c: collapsed, f: failed)"
    if any(powerful):
        legend += (
            f"\n  {MARKS[1]} better, {MARKS[-1]} worse than {versus(tables, baseline)} for new seeds and new dev "
            "examples, at 5 %\n  after Holm's correction over a row's tasks (the average: a test of its own)\n"
            "  the last two lines, medians over methods: the true gain that these seeds find 4 times in 5, and the "
            f"paired\n  seeds that a gain of {GAIN:g} points would take (never: there are too few dev examples)"
        )
    say(_signs(legend, file), file)
    _list("mind", study.notes, file)
    _list("left out", [f"{item.path}: {item.reason}" for item in study.left_out], file)


def _show(table: Table, baseline: str | None, tasks: Sequence[str], file: TextIO) -> bool:
    """Print one table and return whether it has the power of a comparison."""
    verdicts = table.verdicts(baseline, tasks)
    ordered = table.panel.ordered(baseline)
    rows = [row for row in ordered if any(table.panel.cell(row, table.subset, t).runs for t in tasks)]
    shown = [*tasks, *([AVERAGE] if len(table.average_tasks) > 1 else [])]
    columns = {_head(table, task): [_text(table, row, task, verdicts) for row in rows] for task in shown}
    names = [table.name(row, baseline) for row in rows]
    powerful = any(verdict.difference.seed_std > 0 for verdict in verdicts.values())
    if powerful:
        names += ["gain found at 80 %", f"seeds for {GAIN:g} points"]
        for task, column in zip(shown, columns.values(), strict=True):
            column += _power(verdicts, table.columns[task])
    say(f"\n  {table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}\n", file)
    _print(names, columns, file)
    return powerful


def _print(names: Sequence[str], columns: Mapping[str, Sequence[str]], file: TextIO) -> None:
    """Print columns, heads to cells, in as many parts as the width takes."""
    left = [[_signs(text, file) for text in (head, *cells)] for head, cells in columns.items()]
    labels = max(len(name) for name in ["method", *names])
    width = shutil.get_terminal_size().columns if is_terminal(file) else WIDTH
    while left:
        part = [left.pop(0)]
        while left and labels + sum(max(map(len, column)) + GAP for column in [*part, left[0]]) <= width - 2:
            part.append(left.pop(0))
        for label, *cells in zip(["method", *names], *part, strict=True):
            aligned = (f"{cell:>{max(map(len, column)) + GAP}}" for cell, column in zip(cells, part, strict=True))
            say(f"  {label:{labels}}{''.join(aligned)}".rstrip(), file)
        say("", file)


def _power(verdicts: Mapping[tuple[Row, str], Verdict], column: Column) -> list[str]:
    """Return the gain that these seeds find with a power of 80 %, and the seeds that GAIN takes: medians over rows."""
    of = [v.difference for (_, name), v in verdicts.items() if name == column.name and v.difference.seed_std > 0]
    if not of:
        return ["", ""]
    pairs, by_seeds, by_examples = (np.array(values) for values in zip(*map(_spread, of), strict=True))
    gain = column.text(float(np.nanmedian(stats.detectable_gain(pairs, by_seeds, by_examples))))
    if not column.in_points:
        return [gain, ""]
    seeds = np.nanmedian(stats.seeds_needed(GAIN, by_seeds, by_examples))
    return [gain, f"{seeds:.0f}" if math.isfinite(seeds) else "never"]


def _spread(of: Difference) -> tuple[int, float, float]:
    return of.pairs, of.seed_std, of.example_std


def _head(table: Table, name: str) -> str:
    column = table.columns[name]
    if not isinstance(column, Task):
        return column.title
    return f"{name} ({column.metric.name}{'' if column.in_points else f', {column.unit}'})"


def _text(table: Table, row: Row, task: str, verdicts: Mapping[tuple[Row, str], Verdict]) -> str:
    verdict = verdicts.get((row, task))
    mark = MARKS[verdict.sign] if verdict else ""
    if task == AVERAGE:
        return "" if (mean := table.average_of(row)) is None else f"{mean:.2f} ({table.pairs_of(row)}){mark}"
    return _cell(table.panel.cell(row, table.subset, task), table.columns[task], mark)


def _cell(cell: Cell, column: Column, mark: str) -> str:
    """Return `57.40 ± 0.96 (5)`, with collapsed and failed runs behind n."""
    summary = cell.summary
    if not summary.n and not summary.failed:
        return ""
    spread = f" ± {column.text(summary.std)}" if summary.n > 1 else ""
    mean = f"{column.text(summary.mean)}{spread} " if summary.n else ""
    return f"{mean}({cell.counts}){mark}"


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
