"""Write the model card of saved models anew, with the seeds that there are by now."""

import sys
from collections.abc import Sequence

from glue_pool.commands import Parser, path
from glue_pool.progress import say


def main(argv: Sequence[str]) -> None:
    """Write the cards, and print where they are."""
    parser = Parser(
        prog="glue-pool card",
        description="Write README.md, the model card, into the model folders of finished runs with save_model=true. "
        "A run writes it itself; written anew it has the seeds that were finished since.",
    )
    parser.add_argument(
        "runs", nargs="+", type=path, metavar="RUN_FOLDER", help="such as outputs/rte/…/seed=0-3c274048"
    )
    args = parser.parse_args(argv)

    from glue_pool.saved.card import write_each

    for file in write_each(args.runs):
        say(str(file), sys.stdout)
