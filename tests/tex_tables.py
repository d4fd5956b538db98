"""Read tables.tex: tables with what goes on below or in a further float, and what would stop LaTeX or print wrongly."""

import re
from pathlib import Path

from glue_pool.report import latex, tex_text

# with booktabs, in pdfTeX and OT1
COMMANDS = set(
    "addtocounter allowbreak begin bottomrule caption centering end medskip midrule quad rlap scriptsize toprule "
    "textasciicircum textasciitilde textbackslash textbar textgreater textless ldots pounds copyright mathrm "
    "acute circ AE O OE L S P ae b c d i j l o oe r ss u v H alpha beta gamma delta epsilon zeta eta theta iota "
    "kappa lambda mu nu xi pi rho sigma varsigma tau upsilon phi chi psi omega vartheta Gamma Delta Theta Lambda "
    "Xi Pi Sigma Upsilon Phi Psi Omega approx bullet cdot dagger ddagger div downarrow ell geq in infty leftarrow "
    "leftrightarrow leq nabla neg neq partial pm prod rightarrow sum surd times uparrow ".split()
)


def read(file: Path) -> list[dict[str, list[str]]]:
    """Return each table's cells by the names of its rows, the baseline's without its mark; heads by `method`."""
    found: list[dict[str, list[str]]] = []
    for of in file.read_text(encoding="ascii").split("\\begin{table}")[1:]:
        if "\\addtocounter{table}{-1}" not in of:
            found.append({})
        for part in re.split(r"^  \\begin{tabular}", of.partition("\\end{table}")[0], flags=re.MULTILINE)[1:]:
            lines = [line.strip().removesuffix(r" \\") for line in part.splitlines() if line.endswith(r" \\")]
            for name, *cells in (line.split(" & ") for line in lines):
                row = found[-1].setdefault(name.removesuffix(" (baseline)"), [])
                if name != "method" or row[-len(cells) :] != cells:  # once for all parts of the same columns
                    row += cells
    return found


def check(text: str) -> None:
    """Stop at what pdfLaTeX would stop at, at signs that it joins, and at tables too wide or too tall."""
    assert text.isascii()
    assert all(line.startswith("%") or "%" not in line.replace(r"\%", "") for line in text.splitlines())
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert set(re.findall(r"\\([a-zA-Z]+)", body.replace(r"\\", " "))) <= COMMANDS
    plain = re.sub(r"\\\\|\\[&%$#_{}]", "x", body)
    assert set(re.findall(r"\\([^a-zA-Z])", plain)) <= set("`'^~\"=.,")
    assert not re.search(r"[#~_^\"<>|]", re.sub(r"\$[^$]*\$|\\[~^\"]|~", "", plain))
    depth, maths = 0, False
    for character in plain:
        depth += (character == "{") - (character == "}")
        maths ^= character == "$"
        assert depth >= 0
        assert not (maths and character == "\n")
    assert (depth, maths) == (0, False)
    joined = re.sub(r"{(--|---|''|``|\?`|!`)}", "x", plain)  # a sign of the text's own
    assert not re.search(r"--|''|``|[?!]`|,,|<<|>>", joined)
    for of in body.split("\\begin{table}")[1:]:
        rows = [line for line in of.splitlines() if line.startswith("    ") and line.endswith(r"\\")]
        assert len(rows) + of.count("\\\\ \\quad") + of.count("\\toprule") <= latex.LINES + 1


def widest(text: str) -> float:
    """Return the em that the widest tabular takes in Computer Modern."""
    found = [0.0]
    for part in re.findall(r"^  \\begin{tabular}(.*?)^  \\end{tabular}", text, flags=re.DOTALL | re.MULTILINE):
        lines = [line.strip().removesuffix(r" \\").split(" & ") for line in part.splitlines() if line.endswith(r" \\")]
        found.append(sum(latex.GAP + max(map(_em, column)) for column in zip(*lines, strict=True)))
    return max(found)


def _em(cell: str) -> float:
    """Return the width of a cell's widest line as it prints."""
    nested = re.fullmatch(r"\\begin{tabular}\[.\]{.*?@{}}(.*)\\end{tabular}", cell)
    lines = nested[1].split(r" \\ ") if nested else [cell]
    return max(map(_line, lines))


def _line(text: str) -> float:
    text = re.sub(r"\\rlap{.*}", "", text).replace(r"\quad ", "00").replace("$\\pm$", "\N{PLUS-MINUS SIGN}")
    small = "".join(re.findall(r"{\\scriptsize(.*?)}", text))
    text = re.sub(r"{\\scriptsize.*?}", "", text)
    plain, less = (
        re.sub(r"\\[a-zA-Z]+|\\[`'^~\"=.]|\$[\^_]|[{}$]|\\", "", of.replace("$-$", "\N{MINUS SIGN}"))
        for of in (text, small)
    )
    return tex_text.width(plain) + 0.8 * tex_text.width(less)
