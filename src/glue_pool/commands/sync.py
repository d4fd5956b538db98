"""Upload the runs that W&B kept offline, each once."""

from collections.abc import Sequence

from glue_pool.commands import Parser, outputs, path


def main(argv: Sequence[str]) -> None:
    """Say what is to be uploaded, or upload it."""
    parser = Parser(
        prog="glue-pool sync",
        description="Upload runs that W&B kept offline, each once, the last of its attempts; after `wandb login`.",
    )
    parser.add_argument(
        "outputs",
        nargs="?",
        type=path,
        help="the folder of results, with W&B's own folder in it (GLUE_POOL_OUTPUTS, or outputs)",
    )
    parser.add_argument("--upload", action="store_true", help="upload; without it only say what would be")
    args = parser.parse_args(argv)

    from glue_pool.on_wandb.sync import sync

    sync(args.outputs or outputs(), upload=args.upload)
