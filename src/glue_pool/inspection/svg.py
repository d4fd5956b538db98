"""An inspection as one SVG file: no script, no font and no link of its own, legible on white and on black."""

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.cells import cell_len

from glue_pool.disk import check_room, missing
from glue_pool.errors import UserError
from glue_pool.inspection.sentences import Inspection
from glue_pool.inspection.splits import Overview
from glue_pool.inspection.terminal import METHODS
from glue_pool.results import write_text
from glue_pool.shell import one_line, readable

STYLE = """
  .paper { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif } .faint { fill: #59636e }
  .mark { fill: #0969da } .line { stroke: #59636e; fill: none } .grid { fill: #59636e; fill-opacity: .12 }
  .right { fill: #1a7f37 } .wrong { fill: #bc4c00 } .end { text-anchor: end } .mid { text-anchor: middle }
  .head { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } text { fill: #e6edf3 } .faint { fill: #9198a1 } .mark { fill: #4493f8 }
    .line { stroke: #9198a1 } .grid { fill: #9198a1 } .right { fill: #3fb950 } .wrong { fill: #db6d28 }
  }
"""
NO_XML = re.compile("[\ufffe\uffff]")
CHAR, LINE, EDGE = 7, 18, 16  # pixels: a letter, a line, the margin
NAME = 22  # letters of a token, at most
COLUMNS = {30: 34, 80: 16, math.inf: 7}  # up to so many columns of cells, and how wide each is
BAR = 190
TOP = EDGE + 5 * LINE  # of the cells
CELLS = 6000  # of heads, layers and tokens, at most


def check(file: str | Path, *, force: bool) -> Path:
    """Return the file that is to be written; UserError if it is there already, and not `force`, or can't be."""
    path = Path(file)
    if path.is_dir():
        raise UserError(f"--svg {file}: is a folder; name a file in it")
    if path.exists() and not force:
        raise UserError(f"--svg {file}: is there already; --force replaces it")
    if path.suffix.lower() != ".svg":
        raise UserError(f"--svg {file}: its name has to end in .svg")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--svg {file}: {missing(path.absolute().parent)} for it")
    check_room(path.absolute().parent, 1_000_000, f"--svg {file}", "choose another file")
    return path


def write(file: Path, drawn: str) -> None:
    """Write a picture, whole or not at all."""
    try:
        write_text(file, drawn)
    except OSError as error:
        raise UserError(f"--svg {file}: can't be written ({error.strerror}); choose another file") from None


@dataclass(frozen=True)
class _Block:
    """Columns of cells: their name, what each is, and `(columns, tokens)`; the darkest cell is `most`."""

    name: str
    columns: Sequence[str]
    shares: np.ndarray
    most: float


def _blocks(found: Inspection) -> list[_Block]:
    """Return a block for the mean over heads and one a head; where those are too many cells, heads have one column."""
    mean, layers = found.shares.mean(0), [f"layer {layer}" for layer in found.layers]
    if len(found.shares) == 1:
        return [_Block("", layers, mean, float(mean.max()))]
    whole = found.shares.size <= CELLS
    of_heads, columns = (found.shares, layers) if whole else (found.shares.sum(1, keepdims=True), ["all layers"])
    most = float(of_heads.max())
    heads = [_Block(f"head {i}", columns, shares, most) for i, shares in enumerate(of_heads, 1)]
    return [_Block("all heads", layers, mean, most if whole else float(mean.max())), *heads]


def of_row(found: Inspection) -> str:
    """Draw a row: a line a token, a column a layer, and a block of columns a head beside that of their mean."""
    blocks = _blocks(found)
    columns = sum(len(block.columns) for block in blocks)
    cell = next(size for most, size in COLUMNS.items() if columns <= most)
    names = [_short(token) for token in found.tokens]
    left = EDGE + CHAR * max(map(cell_len, names)) + 8
    parts = [*_said(found, blocks), *_tokens(names, found, left)]
    x = left + 44
    for block in blocks:
        parts += _cells(block, found.tokens, x, cell)
        x += max(cell * len(block.columns), CHAR * len(block.name)) + 14
    return _document(max(x, 520), TOP + LINE * len(names) + EDGE, f"{found.pooler} on {found.task}", parts)


def _said(found: Inspection, blocks: Sequence[_Block]) -> Iterator[str]:
    said = f"score {found.score:.3f}" if found.score is not None else f"prediction: {found.label or 'no label'}"
    if found.label is not None and found.label in found.probabilities:
        said += f" ({found.probabilities[found.label]:.3f})"
    yield _text(EDGE, EDGE + 12, f"{said}, {found.pooler} on {found.task}", "head")
    cut = "; the texts are cut" if found.truncated else ""
    yield _text(EDGE, EDGE + 12 + LINE, f"% of the pooled vector, {METHODS[found.method]}{cut}", "faint")
    first, last = blocks[0], blocks[-1]
    darkest = f"columns: layers; the darkest cell is {100 * first.most:.1f} %"
    if last.columns != first.columns:
        darkest += f", that of the heads, all layers in one, {100 * last.most:.1f} %"
    yield _text(EDGE, EDGE + 12 + 2 * LINE, darkest, "faint")


def _tokens(names: Sequence[str], found: Inspection, left: int) -> Iterator[str]:
    totals = 100 * found.shares.mean(0).sum(0)
    for i, (name, total) in enumerate(zip(names, totals, strict=True)):
        y = TOP + LINE * i + 13
        yield _text(left - 6, y, name, "end")
        yield _text(left + 36, y, f"{total:.1f}", "end faint")


def _cells(block: _Block, tokens: Sequence[str], x: int, cell: int) -> Iterator[str]:
    yield _text(x, TOP - LINE - 4, block.name, "head")
    size = f'width="{cell * len(block.columns)}" height="{LINE * len(tokens)}"'
    yield f'<rect class="grid" x="{x}" y="{TOP}" {size}/>'
    for j, (column, shares) in enumerate(zip(block.columns, block.shares, strict=True)):
        if cell >= 16 and column.startswith("layer "):
            yield _text(x + cell * (j + 0.5), TOP - 4, column.removeprefix("layer "), "mid faint")
        for i, (token, share) in enumerate(zip(tokens, shares, strict=True)):
            where = f'x="{x + cell * j}" y="{TOP + LINE * i}" width="{cell - 1}" height="{LINE - 1}"'
            title = f"<title>{_safe(f'{token}, {column}: {100 * share:.2f} %')}</title>"
            yield f'<rect class="mark" {where} fill-opacity="{share / max(block.most, 1e-9):.3f}">{title}</rect>'


def of_split(found: Overview) -> str:
    """Draw a split: a panel of bars for layers, positions and kinds of tokens, and one by head if there are several."""
    panels = [(by, _bars(found, by)) for by, names in found.groups.items() if len(names) > 1 or len(found.groups) == 1]
    if found.heads > 1:
        by = "token" if "token" in found.groups else "layer"
        panels.append((f"{by}, by head", _heads(found, by)))
    top, wide = EDGE + 5 * LINE, 100 + BAR + 110
    columns = min(2, len(panels))
    parts: list[str] = list(_heading(found))
    y = top
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        for i, (title, (lines, _)) in enumerate(row):
            x = EDGE + i * wide
            parts += [f'<g transform="translate({x} {y})">', _text(0, 12, f"by {title}", "head"), *lines, "</g>"]
        y += max(height for _, (_, height) in row) + 2 * LINE
    return _document(EDGE * 2 + max(columns * wide, 640), y, f"{found.pooler} on {found.task}", parts)


def _heading(found: Overview) -> Iterator[str]:
    rows = f"{found.rows} of {found.of_rows}" if found.rows < found.of_rows else str(found.rows)
    yield _text(EDGE, EDGE + 12, f"{found.pooler} on {found.task}, {rows} rows of {found.split}", "head")
    yield _text(EDGE, EDGE + 12 + LINE, f"% of the pooled vector, {METHODS[found.method]}", "faint")
    legend = (
        "bar and whisker: mean and standard deviation over rows; upright line: if each layer and token gave the same"
    )
    yield _text(EDGE, EDGE + 12 + 2 * LINE, legend, "faint")
    if (right := found.spread.get("correct")) and (wrong := found.spread.get("wrong")):
        counts = [next(iter(of.values())).rows for of in (right, wrong)]
        for x, kind, said in ((EDGE + 4, "right", "correct"), (EDGE + 124, "wrong", "wrong")):
            yield f'<circle class="{kind}" cx="{x}" cy="{EDGE + 8 + 3 * LINE}" r="3.5"/>'
            count = counts[kind == "wrong"]
            yield _text(x + 8, EDGE + 12 + 3 * LINE, f"{said} ({count})", "faint")


def _bars(found: Overview, by: str) -> tuple[list[str], int]:
    names, spread = found.groups[by], found.spread["all"][by]
    mean, deviation = spread.all_heads
    deviation = np.nan_to_num(deviation)
    dots = [
        (of[by].mean[0], kind)
        for name, kind in (("correct", "right"), ("wrong", "wrong"))
        if (of := found.spread.get(name))
    ]
    scale = BAR / max(float((mean + deviation).max()), float(spread.alike.max()), 1e-9)
    lines = []
    for i, name in enumerate(names):
        y, x = LINE * (i + 1) + 4, 100
        end = x + scale * mean[i]
        low, high = x + scale * max(mean[i] - deviation[i], 0), x + scale * (mean[i] + deviation[i])
        same, middle = x + scale * spread.alike[i], y + LINE / 2 - 1
        said = f"{100 * mean[i]:.1f}" + (f" ± {100 * deviation[i]:.1f}" if found.rows > 1 else "")
        lines += [
            _text(x - 8, y + 13, name, "end"),
            f'<rect class="mark" x="{x}" y="{y + 2}" width="{scale * mean[i]:.1f}" height="12" fill-opacity=".55"/>',
            f'<path class="line" d="M{low:.1f} {middle}H{high:.1f}M{same:.1f} {y}V{y + LINE - 2}"/>',
            *(f'<circle class="{kind}" cx="{x + scale * of[i]:.1f}" cy="{middle}" r="3.5"/>' for of, kind in dots),
            _text(max(end, high, same) + 8, y + 13, said, "faint"),
        ]
    return lines, LINE * (len(names) + 1)


def _heads(found: Overview, by: str) -> tuple[list[str], int]:
    names, means = found.groups[by], found.spread["all"][by].mean[1:-1]
    cell = max(36, min(80, (100 + BAR) // len(names)))
    most = max(float(means.max()), 1e-9)
    lines = [_text(58 + cell * (j + 0.5), LINE + 14, name, "mid faint") for j, name in enumerate(names)]
    for i, mean in enumerate(means):
        y = LINE * (i + 2) + 4
        lines.append(_text(0, y + 13, f"head {i + 1}"))
        for j, share in enumerate(mean):
            where = f'x="{58 + cell * j}" y="{y}" width="{cell - 2}" height="{LINE - 1}"'
            lines.append(f'<rect class="mark" {where} fill-opacity="{0.5 * share / most:.3f}"/>')
            lines.append(_text(57 + cell * (j + 0.5), y + 13, f"{100 * share:.1f}", "mid"))
    return lines, LINE * (len(means) + 2)


def _document(width: float, height: float, title: str, parts: Sequence[str] | Iterator[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_safe(title)}</title>",
        f"<style>{STYLE}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{f" class={kind!r}" if kind else ""}>{_safe(text)}</text>'


def _short(token: str) -> str:
    token = one_line(token)
    return token if len(token) <= NAME else f"{token[: NAME - 1]}…"


def _safe(text: str) -> str:
    """Return a text as XML can hold it."""
    return html.escape(NO_XML.sub("\ufffd", one_line(readable(text))))
