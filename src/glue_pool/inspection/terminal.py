"""What a person sees of an inspection: shaded cells on a terminal; elsewhere the same as plain text."""

import shutil
from collections.abc import Iterable, Sequence
from typing import TextIO

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from glue_pool.inspection.sentences import Inspection
from glue_pool.inspection.splits import Overview
from glue_pool.progress import is_terminal, print_table, printable, say
from glue_pool.shell import one_line

WIDTH = 100  # where nobody says how wide a terminal is
NAME, CELL, BAR = 18, 9, 24  # columns, at most
SHADES, ASCII_SHADES = " ░▒▓█", " .:*#"
EIGHTHS = " ▏▎▍▌▋▊▉█"
TINTS = ("", "on #dbe9ff", "on #a8cbff", "on #6fa8f5", "on #3d7fd9")  # with black text they are legible anywhere
NAMED = 5  # labels, and a head's tokens
HEAD = 8  # columns
METHODS = {
    "weights": "by the pooler's own weights",
    "gradient times input": "by gradient times input, |h * d logit / dh|",
}

Cell = tuple[str, int]  # a text and its tint


def show(found: Inspection, file: TextIO) -> None:
    """Print a row's prediction, and its tokens with the share of each by layer; heads that differ, a line each."""
    print_table(_said(found), file)
    _print(_table(found, _width() - 2, file), file)
    if len(found.shares) > 1:
        of_layers = f"of layers {'/'.join(map(str, found.layers))}, then " if _few(found.layers) else ""
        say(f"\n  % {of_layers}of the tokens that gave most", file)
        for head, shares in enumerate(found.shares, 1):
            say("  " + _cut(_of_head(head, shares, found), _width() - 2), file)
    say("", file)


def _said(found: Inspection) -> Iterable[tuple[str, str]]:
    if found.score is not None:
        yield "score", f"{found.score:.3f}"
    else:
        yield "prediction", one_line(found.label or "no label")
        best = sorted(found.probabilities.items(), key=lambda of: -of[1])
        rest = f", and {len(best) - NAMED} more" if len(best) > NAMED else ""
        yield "probability", ", ".join(f"{one_line(name)} {p:.3f}" for name, p in best[:NAMED]) + rest
    yield "model", f"{found.pooler} on {found.task}"
    heads = f", mean of {len(found.shares)} heads" if len(found.shares) > 1 else ""
    yield "shares", f"% of the pooled vector{heads}\n{METHODS[found.method]}"
    if found.truncated:
        yield "mind", "the texts are cut: they have more tokens than the model reads"


def _table(found: Inspection, width: int, file: TextIO) -> list[list[Cell]]:
    """Return the lines of a table of tokens and layers, the cells as numbers if they fit and else as shades."""
    shares = 100 * found.shares.mean(0)
    layers, (names, name) = found.layers, _names(found.tokens)
    numbers = name + CELL * (len(layers) + 1) + 4 <= width
    heads = [f"{f'layer {layer}':>{CELL}}" for layer in layers] if numbers else [f"{layer % 10}" for layer in layers]
    if len(layers) == 1:
        heads, numbers = [], True
    total = "all" if heads else f"layer {layers[0]}"
    bar = max(0, min(BAR, width - name - CELL - 2 - sum(map(len, heads)) - (0 if numbers else 2)))
    gap = "" if numbers else "  "
    lines = [[(" " * name + gap + "".join(heads) + f"{total:>{CELL}}", 0)]]
    most, longest = max(shares.max(), 1e-9), max(shares.sum(0).max(), 1e-9)
    for token, of_layers in zip(names, shares.T, strict=True):
        cells = [] if not heads else [_cell(share, most, numbers, file) for share in of_layers]
        sum_of = of_layers.sum()
        tail = f"{sum_of:{CELL}.1f}  {_bar(sum_of / longest, bar, file)}".rstrip()
        lines.append([(set_cell_size(token, name) + gap, 0), *cells, (tail, 0)])
    return lines


def _cell(share: float, most: float, numbers: bool, file: TextIO) -> Cell:
    tint = int(np.ceil((len(TINTS) - 1) * share / most - 0.5))
    shades = SHADES if printable(SHADES, file) == SHADES else ASCII_SHADES
    return (f"{share:{CELL}.1f}", tint) if numbers else (shades[tint], 0)


def _bar(part: float, width: int, file: TextIO) -> str:
    if printable(EIGHTHS, file) != EIGHTHS:
        return "#" * round(part * width)
    eighths = round(part * width * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _names(tokens: Sequence[str]) -> tuple[list[str], int]:
    names = [one_line(token) for token in tokens]
    return names, min(NAME, max(map(cell_len, names)))


def _of_head(head: int, shares: np.ndarray, found: Inspection) -> str:
    """Return a line about a head: what each layer gave, and the tokens that gave most."""
    by_token = shares.sum(0)
    best = by_token.argsort(kind="stable")[::-1][:NAMED]
    most = ", ".join(f"{one_line(found.tokens[i])} {100 * by_token[i]:.0f}" for i in best)
    by_layer = "/".join(f"{100 * part:.0f}" for part in shares.sum(1)) if _few(found.layers) else ""
    return f"{f'head {head}':{HEAD}}" + (f"{by_layer}  " if by_layer else "") + most


def _few(layers: Sequence[int]) -> bool:
    return 1 < len(layers) <= NAMED


def show_overview(found: Overview, file: TextIO) -> None:
    """Print the shares of a split's rows by layer, position and kind of token, and by head."""
    rows = f"{found.rows} of {found.of_rows} rows" if found.rows < found.of_rows else f"{found.rows} rows"
    said = [
        ("model", f"{found.pooler} on {found.task}"),
        ("split", f"{found.split}, {rows}" + (f", {found.truncated} of them cut" if found.truncated else "")),
        ("shares", f"% of the pooled vector, mean +- deviation over rows\n{METHODS[found.method]}"),
        ("alike", "if each layer and token gave the same"),
    ]
    print_table(said, file)
    outcomes = {name: of for name, of in found.spread.items() if name != "all"}
    counts = {name: next(iter(of.values())).rows for name, of in outcomes.items()}
    head = f"{'':14}{'all':>15}{'alike':>8}" + "".join(f"{name:>10}" for name in outcomes)
    say(f"  {head}", file)
    if counts:
        say(f"  {'rows':14}{found.rows:>15}{'':8}" + "".join(f"{count:>10}" for count in counts.values()), file)
    for by, names in found.groups.items():
        say("", file)
        of_all = found.spread["all"][by]
        (mean, deviation), alike = (100 * np.array(of_all.all_heads)), 100 * of_all.alike
        for i, name in enumerate(names):
            others = "".join(f"{100 * of[by].mean[0, i]:10.1f}" for of in outcomes.values())
            spread = f"{mean[i]:6.1f} +- {deviation[i]:5.1f}" if found.rows > 1 else f"{mean[i]:6.1f}"
            say(f"  {name:14}{spread:>15}{alike[i]:8.1f}{others}", file)
    if found.heads > 1:
        _show_heads(found, file)
    say("", file)


def _show_heads(found: Overview, file: TextIO) -> None:
    for by in [by for by in ("layer", "token") if len(found.groups.get(by, ())) > 1]:
        wide = [max(CELL, len(name) + 2) for name in found.groups[by]]
        at_once = max(1, (_width() - 2 - HEAD) // max(wide))
        for first in range(0, len(wide), at_once):
            part = slice(first, first + at_once)
            _print_heads(found.groups[by][part], wide[part], found.spread["all"][by].mean[1:-1, part], file)


def _print_heads(names: Sequence[str], wide: Sequence[int], means: np.ndarray, file: TextIO) -> None:
    say("\n  " + " " * HEAD + "".join(f"{name:>{w}}" for name, w in zip(names, wide, strict=True)), file)
    for head, mean in enumerate(means, 1):
        cells = "".join(f"{100 * share:{w}.1f}" for share, w in zip(mean, wide, strict=True))
        say(f"  {f'head {head}':{HEAD}}{cells}", file)


def _print(lines: Sequence[Sequence[Cell]], file: TextIO) -> None:
    """Print cells, shaded where a terminal can."""
    if not is_terminal(file):
        for line in lines:
            say("  " + "".join(text for text, _ in line).rstrip(), file)
        return
    console = Console(file=file, highlight=False)
    for line in lines:
        text = Text("  ")
        for part, tint in line:
            text.append(part, f"black {TINTS[tint]}" if tint else "")
        console.print(text, soft_wrap=True)


def _width() -> int:
    return shutil.get_terminal_size((WIDTH, 24)).columns


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 3).rstrip() + "..."
