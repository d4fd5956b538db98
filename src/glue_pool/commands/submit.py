"""Write the zip that GLUE's server takes, of one method's saved models, or check one."""

import argparse
from collections.abc import Sequence

from glue_pool.commands import Parser, outputs, path
from glue_pool.errors import UserError

EXAMPLES = """\
examples
  glue-pool submit outputs --method maxpool --output maxpool.zip
      every task's test split by the mean of the method's seeds
  glue-pool submit outputs --method maxpool --output maxpool.zip --data GLUE --seed 1
      one seed's models; the test splits are GLUE/<task>/<split>.parquet
  glue-pool submit outputs --method maxpool --output rte.zip --allow-missing
      what can't be predicted has its first label in every row
  glue-pool submit --check maxpool.zip
      anybody's zip: every fault, with file and line"""


def main(argv: Sequence[str]) -> None:
    """Write a submission, or check one."""
    parser = Parser(
        prog="glue-pool submit",
        description="Predict GLUE's test splits and its diagnostic set with a method's saved models (save_model=true)\n"
        "and write the zip that gluebenchmark.com takes, or check a zip.\n"
        "Until all rows are done they are in FILE.zip.partial, and the same command goes on from there.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", nargs="*", type=path, metavar="OUTPUTS", help="where runs are (GLUE_POOL_OUTPUTS, or outputs)"
    )
    parser.add_argument("--check", type=path, metavar="ZIP", help="look at a zip; nothing is written")
    parser.add_argument("--method", metavar="NAME", help="whose runs, as the report calls it")
    parser.add_argument("--output", "-o", type=path, metavar="FILE", help="the zip to write")
    parser.add_argument("--encoder", metavar="NAME", help="of which encoder, if there are runs of several")
    parser.add_argument("--kind", metavar="KIND", help="fine-tuned or probe, if there are both")
    parser.add_argument("--subset", metavar="NAME", help="trained on which rows, as full or n250-seed0")
    parser.add_argument("--seed", type=int, metavar="N", help="one seed's model (the mean over all seeds)")
    parser.add_argument(
        "--data", metavar="FOLDER", type=path, help="where <task>/<split>.parquet is, unless where the run read it"
    )
    parser.add_argument("--allow-missing", action="store_true", help="fill what can't be predicted")
    parser.add_argument("--force", action="store_true", help="replace FILE, and what is there of another command's")
    parser.add_computing()
    args = parser.parse_intermixed_args(argv)

    from glue_pool.submission import check, submit

    if args.check is not None:
        if any(value not in (parser.get_default(name), []) for name, value in vars(args).items() if name != "check"):
            raise UserError("--check ZIP: looks at a zip alone; leave out all else")
        check(args.check)
        return
    if lost := next((name for name in ("method", "output") if getattr(args, name) is None), None):
        raise UserError(f"--{lost} is missing; --method NAME --output FILE.zip writes a zip, --check ZIP looks at one")
    submit(
        args.folders or [outputs()],
        args.method,
        args.output,
        encoder=args.encoder,
        kind=args.kind,
        subset=args.subset,
        seed=args.seed,
        data=args.data,
        allow_missing=args.allow_missing,
        force=args.force,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
    )
