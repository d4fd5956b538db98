"""python -m glue_pool.report outputs/: a table here, and index.html, tables.tex and scores.csv in outputs/report."""

import sys
from collections.abc import Sequence

from glue_pool import cli


def main(argv: Sequence[str] | None = None) -> None:
    """`glue-pool report`."""
    cli.main(["report", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    main()
