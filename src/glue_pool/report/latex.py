"""tables.tex: booktabs tables, ready to paste."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from glue_pool.report.columns import Column, Task, units
from glue_pool.report.panels import Row, subset_label
from glue_pool.report.scan import LeftOut
from glue_pool.report.tex_text import broken, escaped, width
from glue_pool.report.verdicts import AVERAGE, Table, Verdict, versus
from glue_pool.shell import readable

Verdicts = Mapping[tuple[Row, str], Verdict]
MARKS = {"better": r"\rlap{$^{\uparrow}$}", "worse": r"\rlap{$^{\downarrow}$}"}  # others have none
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
        verdicts = table.verdicts(baseline, here)
        parts += [*_scores(table, baseline, here, verdicts), *_differences(table, baseline, here, verdicts)]
    parts.append(_comments("mind", notes))
    parts.append(_comments("left out", (f"{item.path}: {item.reason}" for item in left_out)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _comments(what: str, lines: Iterable[str]) -> str:
    found = (readable(line).encode("ascii", "backslashreplace").decode() for line in lines)
    return "\n".join(f"% {what}: {' '.join(line.split())}" for line in found)


def _scores(table: Table, baseline: str | None, tasks: Sequence[str], verdicts: Verdicts) -> Iterator[str]:
    has_average = len(table.average_tasks) > 1
    cells_of = [table.panel.cell(row, table.subset, task) for row in table.panel.rows for task in tasks]
    counts = sorted({cell.counts for cell in cells_of if cell.summary.n})
    lines: list[Line] = []
    for row in table.panel.ordered(baseline):
        cells = [_cell(table, row, task, verdicts.get((row, task)), counts) for task in tasks]
        if not any(cell.tex for cell in cells):
            continue
        if has_average:
            cells.append(_average(table, row, verdicts.get((row, AVERAGE))))
        is_baseline = verdicts and table.panel.rank(row, baseline) == 0
        lines.append((table.name(row, baseline) + " (baseline)" * bool(is_baseline), cells))
    n = f"{counts[0]} seed{'s' * (counts[0] != '1')}" if len(counts) == 1 else "seeds (n; c: collapsed, f: failed)"
    caption = (
        f"mean {{\\scriptsize$\\pm$ standard deviation}} of the dev score "
        f"{_words(units(table.columns[task] for task in tasks))} ({_metrics(table, tasks)}) over {n}. "
        f"{_arrows(versus([table], baseline)) if verdicts else ''}{_lower(table, tasks)}"
    )
    heads = [_head(table.columns[name]) for name in [*tasks, *([AVERAGE] if has_average else [])]]
    return floats(heads, lines, _place(table), caption.strip())


def _differences(table: Table, baseline: str | None, tasks: Sequence[str], verdicts: Verdicts) -> Iterator[str]:
    names = [*tasks, *([AVERAGE] if any(task == AVERAGE for _, task in verdicts) else [])]
    pairs = sorted({verdict.difference.pairs for (_, name), verdict in verdicts.items() if name in names})
    lines = [
        (
            table.name(row, baseline),
            [_interval(verdicts.get((row, name)), table.columns[name], len(pairs) > 1) for name in names],
        )
        for row in table.panel.ordered(baseline)
        if any((row, name) in verdicts for name in names)
    ]
    if not lines:
        return iter(())
    n = "paired seeds (n)" if len(pairs) > 1 else f"{pairs[0]} paired seed{'s' * (pairs[0] != 1)}"
    others = versus([table], baseline)
    caption = (
        f"difference to {_words(others)} {_words(units(table.columns[name] for name in names))}, with the "
        f"95\\,\\% confidence interval for new seeds and new dev examples, before Holm's correction, over {n}. "
        f"{_arrows(others)}{_lower(table, tasks, ', and differences are reductions: positive is better')}"
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


def _cell(table: Table, row: Row, task: str, verdict: Verdict | None, counts: Sequence[str]) -> Cell:
    cell, column = table.panel.cell(row, table.subset, task), table.columns[task]
    summary = cell.summary
    if not summary.n:
        return Cell()
    mean, std = column.text(summary.mean), "" if math.isnan(summary.std) else column.text(summary.std)
    spread = f" {{\\scriptsize$\\pm${_number(std)}}}" if std else ""
    n = "" if len(counts) == 1 else f" ({cell.counts})"
    return Cell(
        f"{_number(mean)}{spread}{n}{_mark(verdict)}",
        _width(mean) + width(n) + SCRIPT * _width(f" ±{std}" if std else ""),
    )


def _average(table: Table, row: Row, verdict: Verdict | None) -> Cell:
    if (mean := table.average_of(row)) is None:
        return Cell()
    return Cell(f"{_number(f'{mean:.2f}')}{_mark(verdict)}", _width(f"{mean:.2f}"))


def _interval(verdict: Verdict | None, column: Column, with_pairs: bool) -> Cell:
    if verdict is None:
        return Cell()
    d = verdict.difference
    ends = [] if math.isnan(d.low) else [column.text(d.low), column.text(d.high)]
    interval = f" {{\\scriptsize[{', '.join(map(_number, ends))}]}}" if ends else ""
    n = f" ({d.pairs})" if with_pairs else ""
    estimate = column.signed(d.estimate)
    em = _width(estimate) + width(n) + SCRIPT * _width(f" [{', '.join(ends)}]" if ends else "")
    return Cell(f"${estimate}${interval}{n}{_mark(verdict)}", em)


def _number(text: str) -> str:
    """Return a number with a minus where it would have a hyphen."""
    return text.replace("-", "$-$")


def _width(number: str) -> float:
    return width(number.replace("-", "\N{MINUS SIGN}"))


def _mark(verdict: Verdict | None) -> str:
    """Return the mark of a verdict."""
    shown = {1: "better", -1: "worse"}.get(verdict.sign, "") if verdict else ""
    return MARKS.get(shown, "")


def _arrows(others: str) -> str:
    return (
        f"Arrows: better or worse than {_words(others)} at 5\\,\\% after Holm's correction over a row's tasks "
        "(the average: a test of its own)."
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
