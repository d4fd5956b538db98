"""Runs on several draws of the training subset: what a method does on another draw of as many rows."""

from collections.abc import Sequence

import numpy as np

from glue_pool.stats.resampled import Scores

# of null experiments on 5 draws of the same 3 seeds, where all that a seed does to a method it does on every draw
SAME_SEEDS_CALLED = 0.175


def pooled(of_draws: Sequence[Scores]) -> Scores:
    """Return scores whose runs are the draws, each the mean over its runs; all are of the same resampled examples.

    So `compare` on two methods' pooled scores is a verdict for new draws, new seeds and new dev examples: a draw's
    score varies by its rows and by its few seeds alike, and both are in the draws' spread, with draws - 1 degrees of
    freedom. Draws are to be in the same order for both methods, and a draw's runs of the same seeds. All runs as
    though each seed were an independent one, whatever its draw, would call chance significant (tests/test_draws.py).

    Runs without a score are left out; a draw without a run that has one is NaN. What a seed does alike on all draws is
    no part of their spread, and may call chance significant SAME_SEEDS_CALLED of the time: give each draw seeds of its
    own.
    """
    first = of_draws[0]
    for draw in of_draws:
        if draw.examples != first.examples or len(draw.resampled) != len(first.resampled):
            raise ValueError(
                f"{len(draw.resampled)} resamples of {draw.examples} examples for {len(first.resampled)} of "
                f"{first.examples}: all draws are scored on the same"
            )
    scored = [draw.of(np.flatnonzero(np.isfinite(draw.actual))) for draw in of_draws]
    actual = [draw.actual.mean() if len(draw.actual) else np.nan for draw in scored]
    resampled = [
        draw.resampled.mean(axis=1) if len(draw.actual) else np.full(len(draw.resampled), np.nan) for draw in scored
    ]
    return Scores(np.array(actual), np.stack(resampled, axis=1), first.examples)
