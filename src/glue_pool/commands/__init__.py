"""The commands of `glue-pool`, one file each: `glue-pool my-command` is `my_command.py` here.
One's own may be in a folder `glue_pool_commands` on Python's path. The first line of its docstring is its sentence in
`glue-pool --help`. Its `main(argv)` parses the arguments and makes one call into the library; imports that take time
belong into it. Errors are raised as `glue_pool.errors`.
"""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from glue_pool.errors import UserError
from glue_pool.shell import expanded


class Parser(argparse.ArgumentParser):
    """An ArgumentParser to which a mistake is one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UserError(f"{message}; {self.prog} --help tells more")

    def add_computing(self) -> None:
        """Add what the commands that predict compute with."""
        self.add_argument(
            "--batch-size", type=int, default=64, metavar="ROWS", help="rows that are computed at once (64)"
        )
        self.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
        self.add_argument(
            "--precision", choices=["auto", "fp32", "bf16"], default="auto", help="auto is that of the run"
        )


def path(text: str) -> Path:
    """Return the path that an argument gives, `~` in it replaced; to be an argument's `type`."""
    if not text:
        raise UserError("a path among the arguments is empty")
    return Path(expanded(text))


def outputs() -> Path:
    """Return where results are unless a command is told otherwise: where `train` puts them unless it is."""
    return path(os.environ.get("GLUE_POOL_OUTPUTS") or "outputs")


def cache() -> Path:
    """Return where `train` keeps what need not be made twice unless it is told otherwise."""
    return path(os.environ.get("GLUE_POOL_CACHE") or "~/.cache/glue_pool")
