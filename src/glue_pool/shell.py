"""What a shell gives a process: variables, `~` in a path, and a terminal that may not show every character."""

import io
import os
import re
import sys
from collections.abc import Collection, Sequence

from glue_pool.errors import UserError

OURS = ("HOME", "GLUE_POOL_", "WANDB_", "HF_", "XDG_")  # what variables begin with that name folders or choices

BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # a line, or its direction


def settle() -> None:
    """Take an empty variable for one that is not set, and let stdout and stderr show what they can't encode as escapes.

    Variables are those that name folders and choices: Hydra, W&B and the Hub's client would take the empty name.
    Raises UserError where the working directory is gone, which all of them ask for.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the working directory can't be used ({error.strerror}); cd to another") from None
    for name in [name for name, value in os.environ.items() if not value and name.startswith(OURS)]:
        del os.environ[name]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def expanded(path: str, name: str | None = None) -> str:
    """Return a path with `~` or `~user` at its start replaced; a `$VARIABLE` in it stays, as a name like any other.

    name: the key or option that gives it, where there is one. Raises UserError where no home folder is known.
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        user, given = path[1:].partition("/")[0], path if name is None else f"{name}={path}"
        why = (
            f"of a user {user}; ./{path} is a path from here" if user else "(HOME is not set); name a folder without ~"
        )
        raise UserError(f"{given}: no home folder is known {why}", key=name)
    return found


def readable(text: str) -> str:
    """Return a text that is UTF-8: a path may have bytes that are none, or be read in a locale that has no UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character of UTF-16
        return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """Return a text with escapes for what would break a line or a column: control characters, turns of direction."""
    return BREAKING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Return rows as the lines of a table; columns are right-aligned but for these. A row may end early."""
    widths: dict[int, int] = {}
    for row in rows:
        for place, cell in enumerate(row):
            widths[place] = max(widths.get(place, 0), len(cell))
    return [
        "  ".join(f"{cell:{'<' if i in left else '>'}{widths[i]}}" for i, cell in enumerate(row)).rstrip()
        for row in rows
    ]
