"""Write saved models as ONNX files, for runtimes without torch; also in int8."""

import argparse
from collections.abc import Sequence

from glue_pool.commands import Parser, path
from glue_pool.export import OPSET, OPSETS

EXAMPLES = """\
examples
  glue-pool export outputs/…/model
      outputs/…/model/onnx/model.onnx, checked against torch
  glue-pool export outputs/…/model --int8
      model_int8.onnx beside it, with score, size and speed before and after
  glue-pool export outputs/…/bert/…/seed=*/model outputs/…/maxpool/…/seed=*/model --int8
      does the pooler's gain survive?"""


def main(argv: Sequence[str]) -> None:
    """Export saved models."""
    parser = Parser(
        prog="glue-pool export",
        description="Write saved models as ONNX files: batches of any size and length, padded on either side, in, and\n"
        'logits out. Takes pip install "glue-pool[export]".',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=path, metavar="FOLDER", help="what save_model=true left: …/model")
    parser.add_argument("--output", "-o", type=path, metavar="FOLDER", help="for the files, if not FOLDER/onnx")
    parser.add_argument("--int8", action="store_true", help="also quantised, with a table of the dev split's scores")
    parser.add_argument(
        "--data", type=path, metavar="FOLDER", help="where <task>/<split>.parquet is, unless where the run read it"
    )
    parser.add_argument("--limit", type=int, metavar="ROWS", help="so many of the dev rows, at random; 0: no scores")
    parser.add_argument(
        "--opset", type=int, default=OPSET, metavar="N", help=f"ONNX's version, {OPSETS[0]} to {OPSETS[-1]} ({OPSET})"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    args = parser.parse_intermixed_args(argv)

    from glue_pool.export import export

    export(
        args.folders,
        output=args.output,
        int8=args.int8,
        data=args.data,
        limit=args.limit,
        opset=args.opset,
        force=args.force,
    )
