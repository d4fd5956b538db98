"""The ways in which a run can end without a result, and a word that helps whoever misspelt one."""

import difflib
import signal
from collections.abc import Sequence

MOST = 1000  # characters of a message


class UserError(Exception):
    """Something a user gave (config, data, an encoder, a folder) can't be used.

    The message is what the user reads: a line that names the key or file, what is wrong with it, and the way out. On
    the command line it is printed without a traceback. What it quotes may hold anything: line breaks and the like are
    written as escapes, and the middle of a very long one is left out.

    key: the config key that is to blame, where one is. If its value stands in a YAML file of the user's, the command
    line names file and line.
    """

    def __init__(self, message: str = "", *, key: str | None = None) -> None:
        super().__init__(_one_line(message))
        self.key = key


def _one_line(text: str) -> str:
    if len(text) > MOST:
        text = f"{text[: MOST * 2 // 3]} … {text[-MOST // 3 :]}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class TrainingFailed(Exception):
    """Training ended without a result: a loss that is not finite (with its step), no memory left, or a full disk."""


class Held(Exception):
    """Another process works on this run; the message says which."""


class NotWritten(TrainingFailed):
    """What a training gave can't be written: the disk is full. The training itself is sound."""


class Failed(Exception):
    """Some of what was asked for failed, runs of a sweep or uploads; which and why has been said already."""


class Interrupted(BaseException):
    """A signal stopped the run, which is no failure of it: no `except Exception` is to take it for one.

    The message is what the user reads: where the run stopped and what the same command does next.
    """

    def __init__(self, by: signal.Signals, message: str) -> None:
        super().__init__(by, message)
        self.by = by
        self.message = message

    def __str__(self) -> str:
        return self.message


def reason(error: Exception) -> str:
    """Return what a library's error says, in a line: its first one, and the next where that is but a heading."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    plain = type(error) is Exception or isinstance(error, OSError | ValueError | ImportError)
    return said if plain else f"{type(error).__name__}: {said}"


def nearest(word: str, words: Sequence[str]) -> str:
    """Return `; did you mean 'x'?` for the word closest to a misspelt one, or nothing."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
