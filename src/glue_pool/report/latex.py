"""tables.tex: booktabs tables, ready to paste."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from glue_pool.report.columns import Column, Task, units
from glue_pool.report.panels import Row, counted, subset_label
from glue_pool.report.scan import LeftOut
from glue_pool.report.tex_text import broken, escaped, width
from glue_pool.report.verdicts import AVERAGE, Family, Mark, Table, versus
from glue_pool.shell import readable

MARKS: dict[Mark, str] = {
    "better": r"\rlap{$^{\uparrow}$}",
    "worse": r"\rlap{$^{\downarrow}$}",
    "equivalent": r"\rlap{$^{\approx}$}",
    "": "",
}
NOT_COMPARED = r"\rlap{$^{\circ}$}"
WIDTH = 32.5  # em of a table: an article's text is 32.9 to 34.5 em wide at 10, 11 and 12 pt
GAP = 1.2  # em beside each column
LABEL, HEAD, WORD = 16.0, 10.0, 20.0  # em at most of a row's name, a column's head, and a word of a caption
LINES = 30  # of a float, its caption not counted: an article's page has 37 or more
SCRIPT = 0.8  # times as wide as text is \scriptsize, rather more than less
INDENT = 1.0  # em of the further lines of a row's name
PREAMBLE = (
    "% The preamble needs \\usepackage{booktabs}, and nothing else. Tables are no wider than an article's text: they\n"
    "% go on below, or in a float of the same number. Where a page has two columns, table* takes the place of table."
)


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, and how many em it takes."""

    tex: str = ""
    em: float = 0.0


Line = tuple[str, Sequence[Cell]]  # a row's name, not escaped, and its cells


def tables_tex(
    tables: Sequence[Table],
    notes: Sequence[str],
    baseline: str | None,
    tasks: Sequence[str],
    left_out: Sequence[LeftOut] = (),
) -> str:
    """Return the scores and the differences of every encoder and subset, and as comments what to mind. All is ASCII."""
    parts = [PREAMBLE]
    for table in tables:
        here = [task for task in tasks if task in table.tasks]
        parts += [*_scores(table, baseline, here), *_differences(table, baseline, here)]
    parts.append(_comments("mind", notes))
    parts.append(_comments("left out", (f"{item.path}: {item.reason}" for item in left_out)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _comments(what: str, lines: Iterable[str]) -> str:
    found = (readable(line).encode("ascii", "backslashreplace").decode() for line in lines)
    return "\n".join(f"% {what}: {' '.join(line.split())}" for line in found)


def _scores(table: Table, baseline: str | None, tasks: Sequence[str]) -> Iterator[str]:
    averaged = [task for task in tasks if task in table.average_tasks]
    has_average = len(averaged) > 1
    cells_of = [table.panel.cell(row, table.subset, task) for row in table.panel.rows for task in tasks]
    counts = sorted({cell.summary.counts for cell in cells_of if cell.summary.n})
    family = table.family(baseline)
    lines: list[Line] = []
    for row in table.panel.ordered(baseline):
        cells = [_cell(table, row, task, counts) for task in tasks]
        if not any(cell.tex for cell in cells):
            continue
        if has_average:
            cells.append(_average(table, row, averaged))
        is_baseline = family.verdicts and table.panel.rank(row, baseline) == 0
        lines.append((table.name(row, baseline) + " (baseline)" * bool(is_baseline), cells))
    of = counted(table.subset)
    n = f"{counts[0]} {of}{'s' * (counts[0] != '1')}" if len(counts) == 1 else f"{of}s (n; c: collapsed, f: failed)"
    caption = (
        f"mean {{\\scriptsize$\\pm$ standard deviation}} of the dev score "
        f"{_words(units(table.columns[task] for task in tasks))} ({_metrics(table, tasks)}) over {n}. "
        f"{_lower(table, tasks).strip()}"
    )
    heads = [_head(table.columns[name]) for name in [*tasks, *([AVERAGE] if has_average else [])]]
    return floats(heads, lines, _place(table), caption.strip())


def _differences(table: Table, baseline: str | None, tasks: Sequence[str]) -> Iterator[str]:
    family = table.family(baseline)
    whole = set(table.average_tasks) <= set(tasks)  # of fewer tasks there is no verdict on the average
    names = [*tasks, *([AVERAGE] if whole and any(column == AVERAGE for _, column in family.verdicts) else [])]
    pairs = sorted({verdict.difference.pairs for (_, name), verdict in family.verdicts.items() if name in names})
    lines = [
        (table.name(row, baseline), [_verdict(family, row, table.columns[name], len(pairs) > 1) for name in names])
        for row in table.panel.ordered(baseline)
        if any((row, name) in family.verdicts for name in names)
    ]
    if not lines:
        return iter(())
    of = counted(table.subset)
    n = f"paired {of}s (n)" if len(pairs) > 1 else f"{pairs[0]} paired {of}{'s' * (pairs[0] != 1)}"
    new = "new seeds" if of == "seed" else "new draws, seeds"
    others = versus([table], baseline)
    caption = (
        f"difference to {_words(others)} {_words(units(table.columns[name] for name in names))}, with the "
        f"95\\,\\% confidence interval for {new} and new dev examples, not corrected, over {n}. "
        f"{_marks(table, others)}{_lower(table, tasks, ', and differences are reductions: positive is better')}"
    )
    heads = [_head(table.columns[task]) for task in tasks] + ["average"] * (AVERAGE in names)
    return floats(heads, lines, _place(table), caption)


def floats(heads: Sequence[str], lines: Sequence[Line], place: str, caption: str) -> Iterator[str]:
    """Yield floats of one number with as many tabulars each as LINES take; none without a line."""
    left = list(_tabulars(heads, lines)) if lines else []
    said = caption
    while left:
        height, text = left.pop(0)
        parts = [text]
        while left and height + left[0][0] <= LINES:
            of, text = left.pop(0)
            height += of
            parts.append(text)
        number = "" if said is caption else "  \\addtocounter{table}{-1}\n"
        body = "\n\n  \\medskip\n".join(parts)
        yield f"\\begin{{table}}\n{number}  \\centering\n  \\caption{{{place}: {said}}}\n{body}\n\\end{{table}}"
        said = "continued."


def _tabulars(heads: Sequence[str], lines: Sequence[Line]) -> Iterator[tuple[int, str]]:
    """Yield tabulars of as many columns and rows as WIDTH and LINES take, each with the lines of its height."""
    heads_of = [broken(head, HEAD) for head in heads]
    widths = [GAP + max([*map(width, head), *(cells[at].em for _, cells in lines)]) for at, head in enumerate(heads_of)]
    room = min(LABEL, max(WIDTH - GAP - max(widths), LABEL / 2))
    labels = [_label(name, room) for name, _ in lines]
    of_labels = GAP + max(width("method"), *(em for _, em, _ in labels))
    at = 0
    while at < len(heads):
        end = at + 1
        while end < len(heads) and of_labels + sum(widths[at : end + 1]) <= WIDTH:
            end += 1
        tall = max(map(len, heads_of[at:end]))
        head = ["method", *(_stacked(of, "b", "r") for of in heads_of[at:end])]
        body: list[str] = []
        height = tall + 1
        for (label, _, of_label), (_, cells) in zip(labels, lines, strict=True):
            if body and height + of_label > LINES:
                yield height, _tabular(head, body)
                body, height = [], tall + 1
            body.append(" & ".join([label, *(cell.tex for cell in cells[at:end])]))
            height += of_label
        yield height, _tabular(head, body)
        at = end


def _label(name: str, room: float) -> tuple[str, float, int]:
    """Return a row's name, broken where it is too long, its em, and its lines."""
    if width(name) <= room:
        return escaped(name), width(name), 1
    first, *more = broken(name, room - INDENT)
    em = max([width(first), *(INDENT + width(of) for of in more)])
    return _stacked([first, *more], "t", "l", "\\quad "), em, 1 + len(more)


def _stacked(lines: Sequence[str], at: str, side: str, indent: str = "") -> str:
    text = [escaped(line) for line in lines]
    if len(text) == 1:
        return text[0]
    body = f" \\\\ {indent}".join(text)
    return rf"\begin{{tabular}}[{at}]{{@{{}}{side}@{{}}}}{body}\end{{tabular}}"


def _tabular(heads: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([
        f"  \\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}\n    \\toprule",
        f"    {' & '.join(heads)} \\\\\n    \\midrule",
        *(f"    {line} \\\\" for line in lines),
        "    \\bottomrule\n  \\end{tabular}",
    ])  # fmt: skip


def _cell(table: Table, row: Row, task: str, counts: Sequence[str]) -> Cell:
    cell, column = table.panel.cell(row, table.subset, task), table.columns[task]
    summary = cell.summary
    if not summary.n:
        return Cell()
    mean, std = column.text(summary.mean), "" if math.isnan(summary.std) else column.text(summary.std)
    spread = f" {{\\scriptsize$\\pm${_number(std)}}}" if std else ""
    n = "" if len(counts) == 1 else f" ({cell.summary.counts})"
    return Cell(
        f"{_number(mean)}{spread}{n}",
        _width(mean) + width(n) + SCRIPT * _width(f" ±{std}" if std else ""),
    )


def _average(table: Table, row: Row, averaged: Sequence[str]) -> Cell:
    of = table.average(row, averaged)
    if of is None or not of.n:
        return Cell()
    return Cell(_number(f"{of.mean:.2f}"), _width(f"{of.mean:.2f}"))


def _verdict(family: Family, row: Row, column: Column, with_pairs: bool) -> Cell:
    at = row, column.name
    mark = NOT_COMPARED if at in family.not_compared else ""
    if (verdict := family.verdicts.get(at)) is None:
        return Cell(mark)
    d = verdict.difference
    ends = [] if math.isnan(d.low) else [column.text(d.low), column.text(d.high)]
    interval = f" {{\\scriptsize[{', '.join(map(_number, ends))}]}}" if ends else ""
    n = f" ({d.pairs})" if with_pairs else ""
    estimate = column.signed(d.estimate)
    em = _width(estimate) + width(n) + SCRIPT * _width(f" [{', '.join(ends)}]" if ends else "")
    return Cell(f"${estimate}${interval}{n}{mark or MARKS[verdict.mark]}", em)


def _number(text: str) -> str:
    """Return a number with a minus where it would have a hyphen."""
    return text.replace("-", "$-$")


def _width(number: str) -> float:
    return width(number.replace("-", "\N{MINUS SIGN}"))


def _marks(table: Table, others: str) -> str:
    return (
        f"$\\uparrow$, $\\downarrow$: better or worse than {_words(others)}, right for the whole table in 95\\,\\%; "
        f"$\\approx$: within $\\pm${table.margin:g} points, right in 95\\,\\% for each difference by itself; "
        "$\\circ$: not compared."
    )


def _place(table: Table) -> str:
    return _words(f"{table.panel.encoder}, {table.panel.kind}, {subset_label(table.subset)}")


def _head(column: Column) -> str:
    return column.title if column.in_points else f"{column.title} ({column.unit})"


def _words(text: str) -> str:
    """Return text for a caption, in which a word that is too long for a line may be broken."""
    return " ".join(r"\allowbreak{}".join(map(escaped, broken(word, WORD))) for word in text.split())


def _metrics(table: Table, tasks: Sequence[str]) -> str:
    """Name the metric of each column, several columns of one together."""
    of: dict[str, list[str]] = {}
    for task in tasks:
        if isinstance(column := table.columns[task], Task):
            of.setdefault(column.metric.title, []).append(column.title)
    return _words("; ".join(f"{metric}: {', '.join(titles)}" for metric, titles in of.items()))


def _lower(table: Table, tasks: Sequence[str], more: str = "") -> str:
    """Name the columns where lower is better, for a caption's end."""
    of_tasks = [column for task in tasks if isinstance(column := table.columns[task], Task)]
    lower = [_words(task.title) for task in of_tasks if not task.metric.higher_is_better]
    return f" Lower is better for {', '.join(lower)}{more}." if lower else ""
