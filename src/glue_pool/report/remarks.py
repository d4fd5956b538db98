"""What a reader has to know of a table's marks: what they may be owed to, and what they rest on."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from glue_pool import stats
from glue_pool.report.panels import Row, counted, subset_label
from glue_pool.report.verdicts import AVERAGE, Table, Verdict
from glue_pool.stats import Difference, Side

WORDS = {"better": "better", "worse": "worse", "equivalent": "equivalent", "": "not shown to differ"}


def of_table(table: Table, baseline: str | None, tasks: Sequence[str]) -> list[str]:
    """Return a line for each thing to mind of the marks against a baseline on these tasks, and on their average."""
    shown = {*tasks, *([AVERAGE] if set(table.average_tasks) <= set(tasks) else [])}
    where = f"{table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}"
    columns_of: dict[tuple[str, str], list[str]] = {}
    for (row, column), lines in cautions(table, baseline).items():
        for line in lines if column in shown else ():
            columns_of.setdefault((row.label, line.removeprefix(f"{row.label}: ")), []).append(_name(column))
    said = [f"{label} on {', '.join(columns)}: {line}" for (label, line), columns in columns_of.items()]
    return [
        f"{where}: {line}" for line in [*said, *_failures(table, baseline, shown), *_drivers(table, baseline, shown)]
    ]


def cautions(table: Table, baseline: str | None) -> dict[tuple[Row, str], list[str]]:
    """Return what the interval of a verdict does not know of, by row and column (`stats.cautions`).

    Of runs that collapsed that is said of every verdict; of those that are missing, or collapse elsewhere, at a mark.
    """
    found: dict[tuple[Row, str], list[str]] = {}
    if counted(table.subset) == "draw":  # of one of which a caution knows nothing
        return found
    for (row, column), verdict in table.family(baseline).verdicts.items():
        other = table.baseline_of(row, baseline)
        if other is None or table.panel.mishaps.isdisjoint((row, other)):
            continue
        tasks = table.average_tasks if column == AVERAGE else [column]
        names = {1: row.label, -1: other.label}
        lines = [
            caution.line(names[caution.of])
            for caution in stats.cautions(*_sides(table, column, tasks, other, row))
            if caution.kind == "seen" or (verdict.mark and verdict.sign in (0, caution.of))
        ]
        if lines:
            found[row, column] = lines
    return found


def without_each(table: Table, baseline: str | None) -> dict[tuple[Row, str], Difference]:
    """Return the average's difference without each of its tasks in turn, of rows whose average is marked."""
    found: dict[tuple[Row, str], Difference] = {}
    for (row, column), verdict in table.family(baseline).verdicts.items():
        other = table.baseline_of(row, baseline)
        if column == AVERAGE and verdict.sign and other is not None:
            found |= {(row, task): d for task, d in table.without_each(row, other).items()}
    return found


def _sides(table: Table, column: str, tasks: Sequence[str], baseline: Row, method: Row) -> tuple[Side, Side]:
    """Return both rows' scores and collapses of the seeds that both were run with."""
    scores = [_by_seed(table, column, tasks, row) for row in (baseline, method)]
    asked = [of.keys() for of in scores if of is not None]
    seeds = sorted(set(asked[0]).intersection(*asked[1:])) if asked else [0]
    return (
        _side(table, column, tasks, baseline, scores[0], seeds),
        _side(table, column, tasks, method, scores[1], seeds),
    )


def _by_seed(table: Table, column: str, tasks: Sequence[str], row: Row) -> dict[int, float] | None:
    """Return a row's scores by seed, NaN of a failed run; None of a row that is the same whatever the seed."""
    seeds, scores = table.scores[column, row]
    if seeds is None:
        return None
    failed = (run for task in tasks for run in table.panel.cell(row, table.subset, task).without_score)
    return {run.result["seed"]: math.nan for run in failed} | dict(zip(seeds, scores.actual.tolist(), strict=True))


def _side(
    table: Table,
    column: str,
    tasks: Sequence[str],
    row: Row,
    scores: Mapping[int, float] | None,
    seeds: Sequence[int],
) -> Side:
    cells = [table.panel.cell(row, table.subset, task) for task in tasks]
    collapsed = {run.result["seed"] for cell in cells for run in cell.runs if run.result["collapsed"]}
    fixed = float(table.scores[column, row][1].actual[0])
    return Side(
        np.array([fixed if scores is None else scores[seed] for seed in seeds]),
        np.array([seed in collapsed for seed in seeds]),
        _elsewhere(table, tasks, row),
        float(np.mean([table.chance.get(task, math.nan) for task in tasks])),
    )


def _elsewhere(table: Table, tasks: Sequence[str], row: Row) -> tuple[int, int]:
    """Return how many of a row's runs on other tasks and subsets collapsed, and how many there are."""
    here = [table.panel.cell(row, table.subset, task) for task in tasks]
    collapsed, runs = table.panel.collapses[row]
    return collapsed - sum(cell.summary.collapsed for cell in here), runs - sum(len(cell.runs) for cell in here)


def _failures(table: Table, baseline: str | None, shown: Collection[str]) -> Iterator[str]:
    """Say where a mark is another if failed runs count at the score of a constant prediction."""
    for (row, column), verdict in table.family(baseline).verdicts.items():
        other = verdict.with_failures
        if other and other.mark != verdict.mark and column in shown:
            here, there = (f"{WORDS[of.mark]} ({_shown(table, column, of)})" for of in (verdict, other))
            how = "with failed runs at a constant prediction's score"
            yield f"{row.label} on {_name(column)}: {here}, but {there} {how}"


def _shown(table: Table, column: str, verdict: Verdict) -> str:
    d = verdict.difference
    return f"{table.columns[column].signed(d.estimate)}, {d.pairs} pairs"


def _drivers(table: Table, baseline: str | None, shown: Collection[str]) -> Iterator[str]:
    """Say which single tasks a marked average rests on: without one its interval is no longer on the same side of 0."""
    text = table.columns[AVERAGE].signed
    rests: Mapping[tuple[Row, str], Difference] = without_each(table, baseline)
    for (row, task), d in rests.items() if AVERAGE in shown else ():
        sign = table.family(baseline).verdicts[row, AVERAGE].sign
        if min(sign * d.low, sign * d.high) <= 0:
            shown = f"{text(d.estimate)} ({text(d.low)} to {text(d.high)})"
            yield f"{row.label} on the average: without {task} it is {shown}"


def _name(column: str) -> str:
    return "the average" if column == AVERAGE else column
