"""Fine-tune and evaluate: one run, or with -m many."""

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Hand the arguments to Hydra's door."""
    from glue_pool.train import train

    train(argv)
