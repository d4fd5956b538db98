"""Every metric on every kind of task that it fits, and outputs of such tasks."""

import numpy as np

from glue_pool.metrics import METRICS, MULTI, REGRESSION, SINGLE, ProblemType

OUTPUTS: dict[ProblemType, tuple[int, ...]] = {SINGLE: (2, 4), MULTI: (1, 3), REGRESSION: (1,)}
CASES = [
    (metric.name, kind, outputs)
    for metric in METRICS.values()
    for kind in sorted(metric.fits)
    for outputs in OUTPUTS[kind]
    if outputs == 2 or not metric.two_classes
]


def draw_outputs(
    kind: ProblemType, outputs: int, runs: int, rows: int, draw: np.random.Generator, *, ties: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels `(rows,)` or `(rows, labels)`, and logits `(runs, rows, outputs)` that lean to them."""
    labels: np.ndarray
    logits = draw.normal(size=(runs, rows, outputs))
    if kind == REGRESSION:
        labels = draw.normal(size=rows)
        logits[..., 0] += labels
    elif kind == SINGLE:
        labels = draw.integers(outputs, size=rows)
        logits += np.eye(outputs)[labels]
    else:
        labels = (draw.random((rows, outputs)) < 0.4).astype(np.int64)
        logits += 2 * labels - 1
    if ties:
        labels = np.round(labels) if kind == REGRESSION else labels
        logits = np.round(logits)
    return labels, logits.astype(np.float32)
