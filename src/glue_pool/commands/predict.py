"""Score a file of texts with saved models: labels and probabilities for every row."""

import argparse
from collections.abc import Sequence

from glue_pool.commands import Parser, path

EXAMPLES = """\
examples
  glue-pool predict outputs/…/model reviews.csv --output predictions.csv
      a row for every row: label, and a probability for each label
  glue-pool predict outputs/…/model dev.parquet --output dev.jsonl --labels label --by domain
      with the task's metrics, over all rows and by domain
  glue-pool predict outputs/mnli/…/model ax.tsv --output ax.csv --labels label \
      --positive entailment --metrics matthews_correlation --by Logic --by-separator ";"
      GLUE's diagnostic set: two classes of labels, rows with several categories
  glue-pool predict outputs/…/seed=*/model reviews.csv --output mean.parquet
      the mean of several seeds' probabilities
  zcat huge.jsonl.gz | glue-pool predict outputs/…/model - --format jsonl --output huge.csv
      any size; from a file, the same command goes on after a stop"""


def main(argv: Sequence[str]) -> None:
    """Predict the rows of a file."""
    parser = Parser(
        prog="glue-pool predict",
        description="Score every row of a file with a saved model, or with the mean of several.\n"
        "Until all rows are done they are in FILE.partial, and the same command goes on from there.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=path, metavar="FOLDER", help="what save_model=true left: …/model")
    parser.add_argument("input", metavar="INPUT", help="csv, tsv, jsonl, parquet or txt, also packed; - is stdin")
    parser.add_argument("--output", "-o", type=path, required=True, metavar="FILE", help=".csv, .jsonl or .parquet")
    parser.add_argument(
        "--columns", action="append", metavar="COLUMN", help="a text, if not the task's own; twice for pairs"
    )
    parser.add_argument("--labels", metavar="COLUMN", help="the gold labels: print the task's metrics")
    parser.add_argument("--metrics", type=_names, metavar="NAME,…", help="these, in place of the task's")
    parser.add_argument("--positive", metavar="LABEL", help="of LABEL against all others; gold labels say LABEL or not")
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="for each category of a column, too; repeatable"
    )
    parser.add_argument("--by-separator", metavar="TEXT", help="between several categories of a row")
    parser.add_argument("--format", metavar="FORMAT", help="of INPUT, if its name doesn't say so")
    parser.add_argument("--no-header", action="store_true", help="csv, tsv: the first line is a row; columns are 1, 2")
    parser.add_argument("--no-quotes", action="store_true", help="csv, tsv: quotes are part of the texts")
    parser.add_argument(
        "--on-error",
        choices=["stop", "skip"],
        default="stop",
        help="at a row that can't be read: stop, or leave its values empty (stop)",
    )
    parser.add_argument("--force", action="store_true", help="replace FILE, and what is there of another command's")
    parser.add_computing()
    args = parser.parse_intermixed_args(argv)

    from glue_pool.predict import predict

    predict(
        args.folders,
        args.input,
        args.output,
        columns=args.columns,
        labels=args.labels,
        by=args.by,
        by_separator=args.by_separator,
        metrics=args.metrics,
        positive=args.positive,
        format=args.format,
        header=not args.no_header,
        quotes=not args.no_quotes,
        on_error=args.on_error,
        force=args.force,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
    )


def _names(text: str) -> list[str]:
    return text.split(",")
