"""Show what runs found: tables, a page with plots, scores.csv, results.parquet."""

import sys
from collections.abc import Sequence
from pathlib import Path

from glue_pool.commands import Parser, cache, outputs, path
from glue_pool.errors import UserError
from glue_pool.progress import say


def main(argv: Sequence[str]) -> None:
    """Report on the runs in some folders."""
    parser = Parser(
        prog="glue-pool report",
        description="What the runs in a folder show: a table here, a page with plots, tables.tex, scores.csv and "
        "results.parquet. What it read and computed is kept for the next report, unless --no-cache says otherwise.",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=path,
        help="where runs are (GLUE_POOL_OUTPUTS, or outputs)",
    )
    parser.add_argument("--baseline", help="the method, or the row's name, that all others are compared with")
    parser.add_argument("--tasks", type=lambda text: text.split(","), help="as rte,mrpc; all unless given")
    parser.add_argument(
        "--margin", type=float, help="points that matter: equivalent within, and seeds are reckoned for (1.25)"
    )
    parser.add_argument("--output", type=path, help="the folder to write (report, in the first folder)")
    parser.add_argument(
        "--cache",
        type=path,
        help="where what the next report needs is kept (GLUE_POOL_CACHE, or ~/.cache/glue_pool)",
    )
    parser.add_argument("--no-cache", action="store_true", help="read and compute everything, and keep nothing")
    args = parser.parse_args(argv)

    from glue_pool.report import report

    kept = None if args.no_cache else args.cache or _usual_cache()
    report(args.folders or [outputs()], args.output, args.baseline, args.tasks, args.margin, kept)


def _usual_cache() -> Path | None:
    """Return where a report keeps something unless told otherwise; None where there is no such place, which is said."""
    try:
        return cache()
    except UserError as error:
        say(f"--cache {error} (nothing is kept for the next report)", sys.stderr)
        return None
