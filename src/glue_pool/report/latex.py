"""tables.tex: booktabs tables, ready to paste."""

import math
from collections.abc import Iterator, Mapping, Sequence

from glue_pool.report.columns import Column, Task, units
from glue_pool.report.panels import Row, subset_label
from glue_pool.report.verdicts import AVERAGE, Table, Verdict, versus

Verdicts = Mapping[tuple[Row, str], Verdict]
MARKS = {1: r"\rlap{$^{\uparrow}$}", -1: r"\rlap{$^{\downarrow}$}", 0: ""}
SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "[": "{[}", "*": "{*}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
})  # fmt: skip


def tables_tex(tables: Sequence[Table], notes: Sequence[str], baseline: str | None, tasks: Sequence[str]) -> str:
    """Return the scores and the differences of every encoder and subset, and as comments what to mind."""
    parts = ["% \\usepackage{booktabs} goes into the preamble; wide tables fit with \\resizebox or table*."]
    for table in tables:
        here = [task for task in tasks if task in table.tasks]
        verdicts = table.family(baseline).verdicts
        parts += [_scores(table, baseline, here, verdicts), _differences(table, baseline, here, verdicts)]
    parts.append("\n".join(f"% mind: {' '.join(note.split())}" for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return text as LaTeX prints it."""
    return text.translate(SPECIAL)


def _scores(table: Table, baseline: str | None, tasks: Sequence[str], verdicts: Verdicts) -> str:
    has_average = len(table.average_tasks) > 1
    cells_of = [table.panel.cell(row, table.subset, task) for row in table.panel.rows for task in tasks]
    counts = sorted({cell.summary.counts for cell in cells_of if cell.summary.n})
    lines = []
    for row in table.panel.rows:
        cells = [_cell(table, row, task, verdicts.get((row, task)), counts) for task in tasks]
        if not any(cells):
            continue
        if has_average:
            cells.append(_average(table, row, verdicts.get((row, AVERAGE))))
        lines.append(" & ".join([escaped(table.name(row, baseline)), *cells]))
    if not lines:
        return ""
    n = f"{counts[0]} seed{'s' * (counts[0] != '1')}" if len(counts) == 1 else "seeds (n; c: collapsed, f: failed)"
    caption = (
        f"{_place(table)}: mean {{\\scriptsize$\\pm$ standard deviation}} of the dev score "
        f"{units(table.columns[task] for task in tasks)} ({_metrics(table, tasks)}) over {n}. "
        f"{_arrows(versus([table], baseline))}{_lower(table, tasks)}"
    )
    heads = [_head(table.columns[name]) for name in [*tasks, *([AVERAGE] if has_average else [])]]
    return _tabular(["method", *heads], lines, caption)


def _differences(table: Table, baseline: str | None, tasks: Sequence[str], verdicts: Verdicts) -> str:
    names = [*tasks, *([AVERAGE] if any(task == AVERAGE for _, task in verdicts) else [])]
    pairs = sorted({verdict.difference.pairs for (_, name), verdict in verdicts.items() if name in names})
    lines = []
    for row in table.panel.rows:
        if any((row, name) in verdicts for name in names):
            cells = [_interval(verdicts.get((row, name)), table.columns[name], len(pairs) > 1) for name in names]
            lines.append(" & ".join([escaped(table.name(row, baseline)), *cells]))
    if not lines:
        return ""
    n = "paired seeds (n)" if len(pairs) > 1 else f"{pairs[0]} paired seed{'s' * (pairs[0] != 1)}"
    others = versus([table], baseline)
    caption = (
        f"{_place(table)}: difference to {escaped(others)} {units(table.columns[name] for name in names)}, with the "
        f"95\\,\\% confidence interval for new seeds and new dev examples, before Holm's correction, over {n}. "
        f"{_arrows(others)}{_lower(table, tasks, ', and differences are reductions: positive is better')}"
    )
    heads = [_head(table.columns[task]) for task in tasks] + ["average"] * (AVERAGE in names)
    return _tabular(["method", *heads], lines, caption)


def _tabular(heads: Sequence[str], lines: Sequence[str], caption: str) -> str:
    return "\n".join(_lines(heads, lines, caption))


def _lines(heads: Sequence[str], lines: Sequence[str], caption: str) -> Iterator[str]:
    yield "\\begin{table}\n  \\centering"
    yield f"  \\caption{{{caption}}}"
    yield f"  \\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}\n    \\toprule"
    yield f"    {' & '.join(heads)} \\\\\n    \\midrule"
    yield from (f"    {line} \\\\" for line in lines)
    yield "    \\bottomrule\n  \\end{tabular}\n\\end{table}"


def _cell(table: Table, row: Row, task: str, verdict: Verdict | None, counts: Sequence[str]) -> str:
    cell, column = table.panel.cell(row, table.subset, task), table.columns[task]
    summary = cell.summary
    if not summary.n:
        return ""
    spread = "" if math.isnan(summary.std) else f" {{\\scriptsize$\\pm${column.text(summary.std)}}}"
    n = "" if len(counts) == 1 else f" ({cell.summary.counts})"
    return f"{column.text(summary.mean)}{spread}{n}{MARKS[verdict.sign if verdict else 0]}"


def _average(table: Table, row: Row, verdict: Verdict | None) -> str:
    if (of := table.average(row, table.average_tasks)) is None:
        return ""
    return f"{of.mean:.2f}{MARKS[verdict.sign if verdict else 0]}"


def _interval(verdict: Verdict | None, column: Column, with_pairs: bool) -> str:
    if verdict is None:
        return ""
    d = verdict.difference
    interval = "" if math.isnan(d.low) else f" {{\\scriptsize[{column.text(d.low)}, {column.text(d.high)}]}}"
    n = f" ({d.pairs})" if with_pairs else ""
    return f"${column.signed(d.estimate)}${interval}{n}{MARKS[verdict.sign]}"


def _arrows(others: str) -> str:
    return (
        f"Arrows: better or worse than {escaped(others)} at 5\\,\\% after Holm's correction over a row's tasks "
        "(the average: a test of its own)."
    )


def _place(table: Table) -> str:
    return escaped(f"{table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}")


def _head(column: Column) -> str:
    return escaped(column.title if column.in_points else f"{column.title} ({column.unit})")


def _metrics(table: Table, tasks: Sequence[str]) -> str:
    """Name the metric of each column, several columns of one together."""
    of: dict[str, list[str]] = {}
    for task in tasks:
        if isinstance(column := table.columns[task], Task):
            of.setdefault(column.metric.title, []).append(column.title)
    return escaped("; ".join(f"{metric}: {', '.join(titles)}" for metric, titles in of.items()))


def _lower(table: Table, tasks: Sequence[str], more: str = "") -> str:
    """Name the columns where lower is better, for a caption's end."""
    of_tasks = [column for task in tasks if isinstance(column := table.columns[task], Task)]
    lower = [escaped(task.title) for task in of_tasks if not task.metric.higher_is_better]
    return f" Lower is better for {', '.join(lower)}{more}." if lower else ""
