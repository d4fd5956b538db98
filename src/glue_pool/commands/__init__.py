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


class Parser(argparse.ArgumentParser):
    """An ArgumentParser to which a mistake is one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UserError(f"{message}; {self.prog} --help tells more")


def outputs() -> Path:
    """Return where results are unless a command is told otherwise: where `train` puts them unless it is."""
    return Path(os.environ.get("GLUE_POOL_OUTPUTS") or "outputs")
