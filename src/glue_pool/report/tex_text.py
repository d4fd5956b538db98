"""Text as LaTeX prints it, in ASCII that no engine, encoding or package stops at, and about how wide it comes out."""

import re
import unicodedata

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}", "[": "{[}", "*": "{*}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
}  # fmt: skip
SIGNS = {  # by their Unicode names
    "LATIN SMALL LETTER SHARP S": r"\ss{}", "LATIN SMALL LETTER AE": r"\ae{}", "LATIN CAPITAL LETTER AE": r"\AE{}",
    "LATIN SMALL LIGATURE OE": r"\oe{}", "LATIN CAPITAL LIGATURE OE": r"\OE{}",
    "LATIN SMALL LETTER O WITH STROKE": r"\o{}", "LATIN CAPITAL LETTER O WITH STROKE": r"\O{}",
    "LATIN SMALL LETTER L WITH STROKE": r"\l{}", "LATIN CAPITAL LETTER L WITH STROKE": r"\L{}",
    "LATIN SMALL LETTER DOTLESS I": r"\i{}", "LATIN SMALL LETTER DOTLESS J": r"\j{}", "SECTION SIGN": r"\S{}",
    "PILCROW SIGN": r"\P{}", "COPYRIGHT SIGN": r"\copyright{}", "POUND SIGN": r"\pounds{}",
    "INVERTED QUESTION MARK": "{?`}", "INVERTED EXCLAMATION MARK": "{!`}", "EN DASH": "{--}", "EM DASH": "{---}",
    "LEFT SINGLE QUOTATION MARK": "{`}", "RIGHT SINGLE QUOTATION MARK": "{'}", "LEFT DOUBLE QUOTATION MARK": "{``}",
    "RIGHT DOUBLE QUOTATION MARK": "{''}", "HORIZONTAL ELLIPSIS": r"\ldots{}", "NO-BREAK SPACE": "~",
    "NON-BREAKING HYPHEN": "{-}", "HYPHEN": "{-}",
}  # fmt: skip
IN_MATHS = {
    "MINUS SIGN": "-", "PLUS-MINUS SIGN": r"\pm", "MULTIPLICATION SIGN": r"\times", "DIVISION SIGN": r"\div",
    "MIDDLE DOT": r"\cdot", "BULLET": r"\bullet", "DEGREE SIGN": r"^{\circ}", "LESS-THAN OR EQUAL TO": r"\leq",
    "GREATER-THAN OR EQUAL TO": r"\geq", "NOT EQUAL TO": r"\neq", "ALMOST EQUAL TO": r"\approx",
    "INFINITY": r"\infty", "ELEMENT OF": r"\in", "SQUARE ROOT": r"\surd", "N-ARY SUMMATION": r"\sum",
    "N-ARY PRODUCT": r"\prod", "PARTIAL DIFFERENTIAL": r"\partial", "NABLA": r"\nabla",
    "LEFTWARDS ARROW": r"\leftarrow", "RIGHTWARDS ARROW": r"\rightarrow", "LEFT RIGHT ARROW": r"\leftrightarrow",
    "UPWARDS ARROW": r"\uparrow", "DOWNWARDS ARROW": r"\downarrow", "SCRIPT SMALL L": r"\ell", "DAGGER": r"\dagger",
    "DOUBLE DAGGER": r"\ddagger", "NOT SIGN": r"\neg", "MICRO SIGN": r"\mu",
    "GREEK SMALL LETTER FINAL SIGMA": r"\varsigma", "GREEK LUNATE EPSILON SYMBOL": r"\epsilon",
    "GREEK PHI SYMBOL": r"\phi", "GREEK THETA SYMBOL": r"\vartheta",
}  # fmt: skip
GREEK = (
    "ALPHA BETA GAMMA DELTA EPSILON ZETA ETA THETA IOTA KAPPA LAMDA MU NU XI OMICRON PI RHO SIGMA TAU UPSILON PHI CHI "
    "PSI OMEGA"
).split()
AS_LATIN = dict(zip("ALPHA BETA EPSILON ZETA ETA IOTA KAPPA MU NU OMICRON RHO TAU CHI".split(), "ABEZHIKMNOPTX",
                    strict=True))  # fmt: skip
ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'", "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING CARON}": "v", "\N{COMBINING BREVE}": "u", "\N{COMBINING MACRON}": "=",
    "\N{COMBINING DOT ABOVE}": ".", "\N{COMBINING DOUBLE ACUTE ACCENT}": "H", "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING DOT BELOW}": "d", "\N{COMBINING MACRON BELOW}": "b",
}  # fmt: skip
BELOW = ("\N{COMBINING CEDILLA}", "\N{COMBINING DOT BELOW}", "\N{COMBINING MACRON BELOW}")
LIGATURES = re.compile(r"(?<=[-'`?!,])(?=[-'`,])")
EM = {  # of Computer Modern at 10 pt, 1/1000; where a sign is of another font, about
    character: em / 1000
    for em, characters in {
        278: "il.,:;'`!|[]", 306: "fj", 333: " -", 361: "I_", 389: "t()", 392: "r", 394: "s", 444: "cez", 472: "?",
        500: "aog0123456789/*$\"\\{}", 514: "J", 528: "kvxy", 556: "bdhnpquS", 611: "Z", 625: "L", 653: "F",
        681: "EP", 708: "B", 722: "wCT", 736: "R", 750: "AHNUVXY", 764: "D", 785: "OQKG+=@&<>~^\N{PLUS-MINUS SIGN}"
        "\N{MINUS SIGN}", 833: "m%#", 917: "M", 1028: "W",
    }.items()
    for character in characters
}  # fmt: skip
WIDEST = 1.2  # em of a character that is not among them


def escaped(text: str) -> str:
    """Return text as LaTeX prints it; a character that it can't print everywhere stands as `[U+65E5]`.

    Printed are ASCII (hyphens and quotes as they are, no dashes made of them), Greek, accents that OT1 has, and the
    signs above. Full-width, small and joined forms stand as the letters that they are of.
    """
    composed = unicodedata.normalize("NFC", text)
    return "".join(_plain(run) if run.isascii() else "".join(map(_sign, run)) for run in _runs(composed))


def broken(text: str, most: float) -> list[str]:
    """Break text into lines of at most so many em, behind blanks, else behind a sign, else anywhere."""
    lines = [""]
    for piece in re.findall(r"\S+\s*", unicodedata.normalize("NFC", text)):
        if width(lines[-1] + piece.rstrip()) > most and lines[-1]:
            lines.append("")
        if width(piece.rstrip()) <= most:
            lines[-1] += piece
            continue
        for part in re.findall(r"[^-+=_.,/:]*[-+=_.,/:]?", piece):
            if width(lines[-1] + part) > most and lines[-1] and width(part) <= most:
                lines.append("")
            for character in part:
                if width(lines[-1] + character) > most and lines[-1]:
                    lines.append("")
                lines[-1] += character
    return [line.strip() for line in lines]


def width(text: str) -> float:
    """Return how many em a text takes in Computer Modern, kerns not counted: rather more than it takes."""
    return sum(map(_width, unicodedata.normalize("NFC", text)))


def _width(character: str) -> float:
    if character in EM or character.isascii():
        return EM.get(character, EM[" "])
    shown = _sign(character)
    if shown.startswith("{[}"):
        return width(f"[{shown.removeprefix('{[}')}")
    if _accented(character) and _parts(character)[0].isascii():
        return _width(_parts(character)[0])
    folded = unicodedata.normalize("NFKC", character)
    return width(folded) if _form(character) and folded != character else WIDEST


def _runs(text: str) -> list[str]:
    return re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]+", text)


def _plain(text: str) -> str:
    """Escape ASCII; an empty group keeps hyphens and quotes from becoming one sign."""
    apart = LIGATURES.sub("\0", text)
    return "".join("{}" if c == "\0" else SPECIAL.get(c, c if c.isprintable() else " ") for c in apart)


def _sign(character: str) -> str:
    """Return a character that isn't ASCII."""
    if (name := unicodedata.name(character, "")) in SIGNS:
        return SIGNS[name]
    if name in IN_MATHS:
        return f"${IN_MATHS[name]}$"
    if unicodedata.category(character) == "Zs":
        return " "
    return _greek(character) or _accented(character) or _form(character) or _code(character)


def _greek(character: str) -> str | None:
    """Return a letter by its name, the capitals that Latin has, and omicron, as Latin."""
    script, _, letter = unicodedata.name(character, "").rpartition(" LETTER ")
    if script not in ("GREEK SMALL", "GREEK CAPITAL") or letter not in GREEK:
        return None
    name = letter.lower().replace("lamda", "lambda")
    if script == "GREEK SMALL":
        return "$o$" if name == "omicron" else f"$\\{name}$"
    return rf"$\mathrm{{{AS_LATIN[letter]}}}$" if letter in AS_LATIN else f"$\\{name.capitalize()}$"


def _accented(character: str) -> str | None:
    """Return a Latin letter with one accent, or a Greek one with an acute."""
    letter, mark = _parts(character)
    if mark == "\N{COMBINING ACUTE ACCENT}" and (greek := _greek(letter)):
        return f"$\\acute{{{greek.strip('$')}}}$"
    if mark not in ACCENTS or not letter.isascii():
        return None
    dotless = letter in "ij" and mark not in BELOW
    shown = f"\\{letter}{{}}" if dotless else letter
    return f"\\{ACCENTS[mark]}{{{shown}}}"


def _parts(character: str) -> tuple[str, str]:
    """Return a letter and its mark, empty where it has none or several."""
    decomposed = unicodedata.normalize("NFD", character)
    return (decomposed[0], decomposed[1]) if len(decomposed) == 2 else (character, "")


def _form(character: str) -> str | None:
    """Return what a full-width, joined or raised form is of, if that is ASCII."""
    folded = unicodedata.normalize("NFKC", character)
    if not folded.isascii() or not folded.strip():
        return None
    how = unicodedata.decomposition(character).partition(" ")[0]
    raised = {"<super>": "^", "<sub>": "_"}.get(how)
    return f"${raised}{{{folded}}}$" if raised and folded.isalnum() else f"{{{_plain(folded)}}}"


def _code(character: str) -> str:
    return f"{{[}}U+{ord(character):04X}]"
