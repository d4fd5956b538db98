"""Copy the files for `wandb sweep`: grid, random, Bayesian."""

import sys
import textwrap
from collections.abc import Sequence

from glue_pool import choices
from glue_pool.commands import Parser, path
from glue_pool.on_wandb import sweep_files
from glue_pool.progress import say


def main(argv: Sequence[str]) -> None:
    """Copy the files to a folder, or say where they are."""
    parser = Parser(
        prog="glue-pool wandb-sweeps",
        description="Copy the files for `wandb sweep` to a folder. What your data and encoder need (data=local, "
        "data.dir=PATH, encoder=minilm_l6, ...) goes into their `command`.",
    )
    parser.add_argument("folder", nargs="?", type=path, help="where to; without it only say where the files are")
    folder = parser.parse_args(argv).folder
    for file in sweep_files.FILES if folder is None else sweep_files.copy(folder):
        say(str(file), sys.stdout)
        say(textwrap.indent(textwrap.fill(choices.read(file).sentence, 76), "    "), sys.stdout)
