"""Show which layers and tokens a model's pooled vector came from."""

from collections.abc import Sequence

from glue_pool.commands import Parser, path


def main(argv: Sequence[str]) -> None:
    """Inspect a saved model on a row's texts, or over a split."""
    parser = Parser(
        prog="glue-pool inspect",
        description="Which layers and tokens the pooled vector of a trained model came from: of one row's texts, or, "
        "with --split, as means over a split's rows. The model is what save_model=true left.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=path, help="the model: <run folder>/model")
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="the texts of a row, as many as the task has")
    parser.add_argument("--split", metavar="NAME", help="a split of the model's task, as validation")
    parser.add_argument(
        "--data", metavar="FOLDER", type=path, help="where <task>/<split>.parquet is, unless where the run read it"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="so many rows of the split, drawn at random")
    parser.add_argument("--svg", metavar="FILE", type=path, help="write a picture, too")
    parser.add_argument("--force", action="store_true", help="replace the picture that is there")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: cuda if there is one")
    args = parser.parse_intermixed_args(argv)

    from glue_pool.inspection import report

    report(
        args.folder,
        *args.texts,
        split=args.split,
        data=args.data,
        limit=args.limit,
        svg=args.svg,
        force=args.force,
        device=args.device,
    )
