"""tables.tex: booktabs tables, ready to paste."""

import math
from collections.abc import Iterator, Sequence

from glue_pool.report.study import Row, subset_label
from glue_pool.report.verdicts import AVERAGE, Table, Verdict

NAMES = {
    "cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "qqp": "QQP",
    "mnli": "MNLI", "qnli": "QNLI", "rte": "RTE", "wnli": "WNLI",
}  # fmt: skip
MARKS = {1: r"\rlap{$^{\uparrow}$}", -1: r"\rlap{$^{\downarrow}$}", 0: ""}
SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
})  # fmt: skip


def tables_tex(tables: Sequence[Table], baseline: str, tasks: Sequence[str]) -> str:
    """Return the scores and the differences of every encoder and subset."""
    parts = ["% \\usepackage{booktabs} goes into the preamble; wide tables fit with \\resizebox or table*."]
    for table in tables:
        here = [task for task in tasks if task in table.panel.tasks]
        parts += [_scores(table, baseline, here), _differences(table, baseline, here)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return text as LaTeX prints it."""
    return text.translate(SPECIAL)


def _scores(table: Table, baseline: str, tasks: Sequence[str]) -> str:
    verdicts = table.verdicts(baseline, tasks)
    has_average = len(table.average_tasks) > 1
    seeds = sorted({len(table.panel.cell(row, table.subset, t).runs) for row in table.panel.rows for t in tasks} - {0})
    lines = []
    for row in table.panel.rows:
        cells = [_cell(table, row, task, verdicts.get((row, task)), seeds) for task in tasks]
        if not any(cells):
            continue
        if has_average:
            cells.append(_average(table, row, verdicts.get((row, AVERAGE))))
        lines.append(" & ".join([escaped(row.label), *cells]))
    if not lines:
        return ""
    n = f"{seeds[0]} seed{'s' * (seeds[0] > 1)}" if len(seeds) == 1 else "seeds in brackets"
    caption = (
        f"{_place(table)}: mean {{\\scriptsize$\\pm$ standard deviation}} of the dev score in points over {n}. "
        f"Arrows: better or worse than {escaped(baseline)} at 5\\,\\% after Holm's correction over tasks."
    )
    heads = [_name(task) for task in tasks] + ([f"average of {len(table.average_tasks)}"] if has_average else [])
    return _tabular(["method", *heads], lines, caption)


def _differences(table: Table, baseline: str, tasks: Sequence[str]) -> str:
    verdicts = table.verdicts(baseline, tasks)
    names = [*tasks, *([AVERAGE] if any(task == AVERAGE for _, task in verdicts) else [])]
    lines = [
        " & ".join([escaped(row.label), *(_interval(verdicts.get((row, name))) for name in names)])
        for row in table.panel.rows
        if any((row, name) in verdicts for name in names)
    ]
    if not lines:
        return ""
    caption = (
        f"{_place(table)}: difference to {escaped(baseline)} in points, with the 95\\,\\% confidence interval for new "
        "seeds and new dev examples (before Holm's correction)."
    )
    return _tabular(["method", *(_name(name) for name in names)], lines, caption)


def _tabular(heads: Sequence[str], lines: Sequence[str], caption: str) -> str:
    return "\n".join(_lines(heads, lines, caption))


def _lines(heads: Sequence[str], lines: Sequence[str], caption: str) -> Iterator[str]:
    yield "\\begin{table}\n  \\centering"
    yield f"  \\caption{{{caption}}}"
    yield f"  \\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}\n    \\toprule"
    yield f"    {' & '.join(heads)} \\\\\n    \\midrule"
    yield from (f"    {line} \\\\" for line in lines)
    yield "    \\bottomrule\n  \\end{tabular}\n\\end{table}"


def _cell(table: Table, row: Row, task: str, verdict: Verdict | None, seeds: Sequence[int]) -> str:
    summary = table.panel.cell(row, table.subset, task).summary
    if not summary.n:
        return ""
    spread = "" if math.isnan(summary.std) else f" {{\\scriptsize$\\pm${summary.std:.2f}}}"
    n = "" if len(seeds) == 1 else f" ({summary.n})"
    return f"{summary.mean:.2f}{spread}{n}{MARKS[verdict.sign if verdict else 0]}"


def _average(table: Table, row: Row, verdict: Verdict | None) -> str:
    if (mean := table.average_of(row)) is None:
        return ""
    return f"{mean:.2f}{MARKS[verdict.sign if verdict else 0]}"


def _interval(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    d = verdict.difference
    interval = "" if math.isnan(d.low) else f" {{\\scriptsize[{d.low:.2f}, {d.high:.2f}]}}"
    return f"${d.estimate:+.2f}${interval}{MARKS[verdict.sign]}"


def _place(table: Table) -> str:
    return escaped(f"{table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}")


def _name(task: str) -> str:
    return NAMES.get(task, escaped(task))
